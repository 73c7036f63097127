//! What a rule and the advisories say to a version.

use super::*;

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
