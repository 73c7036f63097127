//! Trust files: what the programs of a sandbox check certificates against.
//!
//! Most read the system's bundle, which is mounted over the image's; for those with a store of
//! their own an environment variable says where it is. It holds what this machine trusts and the
//! gateway's authority, so that inspected, plain and denied names alike are answered without a
//! setting. The agent can read these files and change none of them.

use std::{collections::BTreeMap, io};

use super::slot::{Slot, directory, put};
use crate::{egress::Trust, engine::Mount};

/// The system's bundle, where OpenSSL, GnuTLS and Go look in the shipped images.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The system's key store, where Java looks in the shipped images.
const JAVA: &str = "/etc/ssl/certs/java/cacerts";
/// The gateway's certificate alone.
const AUTHORITY: &str = "/etc/ssl/certs/loki.crt";

/// Files of the slot and where they are mounted.
const MOUNTS: [(&str, &str); 3] = [
    ("trust/bundle.crt", BUNDLE),
    ("trust/cacerts", JAVA),
    ("trust/authority.crt", AUTHORITY),
];

/// Variables that name the bundle, each for programs which else bring their own.
const BUNDLE_VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
];
/// Node brings its own store and adds to it what this names.
const ADDED: &str = "NODE_EXTRA_CA_CERTS";

/// Returns what a program finds in its environment.
pub(super) fn environment<'a>() -> impl Iterator<Item = (&'a str, &'a str)> {
    let bundle = BUNDLE_VARIABLES.into_iter().map(|name| (name, BUNDLE));
    bundle.chain([(ADDED, BUNDLE)])
}

/// Returns the mounts of the trust files, by what they cover.
pub(super) fn mounts(slot: &Slot) -> Vec<Mount> {
    let mount = |(source, target): (&str, &str)| Mount {
        source: slot.etc(source),
        target: target.to_owned(),
        read_only: true,
    };
    MOUNTS.into_iter().map(mount).collect()
}

/// Writes the trust files into a slot.
pub(super) fn write(slot: &Slot, trust: &Trust) -> io::Result<()> {
    directory(&slot.etc("trust"), 0o755)?;
    let contents: BTreeMap<&str, &[u8]> = [
        (BUNDLE, trust.bundle.as_bytes()),
        (JAVA, &trust.java),
        (AUTHORITY, trust.authority.as_bytes()),
    ]
    .into();
    for (source, target) in MOUNTS {
        put(&slot.etc(source), contents[target], 0o644)?;
    }
    Ok(())
}
