//! Whole paths, records and rules, as registries, exports and policies have them.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use proptest::prelude::proptest;

use super::{
    Asked, Collection, Database, Package, Published, Record, Unread, Unusable, Verdict, asked,
    judge, judge_age,
};
use crate::diagnostic::Diagnostic;
use crate::policy::{
    Protocol, RegistryHost,
    RegistryKind::{self, Crates, Debian, Npm, Pypi},
    RegistryRule, Target, UrlPath,
};

mod ages;
mod paths;
mod records;
mod verdicts;

fn host(name: &str, prefix: &str) -> RegistryHost {
    RegistryHost {
        host: name.parse().unwrap(),
        port: 443,
        protocol: Protocol::Tls,
        prefix: prefix.to_owned(),
    }
}

fn rule(kind: RegistryKind) -> RegistryRule {
    let hosts = match kind {
        Npm => vec![host("r.test", "/mirror")],
        Pypi => vec![host("r.test", "/simple"), host("files.test", "")],
        Crates => vec![
            host("r.test", ""),
            host("r.test", "/dl/v1/crates"),
            host("files.test", "/crates"),
        ],
        Debian => vec![host("r.test", "/debian")],
    };
    RegistryRule {
        kind,
        min_age: None,
        allow: Vec::new(),
        deny: Vec::new(),
        advisories: None,
        accept: Vec::new(),
        hosts,
    }
}

fn record(text: &str) -> Record {
    Record::read(Path::new("x.json"), text).unwrap_or_else(|fault| panic!("{}", fault.render()))
}

/// A record of one package in the words of the OSV schema.
fn osv(id: &str, (ecosystem, name): (&str, &str), more: &str) -> Record {
    record(&format!(
        r#"{{"schema_version": "1.6.0", "id": "{id}", "modified": "2024-05-01T00:00:00Z", "aliases": ["CVE-2024-1"],
            "affected": [{{"package": {{"ecosystem": "{ecosystem}", "name": "{name}", "purl": "pkg:x/y"}}, {more}}}],
            "database_specific": {{"severity": "HIGH", "cwe_ids": ["CWE-1"]}}}}"#
    ))
}

fn database(records: Vec<Record>) -> Database {
    let mut collection = Collection::default();
    records
        .into_iter()
        .for_each(|record| collection.add(record));
    let (bytes, _) = collection.written(Timestamp::UNIX_EPOCH, vec!["/x".to_owned()]);
    Database::read(bytes).unwrap()
}

const RANGE: &str = r#""ranges": [{"type": "SEMVER", "events": [{"introduced": "1.0.0"}, {"fixed": "1.2.3"}, {"introduced": "2.0.0"}, {"last_affected": "2.1.0"}]}]"#;

fn package(kind: RegistryKind, name: &str, version: &str) -> Package {
    Package {
        kind,
        name: name.to_owned(),
        spelled: name.to_owned(),
        binary: None,
        version: version.to_owned(),
    }
}
