//! Builds the guest as a static binary and leaves its path in `LOKI_GUEST`, for the link to embed.
//!
//! The same cargo builds it, in a target directory of its own (the outer build holds the lock of
//! the usual one), for an explicit target (else the flags would apply to its build scripts and
//! macros as well), from the same `Cargo.lock`.

#![expect(
    clippy::disallowed_methods,
    reason = "build scripts read their orders from the environment, and this one runs cargo"
)]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Variables of the outer build that must not leak into the guest's. `CARGO_HOME` and settings of
/// the network and of registries stay, and the job server, so that both builds share the cores.
const DROPPED: [&str; 14] = [
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "DEBUG",
    "HOST",
    "LLVM_PROFILE_FILE",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
];
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
];
const SETTINGS: [(&str, &str); 7] = [
    ("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
];

fn main() {
    for watched in ["build.rs", "Cargo.lock", "guest/Cargo.toml", "guest/src"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let root = PathBuf::from(given("CARGO_MANIFEST_DIR"));
    let manifest = root.join("guest/Cargo.toml");
    assert!(
        manifest.is_file(),
        "the guest's sources are missing at `{}`; Loki is built from its repository: \
         `cargo install --path .` in a clone of it",
        manifest.display()
    );
    let binary = build(&manifest, &PathBuf::from(given("OUT_DIR")).join("guest"));
    println!("cargo:rustc-env=LOKI_GUEST={}", binary.display());
}

fn build(manifest: &Path, target_directory: &Path) -> PathBuf {
    let target = given("TARGET");
    let mut cargo = Command::new(given("CARGO"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let kept = KEPT.iter().any(|kept| name.starts_with(kept));
        if DROPPED.contains(&name.as_ref()) || (name.starts_with("CARGO") && !kept) {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.args([
        "build",
        "--release",
        "--bin",
        "loki-guest",
        "--target",
        &target,
    ]);
    cargo
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(target_directory);
    let status = cargo
        .envs(SETTINGS)
        .status()
        .expect("cargo, which runs this, can be run");
    assert!(
        status.success(),
        "the guest was not built for `{target}`; it needs the static C library of that target \
         (`libc6-dev` on Debian and Ubuntu, `glibc-static` on Fedora)"
    );
    target_directory.join(target).join("release/loki-guest")
}

fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets `{name}` for build scripts"))
}
