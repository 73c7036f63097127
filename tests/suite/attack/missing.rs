//! N8: what a sandbox needs is missing or was changed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{LIMIT, Run, START, World, on_each, world};

const LOKI: &str = env!("CARGO_BIN_EXE_loki");
const SPEC: &str =
    "# A page\n\n## Tasks\n\n1. `page` (eng-backend): Write it.\n\n## Tests\n\n- `true`\n";

/// Runs the binary with this setting of an environment variable changed.
fn with(world: &World, setting: &str, args: &[&str]) -> Run {
    let args: Vec<&str> = [setting, LOKI]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    world.start("env", &args).wait(LIMIT).never_panicked()
}

const WORKS: [&str; 7] = [
    "sandbox",
    "run",
    "--role",
    "eng-backend",
    "--",
    "echo",
    "works",
];

#[test]
fn attack_n08_without_an_engine_nothing_starts() {
    on_each(|engine| {
        let world = world(engine);
        world.write("spec.md", SPEC);
        world.write(
            "agent.sh",
            "#!/bin/sh\nmkdir -p src && echo page >src/page\n",
        );
        let (variable, _) = engine.address();
        let absent = format!("{variable}=unix:///nonexistent/engine.sock");
        let said = with(&world, &absent, &WORKS).exits(125);
        assert_eq!(said.stdout, "");
        drop(with(&world, &absent, &START).exits(4));
        assert_eq!(world.leftovers(), Vec::<String>::new());
        assert_eq!(world.git(&["branch", "--list", "loki/*"]), "");
        drop(
            with(&world, "UNCHANGED=1", &WORKS)
                .exits(0)
                .prints(&["works\n"]),
        );
        drop(with(&world, "UNCHANGED=1", &START).exits(0));
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

#[test]
fn attack_n08_without_git_nothing_starts() {
    on_each(|engine| {
        let world = world(engine);
        world.write("spec.md", SPEC);
        world.write("agent.sh", "#!/bin/sh\n");
        for (args, code) in [(&WORKS[..], 125), (&START, 2)] {
            let said = with(&world, "PATH=/nonexistent", args).exits(code);
            assert_eq!(said.stdout, "");
            drop(said.says(&["install git"]));
        }
        assert_eq!(world.leftovers(), Vec::<String>::new());
        assert_eq!(world.git(&["branch", "--list", "loki/*"]), "");
    });
}

/// Returns the unpacked guest in a cache of the test's own.
fn guest(cache: &Path) -> PathBuf {
    let mut open = vec![cache.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("guest-"))
            {
                return path;
            }
            open.extend(path.is_dir().then_some(path));
        }
    }
    panic!("no guest in `{}`", cache.display());
}

#[test]
fn attack_n08_a_changed_guest_is_replaced_or_refused_and_never_run() {
    on_each(|engine| {
        let world = world(engine);
        let cache = world.path("../cache");
        let own = format!("XDG_CACHE_HOME={}", cache.display());
        drop(with(&world, &own, &WORKS).exits(0).prints(&["works\n"]));
        let guest = guest(&cache);
        let good = fs::read(&guest).unwrap();

        // Would print, were it ever started in the guest's place.
        fs::remove_file(&guest).unwrap();
        fs::write(&guest, "#!/bin/sh\necho CHANGED\n").unwrap();
        fs::set_permissions(&guest, fs::Permissions::from_mode(0o555)).unwrap();
        let said = with(&world, &own, &WORKS).exits(0).prints(&["works\n"]);
        assert!(!said.stdout.contains("CHANGED"), "{said}");
        assert_eq!(fs::read(&guest).unwrap(), good, "the changed guest stands");

        // What cannot be replaced is refused.
        fs::remove_file(&guest).unwrap();
        fs::create_dir_all(guest.join("full")).unwrap();
        let said = with(&world, &own, &WORKS).exits(125);
        assert_eq!(said.stdout, "");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}
