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

/// Asks `host/path` of a registry's rule.
fn ask(kind: RegistryKind, place: &str) -> Result<Asked, Unread> {
    let (name, path) = place.split_at(place.find('/').unwrap());
    let target = Target {
        name: name.parse().unwrap(),
        port: 443,
    };
    let path: UrlPath = path.parse().unwrap();
    asked(&rule(kind), &target, path.as_str())
}

/// Says a reading in a word: `index`, `about NAME`, `NAME VERSION`, `strange`, `twofold`, `version`.
fn read(kind: RegistryKind, place: &str) -> String {
    match ask(kind, place) {
        Ok(Asked::Index) => "index".to_owned(),
        Ok(Asked::Metadata(name)) => format!("about {name}"),
        Ok(Asked::Package(package)) => match package.binary {
            Some(binary) => format!("{}:{binary} {}", package.name, package.version),
            None => format!("{} {}", package.name, package.version),
        },
        Err(Unread::Strange(_)) => "strange".to_owned(),
        Err(Unread::Twofold(_)) => "twofold".to_owned(),
        Err(Unread::Version { .. }) => "version".to_owned(),
    }
}

#[test]
fn paths_of_npm_are_read() {
    for (path, expected) in [
        ("/", "index"),
        ("/-/ping", "index"),
        ("/-/npm/v1/keys", "index"),
        ("/-/whoami", "strange"),
        ("/-/npm/v1/security/advisories/bulk", "strange"),
        ("/-/package/left-pad/dist-tags", "about left-pad"),
        ("/-/package/@a%2fb/dist-tags", "about @a/b"),
        ("/left-pad", "about left-pad"),
        ("/left-pad/", "strange"),
        ("/left-pad/latest", "about left-pad"),
        ("/left-pad/1.3.0", "about left-pad"),
        ("/@scope%2fname", "about @scope/name"),
        ("/@scope%2Fname", "about @scope/name"),
        ("/%40scope%2Fname", "about @scope/name"),
        ("/@scope/name", "about @scope/name"),
        ("/@scope/name/1.0.0", "about @scope/name"),
        ("/left-pad/-/left-pad-1.3.0.tgz", "left-pad 1.3.0"),
        ("/left-pad/-/left-pad-1.3.0-rc.1.tgz", "left-pad 1.3.0-rc.1"),
        ("/left-pad/-/left%2dpad-1.3.0.tgz", "left-pad 1.3.0"),
        ("/@scope/name/-/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope%2fname/-/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope/name/-/@scope/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope/name/-/@other/name-1.0.0.tgz", "strange"),
        ("/left-pad/-/evil-1.3.0.tgz", "strange"),
        ("/left-pad/-/left-pad-latest.tgz", "version"),
        ("/left-pad/-/left-pad-1.3.tgz", "version"),
        ("/left-pad/-/left-pad-1.3.0.tar", "strange"),
        ("/left-pad/-/x/left-pad-1.3.0.tgz", "strange"),
        ("/a%2fb/-/b-1.0.0.tgz", "strange"),
        ("/@a%2fb%2fc", "strange"),
        ("/@scope", "strange"),
        ("/download/@scope/name/1.0.0/abcdef", "strange"),
        ("/left-pad/-/left-pad-1.3.0.tgz/x", "strange"),
    ] {
        assert_eq!(
            read(Npm, &format!("r.test/mirror{path}")),
            expected,
            "{path}"
        );
    }
    assert_eq!(
        read(Npm, "r.test/left-pad"),
        "strange",
        "outside the prefix"
    );
    assert_eq!(read(Npm, "other.test/mirror/left-pad"), "strange");
}

#[test]
fn paths_of_pip_are_read() {
    for (place, expected) in [
        ("r.test/simple/", "index"),
        ("r.test/simple/requests/", "about requests"),
        ("r.test/simple/Zope.Interface", "about zope-interface"),
        ("r.test/simple/foo-1.0.tar.gz", "twofold"),
        ("r.test/simple/foo.zip/", "twofold"),
        (
            "files.test/packages/ab/cd/ef/six-1.16.0-py2.py3-none-any.whl",
            "six 1.16.0",
        ),
        (
            "files.test/p/six-1.16.0-py2.py3-none-any.whl.metadata",
            "six 1.16.0",
        ),
        (
            "files.test/p/torch-2.0%2Bcu118-1-cp311-cp311-linux_x86_64.whl",
            "torch 2.0+cu118",
        ),
        ("files.test/p/a-1.0_1-py3-none-any.whl", "a 1.0-1"),
        ("files.test/p/six-1.16.0.tar.gz", "six 1.16.0"),
        (
            "files.test/p/python-dateutil-2.8.2.tar.gz",
            "python-dateutil 2.8.2",
        ),
        (
            "files.test/p/zope.interface-4.0-beta.zip",
            "zope-interface 4.0-beta",
        ),
        ("files.test/p/foo-2-1.tar.gz", "twofold"),
        ("files.test/p/foo-1.0-x-py3-none-any.whl", "strange"),
        ("files.test/p/foo-latest.tar.gz", "strange"),
        ("files.test/p/foo-1.0.win32-py2.7.exe", "strange"),
        ("files.test/p/foo-1.0.egg", "strange"),
        ("files.test/p/foo-1.0.tar.gz.asc", "strange"),
        ("files.test/p/-1.0.tar.gz", "strange"),
        ("files.test/p/foo-1.0-py3-none-any.whl/x", "strange"),
    ] {
        assert_eq!(read(Pypi, place), expected, "{place}");
    }
}

#[test]
fn paths_of_cargo_are_read() {
    for (place, expected) in [
        ("r.test/config.json", "index"),
        ("r.test/1/a", "about a"),
        ("r.test/2/ab", "about ab"),
        ("r.test/3/a/abc", "about abc"),
        ("r.test/se/rd/serde", "about serde"),
        ("r.test/se/rd/Serde_JSON", "about serde-json"),
        ("r.test/se/rd/tokio", "strange"),
        ("r.test/3/b/abc", "strange"),
        ("r.test/dl/v1/crates/cfg-if/1.0.0/download", "cfg-if 1.0.0"),
        ("files.test/crates/cfg-if/1.0.0/download", "cfg-if 1.0.0"),
        (
            "files.test/crates/serde_json/serde_json-1.0.0.crate",
            "serde-json 1.0.0",
        ),
        ("files.test/crates/serde/serde_json-1.0.0.crate", "strange"),
        ("r.test/api/v1/crates/serde/1.0.0/download", "serde 1.0.0"),
        ("r.test/api/v1/crates/serde", "about serde"),
        ("r.test/api/v1/crates", "strange"),
        ("r.test/api/v1/summary", "strange"),
        ("files.test/crates/serde/latest/download", "version"),
        ("files.test/crates/serde/1.0.0/readme", "strange"),
        ("files.test/crates/serde/1.0.0%2F/download", "version"),
    ] {
        assert_eq!(read(Crates, place), expected, "{place}");
    }
}

#[test]
fn paths_of_apt_are_read() {
    for (path, expected) in [
        ("/dists/bookworm/InRelease", "index"),
        (
            "/dists/bookworm/main/binary-amd64/by-hash/SHA256/ab",
            "index",
        ),
        ("/dists/bookworm/evil_1.0_amd64.deb", "strange"),
        (
            "/pool/main/o/openssl/libssl3_3.0.11-1~deb12u2_amd64.deb",
            "openssl:libssl3 3.0.11-1~deb12u2",
        ),
        (
            "/pool/updates/main/libx/libxml2/libxml2_2.9.14%2bdfsg-1.3_amd64.deb",
            "libxml2:libxml2 2.9.14+dfsg-1.3",
        ),
        (
            "/pool/main/v/vim/vim_2%3a9.0-1_amd64.deb",
            "vim:vim 2:9.0-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11-1.dsc",
            "openssl 3.0.11-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11-1.debian.tar.xz",
            "openssl 3.0.11-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11.orig.tar.gz",
            "about openssl",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11.orig.tar.gz.asc",
            "about openssl",
        ),
        ("/pool/main/d/dpkg/dpkg_1.21.22.tar.xz", "dpkg 1.21.22"),
        ("/pool/main/o/openssl/libssl3_3.0.11-1.deb", "strange"),
        ("/pool/main/x/openssl/libssl3_3.0.11-1_amd64.deb", "strange"),
        ("/pool/main/o/openssl/other_3.0.11-1.dsc", "strange"),
        ("/pool/main/o/openssl/libssl3_%21_amd64.deb", "version"),
        ("/ls-lR.gz", "strange"),
    ] {
        assert_eq!(
            read(Debian, &format!("r.test/debian{path}")),
            expected,
            "{path}"
        );
    }
}

#[test]
fn a_path_that_fits_two_prefixes_differently_is_refused() {
    let mut both = rule(Npm);
    both.hosts = vec![host("r.test", ""), host("r.test", "/left-pad")];
    let target = Target {
        name: "r.test".parse().unwrap(),
        port: 443,
    };
    let read = asked(&both, &target, "/left-pad/latest");
    assert!(matches!(read, Err(Unread::Twofold(_))), "{read:?}");
    let read = asked(&both, &target, "/right-pad");
    assert_eq!(read, Ok(Asked::Metadata("right-pad".to_owned())));
}

proptest! {
    #[test]
    fn no_path_breaks_the_reader(path in "[/a-z0-9@%._~:+_-]{0,60}") {
        for kind in [Npm, Pypi, Crates, Debian] {
            if let Ok(path) = format!("/{path}").parse::<UrlPath>() {
                let target = Target { name: "r.test".parse().unwrap(), port: 443 };
                let mut open = rule(kind);
                open.hosts.push(host("r.test", ""));
                drop(asked(&open, &target, path.as_str()));
            }
        }
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

fn judged(rule: &RegistryRule, database: &Database, name: &str, version: &str) -> Verdict {
    let asked = Asked::Package(package(rule.kind, name, version));
    judge(rule, Ok(asked), Some(database))
}

fn refused(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_advisory_refuses_the_versions_of_its_ranges_and_names_the_fix() {
    let known = database(vec![osv("GHSA-a", ("npm", "left-pad"), RANGE)]);
    for (version, affected) in [
        ("0.9.9", false),
        ("1.0.0-rc.1", false),
        ("1.0.0", true),
        ("1.2.2", true),
        ("1.2.3-rc.1", true),
        ("1.2.3", false),
        ("2.0.0", true),
        ("2.1.0", true),
        ("2.1.1", false),
    ] {
        let verdict = judged(&rule(Npm), &known, "left-pad", version);
        assert_eq!(verdict != Verdict::Fine, affected, "{version}: {verdict:?}");
    }
    assert_eq!(
        refused(judged(&rule(Npm), &known, "left-pad", "1.1.0")),
        "`left-pad 1.1.0` has a known advisory: GHSA-a (CVE-2024-1, high); fixed in 1.2.3"
    );
    assert!(
        refused(judged(&rule(Npm), &known, "left-pad", "2.0.5"))
            .ends_with("no fixed version is known")
    );
    assert_eq!(
        judged(&rule(Npm), &known, "right-pad", "1.1.0"),
        Verdict::Fine
    );
    assert_eq!(
        judged(&rule(Crates), &known, "left-pad", "1.1.0"),
        Verdict::Fine
    );
}

#[test]
fn lists_of_versions_count_as_well_as_ranges_and_in_any_spelling() {
    let known = database(vec![
        osv(
            "PYSEC-1",
            ("PyPI", "Zope.Interface"),
            r#""versions": ["1.0", "2004d"]"#,
        ),
        osv(
            "PYSEC-2",
            ("PyPI", "odd"),
            r#""ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "no version"}]}]"#,
        ),
        osv(
            "PYSEC-3",
            ("PyPI", "mixed"),
            r#""versions": ["1.0"], "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "no version"}]}]"#,
        ),
        osv(
            "PYSEC-4",
            ("PyPI", "git"),
            r#""ranges": [{"type": "GIT", "repo": "x", "events": [{"introduced": "0"}]}]"#,
        ),
    ]);
    for (name, version, affected) in [
        ("zope-interface", "1.0.0", true),
        ("zope-interface", "1.1", false),
        ("odd", "9.9", true),
        ("mixed", "1.0", true),
        ("mixed", "9.9", false),
        ("git", "1.0", false),
    ] {
        let verdict = judged(&rule(Pypi), &known, name, version);
        assert_eq!(
            verdict != Verdict::Fine,
            affected,
            "{name} {version}: {verdict:?}"
        );
    }
}

#[test]
fn versions_that_a_range_holds_are_not_kept_twice() {
    let versions = r#""versions": ["1.0.0", "1.1.0", "2.5.0", "odd"], "#;
    let kept = osv("X-1", ("npm", "x"), &format!("{versions}{RANGE}"));
    assert_eq!(kept.about[0].2.versions, ["2.5.0", "odd"]);
    let odd = r#""ranges": [{"type": "SEMVER", "events": [{"introduced": "odd"}]}]"#;
    let kept = osv("X-1", ("npm", "x"), &format!("{versions}{odd}"));
    assert_eq!(kept.about[0].2.versions.len(), 4, "the list settles it");
}

#[test]
fn several_advisories_name_the_version_that_has_every_fix() {
    let fixed = |version: &str| {
        format!(
            r#""ranges": [{{"type": "SEMVER", "events": [{{"introduced": "0"}}, {{"fixed": "{version}"}}]}}]"#
        )
    };
    let records = [
        ("A-1", "1.2.0"),
        ("A-2", "1.10.0"),
        ("A-3", "1.9.0"),
        ("A-4", "1.1.0"),
    ];
    let records = records.map(|(id, version)| osv(id, ("crates.x", "time"), &fixed(version)));
    let known = database(records.to_vec());
    let reason = refused(judged(&rule(Crates), &known, "time", "1.0.0"));
    assert!(
        reason.contains("A-1 (CVE-2024-1, high), A-2")
            && reason.contains(" and 1 more; fixed in 1.10.0"),
        "{reason}"
    );
}

#[test]
fn of_debian_the_release_the_epoch_and_rebuilds_are_minded() {
    let range = |fixed: &str| {
        format!(
            r#""ranges": [{{"type": "ECOSYSTEM", "events": [{{"introduced": "0"}}, {{"fixed": "{fixed}"}}]}}]"#
        )
    };
    let known = database(vec![
        osv(
            "DSA-12",
            ("Debian:12", "openssl"),
            &range("3.0.11-1~deb12u2"),
        ),
        osv("DSA-13", ("Debian:13", "openssl"), &range("3.2.0-1")),
        osv("DSA-V", ("Debian:12", "vim"), &range("2:9.0.1378-2")),
    ]);
    for (name, version, ids) in [
        ("openssl", "3.0.11-1~deb12u1", "DSA-12"),
        ("openssl", "3.0.11-1~deb12u2", ""),
        ("openssl", "3.0.11-1~deb12u2+b1", ""),
        ("openssl", "3.1.0-1", "DSA-13"),
        ("openssl", "3.2.0-1", ""),
        ("vim", "9.0.1378-1", "DSA-V"),
        ("vim", "9.0.1378-2", ""),
        ("vim", "2:9.0.1378-1", "DSA-V"),
    ] {
        match judged(&rule(Debian), &known, name, version) {
            Verdict::Fine => assert_eq!(ids, "", "{name} {version}"),
            other => {
                let reason = refused(other);
                assert!(
                    !ids.is_empty() && reason.contains(ids),
                    "{name} {version}: {reason}"
                );
            }
        }
    }
}

#[test]
fn what_is_accepted_switched_off_or_withdrawn_refuses_nothing() {
    let known = database(vec![osv("GHSA-a", ("npm", "left-pad"), RANGE)]);
    let with = |change: fn(&mut RegistryRule)| {
        let mut rule = rule(Npm);
        change(&mut rule);
        judged(&rule, &known, "left-pad", "1.0.0")
    };
    assert_ne!(with(|_| {}), Verdict::Fine, "the control");
    assert_eq!(
        with(|rule| rule.accept = vec!["GHSA-a".to_owned()]),
        Verdict::Fine
    );
    assert_eq!(
        with(|rule| rule.accept = vec!["CVE-2024-1".to_owned()]),
        Verdict::Fine
    );
    assert_ne!(
        with(|rule| rule.accept = vec!["GHSA-b".to_owned()]),
        Verdict::Fine
    );
    assert_eq!(with(|rule| rule.advisories = Some(false)), Verdict::Fine);
    let text = r#"{"id": "X-1", "modified": "2024-05-01T00:00:00Z", "withdrawn": "2024-05-02T00:00:00Z",
        "affected": [{"package": {"ecosystem": "npm", "name": "left-pad"}, "versions": ["1.0.0"]}]}"#;
    let mut collection = Collection::default();
    collection.add(record(text));
    assert!(collection.is_empty());
}

#[test]
fn a_rule_that_demands_advisories_refuses_all_without_them() {
    let mut demands = rule(Npm);
    demands.advisories = Some(true);
    let asked = || Ok(Asked::Package(package(Npm, "left-pad", "1.0.0")));
    let reason = refused(judge(&demands, asked(), None));
    assert!(reason.contains("`loki advisories import DIR`"), "{reason}");
    assert_eq!(judge(&rule(Npm), asked(), None), Verdict::Fine);
}

#[test]
fn allow_and_deny_are_names_or_single_versions() {
    let verdict = |allow: &[&str], deny: &[&str], asked: Asked| {
        let mut rule = rule(Npm);
        rule.allow = allow.iter().map(|&one| one.to_owned()).collect();
        rule.deny = deny.iter().map(|&one| one.to_owned()).collect();
        judge(&rule, Ok(asked), None) == Verdict::Fine
    };
    let file = |version: &str| Asked::Package(package(Npm, "left-pad", version));
    let about = || Asked::Metadata("left-pad".to_owned());
    for (allow, deny, asked, fine) in [
        (&["left-*"][..], &[][..], file("1.0.0"), true),
        (&["right-*"], &[], file("1.0.0"), false),
        (&["right-*"], &[], about(), false),
        (&["right-*"], &[], Asked::Index, true),
        (&["left-pad@1.0.0"], &[], file("1.0.0"), true),
        (&["left-pad@1.0.0"], &[], file("1.0.1"), false),
        (&["left-pad@1.0.0"], &[], about(), true),
        (&[], &["left-pad"], about(), false),
        (&[], &["left-pad"], file("1.0.0"), false),
        (
            &[],
            &["left-pad"],
            Asked::Metadata("Left-Pad".to_owned()),
            false,
        ),
        (&[], &["left-pad@1.0.0"], file("1.0.0"), false),
        (&[], &["left-pad@1.0.0"], file("1.0.1"), true),
        (&[], &["left-pad@1.0.0"], about(), true),
        (&["left-*"], &["left-pad"], file("1.0.0"), false),
        (
            &["@left/*"],
            &[],
            Asked::Metadata("@left/pad".to_owned()),
            true,
        ),
    ] {
        let shown = format!("{allow:?} {deny:?} {asked:?}");
        assert_eq!(verdict(allow, deny, asked), fine, "{shown}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_where_something_is_vetted_and_passes_elsewhere() {
    let strange = || Err(Unread::Strange(Npm));
    assert_eq!(judge(&rule(Npm), strange(), None), Verdict::Fine);
    let known = database(vec![osv("GHSA-a", ("npm", "left-pad"), RANGE)]);
    assert!(refused(judge(&rule(Npm), strange(), Some(&known))).contains("no known form"));
    let mut aged = rule(Npm);
    aged.min_age = Some(Duration::from_secs(1));
    refused(judge(&aged, strange(), None));
}

fn published(kind: RegistryKind, body: &str) -> Published {
    let base = url::Url::parse("https://r.test/simple/six/").unwrap();
    Published::read(kind, &base, body.as_bytes()).unwrap()
}

const DAY: Duration = Duration::from_secs(86_400);

fn aged(published: &Published, package: &Package, place: &str) -> Result<(), String> {
    let now: Timestamp = "2024-06-10T00:00:00Z".parse().unwrap();
    judge_age((package, 3 * DAY), place, (published, now)).map_err(|refusal| refusal.reason)
}

#[test]
fn of_npm_a_version_is_as_old_as_the_packument_says() {
    let said = published(
        Npm,
        r#"{"name": "x", "time": {"created": "2020-01-01T00:00:00Z", "modified": "2020-01-01T00:00:00Z", "1.0.0": "2024-01-01T00:00:00.000Z",
            "1.1.0": "2024-06-01T10:00:00+00:00", "1.2.0-rc.1": "2024-06-02T00:00:00Z", "2.0.0": "2024-06-09T00:00:00Z", "3.0.0": "2025-01-01T00:00:00Z", "unpublished": {"time": "x"}}}"#,
    );
    let ask = |version: &str| aged(&said, &package(Npm, "x", version), "");
    assert_eq!(ask("1.1.0"), Ok(()));
    assert_eq!(
        ask("2.0.0").unwrap_err(),
        "`x 2.0.0` is refused: it came out 24 hours ago, and its rule wants versions that are 3 days old; the newest that is: 1.1.0"
    );
    assert!(ask("3.0.0").is_err(), "a time to come is young");
    for unknown in ["1.3.0", "created", "modified"] {
        assert!(
            ask(unknown).unwrap_err().contains("does not say when"),
            "{unknown}"
        );
    }
    let base = url::Url::parse("https://r.test/x").unwrap();
    for bad in ["", "[]", "{}", "{\"time\": 1}", "<html>"] {
        assert!(
            Published::read(Npm, &base, bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn of_cargo_a_version_is_as_old_as_its_line_says() {
    let said = published(
        Crates,
        "{\"name\":\"x\",\"vers\":\"1.0.0\",\"pubtime\":\"2024-01-01T00:00:00Z\"}\n{\"vers\":\"1.1.0\",\"yanked\":true,\"pubtime\":\"2024-01-02T00:00:00Z\"}\n\n{\"vers\":\"1.2.0\",\"pubtime\":\"2024-06-09T23:00:00Z\"}\n{\"vers\":\"1.3.0\"}\n",
    );
    let ask = |version: &str| aged(&said, &package(Crates, "x", version), "");
    assert_eq!((ask("1.0.0"), ask("1.1.0")), (Ok(()), Ok(())));
    let young = ask("1.2.0").unwrap_err();
    assert!(
        young.contains("1 hour ago") && young.ends_with("the newest that is: 1.0.0"),
        "{young}"
    );
    assert!(ask("1.3.0").unwrap_err().contains("does not say when"));
}

#[test]
fn of_pip_each_file_has_its_own_age_and_is_known_by_its_whole_address() {
    let json = r#"{"meta": {"api-version": "1.1"}, "name": "six", "files": [
        {"filename": "six-1.0.tar.gz", "url": "https://files.test/a/six-1.0.tar.gz", "hashes": {}, "upload-time": "2024-01-01T00:00:00.000000Z"},
        {"filename": "six-1.0-py3-none-any.whl", "url": "https://files.test/b/six-1.0-py3-none-any.whl#sha256=x", "upload-time": "2024-06-09T00:00:00Z"},
        {"filename": "six-0.9.tar.gz", "url": "../../f/six-0.9.tar.gz", "upload-time": "2023-01-01T00:00:00Z"},
        {"filename": "six-0.8.tar.gz", "url": "https://files.test/a/six-0.8.tar.gz"}]}"#;
    let html = r#"<!DOCTYPE html><html><body>
        <a href="https://files.test/a/six-1.0.tar.gz#sha256=1" data-upload-time="2024-01-01T00:00:00Z">six-1.0.tar.gz</a>
        <a data-requires-python="&gt;=3" href='https://files.test/b/six-1.0-py3-none-any.whl' data-upload-time='2024-06-09T00:00:00Z'>x</a>
        <a href="/f/six-0.9.tar.gz" data-upload-time="2023-01-01T00:00:00Z">x</a>
        <a href="https://files.test/a/six-0.8.tar.gz">x</a><a href=unquoted>x</a>"#;
    for body in [json, html] {
        let said = published(Pypi, body);
        let ask = |version: &str, place: &str| aged(&said, &package(Pypi, "six", version), place);
        assert_eq!(ask("1.0", "files.test/a/six-1.0.tar.gz"), Ok(()));
        assert_eq!(ask("0.9", "r.test/f/six-0.9.tar.gz"), Ok(()));
        let young = ask("1.0", "files.test/b/six-1.0-py3-none-any.whl").unwrap_err();
        assert!(young.ends_with("the newest that is: 0.9"), "{young}");
        ask("1.0", "files.test/b/six-1.0-py3-none-any.whl.metadata").unwrap_err();
        for elsewhere in [
            "files.test/c/six-1.0.tar.gz",
            "other.test/a/six-1.0.tar.gz",
            "files.test/a/six-0.8.tar.gz",
        ] {
            assert!(
                ask("1.0", elsewhere)
                    .unwrap_err()
                    .contains("does not say when"),
                "{elsewhere}"
            );
        }
    }
}

const BEGIN: &str = "{\n  \"id\": \"X-1\",\n  \"modified\": \"2024-05-01T00:00:00Z\",\n";

fn faulty(text: &str) -> Diagnostic {
    *Record::read(Path::new("a/x.json"), text).unwrap_err()
}

#[test]
fn a_faulty_record_is_told_with_its_place_and_what_would_be_right() {
    let affected = |inside: &str| format!("{BEGIN}  \"affected\": [{{{inside}}}]}}");
    let range = |inside: &str| affected(&format!("\"ranges\": [{{{inside}}}]"));
    let event = |inside: &str| range(&format!("\"type\": \"SEMVER\", \"events\": [{{{inside}}}]"));
    let id = "{\"id\": \"a\\u001bb\", \"modified\": \"2024-05-01T00:00:00Z\"}";
    for (text, line, said) in [
        (String::new(), 1, "EOF"),
        ("[]".to_owned(), 1, "expected struct"),
        (
            "{\"id\": \"X-1\"}".to_owned(),
            1,
            "missing field `modified`",
        ),
        (id.to_owned(), 1, "an id has up to 128"),
        (format!("{BEGIN}  \"modified\": 1}}"), 4, "duplicate field"),
        (
            affected("\"package\": {\"name\": \"x\"}"),
            4,
            "missing field `ecosystem`",
        ),
        (
            event("\"introduced\": \"0\", \"fixed\": \"1\""),
            4,
            "exactly one of",
        ),
        (event("\"from\": \"0\""), 4, "exactly one of"),
        (
            range("\"type\": \"DATE\", \"events\": []"),
            4,
            "unknown variant",
        ),
        (
            format!("{BEGIN}  \"affected\": {}", "[".repeat(10_000)),
            4,
            "invalid type",
        ),
    ] {
        let fault = faulty(&text);
        let shown = fault.render();
        assert_eq!(fault.line, line, "{text:.80}: {shown}");
        assert!(fault.message.contains(said), "{text:.80}: {shown}");
        let told = shown.starts_with("a/x.json:") && shown.contains("help: one JSON object");
        assert!(told && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn a_record_that_nests_without_end_is_refused() {
    for (key, said) in [
        ("\"details\": ", "EOF"),
        ("\"database_specific\": {\"severity\": ", "recursion limit"),
    ] {
        let fault = faulty(&format!("{BEGIN}  {key}{}", "[".repeat(100_000)));
        assert!(fault.message.contains(said), "{}", fault.message);
    }
}

#[test]
fn a_database_holds_what_came_in_and_no_other_byte() {
    let names = ["a", "b-c", "@s/p", "zzz", "left-pad"];
    let records = names.map(|name| osv(&format!("X-{}", name.len()), ("npm", name), RANGE));
    let mut collection = Collection::default();
    records
        .into_iter()
        .for_each(|record| collection.add(record));
    collection.add(osv("X-9", ("Go", "x"), RANGE));
    collection.add(osv("X-8", ("npm", "no name at all"), RANGE));
    let (bytes, summary) = collection.written(Timestamp::UNIX_EPOCH, vec![]);
    assert_eq!(
        (
            summary.packages,
            summary.advisories["npm"],
            summary.elsewhere
        ),
        (5, 5, 2)
    );
    let known = Database::read(bytes.clone()).unwrap();
    for name in names {
        assert_eq!(known.about(Npm, name).unwrap().len(), 1, "{name}");
    }
    for name in ["", "aa", "left-pa", "zzzz"] {
        assert!(known.about(Npm, name).unwrap().is_empty(), "{name}");
    }
    assert_eq!(known.packages().count(), 5);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(
            Database::read(changed).is_err(),
            "byte {at} counts for nothing"
        );
        assert!(Database::read(bytes[..at].to_vec()).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), b"\n"].concat();
    assert_eq!(Database::read(longer).unwrap_err(), Unusable::Changed);
}
