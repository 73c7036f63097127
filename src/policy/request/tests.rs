//! Decisions on requests, asked of whole policies.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};

use super::{CredentialForm, RegistryHost, RegistryKind, Request, RequestPermit, decide_request};
use crate::policy::{
    Act, Denied, Egress, Facts, Layer, Permit, Policy, Protocol, Rights, Source, Target,
    cover::Cover as _, decide, written,
};

fn facts() -> Facts {
    let host = |host: &str, port, protocol, prefix: &str| RegistryHost {
        host: host.parse().unwrap(),
        port,
        protocol,
        prefix: prefix.to_owned(),
    };
    let npm = vec![host("npm.test", 443, Protocol::Tls, "/mirror")];
    let debian = vec![
        host("deb.test", 80, Protocol::Http, "/debian"),
        host("sec.test", 443, Protocol::Tls, ""),
    ];
    Facts {
        secrets: BTreeSet::from(["API_KEY".to_owned(), "GIT_TOKEN".to_owned()]),
        registries: [(RegistryKind::Npm, npm), (RegistryKind::Debian, debian)].into(),
        ..Facts::default()
    }
}

fn checked(egress: &str) -> Result<Rights, String> {
    let text = format!(
        "version: 1\nagents: {{ a: {{}} }}\nnetwork_policies:\n  a:\n    egress: {egress}\n"
    );
    let source = Source {
        layer: Layer::Given,
        file: "x.yaml".into(),
        text,
    };
    let policy = Policy::check_knowing(&[source], &facts());
    let policy = policy.map_err(|faults| {
        let shown: Vec<String> = faults
            .iter()
            .map(|fault| {
                format!(
                    "{} ({})",
                    fault.message,
                    fault.help.as_deref().unwrap_or_default()
                )
            })
            .collect();
        shown.join("\n")
    })?;
    Ok(policy.rights(&"a".parse().unwrap()).unwrap())
}

fn rights(egress: &str) -> Rights {
    checked(egress).unwrap_or_else(|faults| panic!("{egress}:\n{faults}"))
}

fn egress(text: &str) -> Egress {
    rights(text).egress
}

fn permit(egress: &Egress, host: &str, port: u16) -> Permit {
    let name = host.parse().unwrap();
    decide(egress, &Target { name, port }).unwrap()
}

fn ask(egress: &Egress, asked: &str) -> Result<RequestPermit, Denied> {
    upgrade(egress, asked, None)
}

/// Asks `POST api.test/v1/x`.
fn upgrade(egress: &Egress, asked: &str, to: Option<&str>) -> Result<RequestPermit, Denied> {
    let (method, rest) = asked.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let permit = permit(egress, host, 443);
    decide_request(egress, &permit, &Request::new(method, path, to))
}

const MODEL: &str = "[{ host: api.test, port: 443, methods: [POST], paths: [\"/v1/messages\", \"/v1/messages/**\"], credential: { secret: API_KEY, header: X-Api-Key }, max_request_bytes: 10MiB }]";

#[test]
fn a_rule_on_requests_allows_what_it_names_and_says_what_goes_with_it() {
    let egress = egress(MODEL);
    assert!(permit(&egress, "api.test", 443).inspected());
    let permit = ask(&egress, "POST api.test/v1/messages?beta=true").unwrap();
    let credential = permit.credential().unwrap();
    assert_eq!(credential.secret, "API_KEY");
    assert_eq!(
        credential.form,
        CredentialForm::Header("x-api-key".to_owned())
    );
    assert_eq!(permit.max_request_bytes(), Some(10 << 20));
    assert_eq!(
        (permit.rule(), permit.path()),
        ("api.test:443 (x.yaml:5)", "/v1/messages")
    );
    assert!(!permit.websocket() && !permit.is_push() && permit.cache().is_none());
    assert!(ask(&egress, "POST api.test/v1/messages/count_tokens").is_ok());
}

/// Credentials that name a command wrongly, with what is said of each.
const NO_COMMANDS: &[(&str, &str)] = &[
    (
        "command: /bin/token --for api, name: API, bearer: true",
        "no shell",
    ),
    ("command: [], name: API, bearer: true", "has 0 words"),
    (
        "command: [bin/token], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [token], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [\"~/token\"], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [/bin/../token], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [/bin/], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [\"\"], name: API, bearer: true",
        "is not the path",
    ),
    (
        "command: [\"/bin/a\\0b\"], name: API, bearer: true",
        "control characters",
    ),
    (
        "command: [/bin/a, \"b\\nc\"], name: API, bearer: true",
        "control characters",
    ),
    (
        "command: [[/bin/a]], name: API, bearer: true",
        "a word of the command",
    ),
    (
        "command: { run: /bin/a }, name: API, bearer: true",
        "a list is wanted",
    ),
    ("command: [/bin/a], bearer: true", "add `name: API`"),
    (
        "command: [/bin/a], name: api, bearer: true",
        "the name of a secret",
    ),
    ("command: [/bin/a], name: API", "does not say how"),
    (
        "secret: API_KEY, command: [/bin/a], bearer: true",
        "both a secret and a command",
    ),
    ("secret: API_KEY, name: API, bearer: true", "drop `name`"),
    (
        "comand: [/bin/a], name: API, bearer: true",
        "did you mean `command`?",
    ),
];

#[test]
fn a_command_of_a_credential_is_a_path_and_words_over_tls() {
    let said = |port: u16, credential: &str| {
        checked(&format!(
            "[{{ host: api.test, port: {port}, credential: {{ {credential} }} }}]"
        ))
    };
    let good = "command: [/usr/local/bin/token, --for, api], name: API, header: x-api-key";
    let rights = said(443, good).unwrap();
    let shown = rights.egress.rules[0].request.as_ref().unwrap().to_string();
    assert_eq!(
        shown,
        "any method, adds API of command [\"/usr/local/bin/token\", \"--for\", \"api\"] as x-api-key"
    );
    let long = format!(
        "command: [/bin/a{}], name: API, bearer: true",
        ", x".repeat(64)
    );
    let fault = |port, credential| said(port, credential).map(|_| ()).unwrap_err();
    assert!(fault(80, good).contains("in the clear"));
    assert!(fault(443, &long).contains("has 65 words"));
    for (credential, why) in NO_COMMANDS {
        let faults = fault(443, credential);
        assert!(faults.contains(why), "{credential}: {faults}");
    }
}

#[test]
fn a_denial_says_what_would_be_right_there() {
    let egress = egress(MODEL);
    let denied = |asked: &str| ask(&egress, asked).unwrap_err().to_string();
    insta::assert_snapshot!(denied("GET api.test/v1/messages"), @"access to `GET https://api.test/v1/messages` is denied: `GET` is not allowed there, only `POST` (rule api.test:443 (x.yaml:5))");
    insta::assert_snapshot!(denied("POST api.test/v1/files?key=hush"), @"access to `POST https://api.test/v1/files` is denied: no rule names its path, only `/v1/messages`, `/v1/messages/**` (rule api.test:443 (x.yaml:5))");
    insta::assert_snapshot!(denied("POST api.test/v1/messages/%2e%2e/files"), @"access to `POST https://api.test/v1/messages/../files` is denied: the path holds a `.` or `..` component, so no rule for paths covers it (rule api.test:443 (x.yaml:5))");
    insta::assert_snapshot!(denied("POST api.test/v1\\messages"), @"access to `POST https://api.test?` is denied: the path holds a character that no path may hold");
    let socket = upgrade(&egress, "POST api.test/v1/messages", Some("WebSocket")).unwrap_err();
    assert!(socket.reason.contains("`websocket: true`"), "{socket}");
}

#[test]
fn methods_are_compared_as_they_are_sent() {
    let egress = egress(MODEL);
    for method in [
        "post",
        "Post",
        "POST ",
        "",
        "GET",
        "HEAD",
        "PUT",
        "CONNECT",
        "PO\u{1b}ST",
    ] {
        let request = Request::new(method, "/v1/messages", None);
        let permit = permit(&egress, "api.test", 443);
        let denied = decide_request(&egress, &permit, &request).unwrap_err();
        assert!(!denied.to_string().contains('\u{1b}'), "{denied}");
    }
}

#[test]
fn one_rule_on_requests_has_all_traffic_of_its_host_and_port_inspected() {
    let egress = egress(
        "[\"api.test:443\", { host: api.test, port: 443, methods: [GET] }, \"*.own.test:443\", \"api.test:80\"]",
    );
    assert!(permit(&egress, "api.test", 443).inspected());
    assert!(!permit(&egress, "b.own.test", 443).inspected());
    assert!(!permit(&egress, "api.test", 80).inspected());
    assert_eq!(
        ask(&egress, "DELETE api.test/").unwrap().rule(),
        "api.test:443 (x.yaml:5)"
    );
}

#[test]
fn the_first_rule_that_covers_a_request_counts() {
    let egress = egress(
        "\n    - { host: api.own.test, port: 443, methods: [POST], paths: [\"/v1/**\"], credential: { secret: API_KEY, bearer: true } }\n    - { host: api.own.test, port: 443, methods: [GET], cache: 1h }\n    - { host: \"*.own.test\", port: 443, methods: [HEAD] }",
    );
    let rule = |asked| ask(&egress, asked).map(|permit| permit.rule().to_owned());
    assert_eq!(
        rule("POST api.own.test/v1/x").unwrap(),
        "api.own.test:443 (x.yaml:6)"
    );
    assert_eq!(
        rule("GET api.own.test/v1/x").unwrap(),
        "api.own.test:443 (x.yaml:7)"
    );
    assert_eq!(
        rule("HEAD api.own.test/v1/x").unwrap(),
        "*.own.test:443 (x.yaml:8)"
    );
    let got = ask(&egress, "GET api.own.test/v1/x").unwrap();
    assert_eq!(
        (got.credential(), got.cache()),
        (None, Some(Duration::from_secs(3600)))
    );
    // The nearest rule is the one whose path fits.
    assert_eq!(
        rule("PUT api.own.test/v1/x").unwrap_err().rule.unwrap(),
        "api.own.test:443 (x.yaml:6)"
    );
    // Without a rule for paths nothing is ambiguous: any path is allowed there.
    assert!(rule("GET api.own.test/a//b;c").is_ok());
}

#[test]
fn a_websocket_is_opened_only_where_a_rule_says_so() {
    let egress = egress("[{ host: api.test, port: 443, paths: [/live], websocket: true }]");
    assert!(
        upgrade(&egress, "GET api.test/live", Some("websocket"))
            .unwrap()
            .websocket()
    );
    assert!(!ask(&egress, "GET api.test/live").unwrap().websocket());
    for other in ["h2c", "websocket, h2c", "TLS/1.0", ""] {
        assert!(
            upgrade(&egress, "GET api.test/live", Some(other)).is_err(),
            "{other}"
        );
    }
}

#[test]
fn another_protocol_for_the_same_host_does_not_lead_around_a_rule() {
    let egress = egress(
        "[{ host: api.test, port: 443, protocol: tcp }, { host: api.test, port: 443, methods: [GET] }]",
    );
    let permit = permit(&egress, "api.test", 443);
    assert!(permit.inspected());
    assert_eq!(permit.protocol(), Protocol::Tls);
    assert!(ask(&egress, "POST api.test/").is_err());
}

const GIT: &str = "[{ host: git.test, port: 443, git: { repo: owner/name, push: [\"loki/*\"] }, credential: { secret: GIT_TOKEN, basic: x-token } }]";

/// What is asked, and whether it is allowed where git fetches and where it pushes.
const GIT_REQUESTS: &[(&str, bool, bool)] = &[
    (
        "GET git.test/owner/name/info/refs?service=git-upload-pack",
        true,
        true,
    ),
    (
        "GET git.test/owner/name.git/info/refs?service=git-upload-pack",
        true,
        true,
    ),
    ("POST git.test/owner/name.git/git-upload-pack", true, true),
    (
        "GET git.test/owner/name.git/info/refs?service=git-receive-pack",
        false,
        true,
    ),
    ("POST git.test/owner/name.git/git-receive-pack", false, true),
    ("POST git.test/owner/name/git-receive-pack", false, true),
    ("GET git.test/owner/name/info/refs", false, false),
    (
        "GET git.test/owner/name/info/refs?service=git-upload-pack&service=git-receive-pack",
        false,
        false,
    ),
    (
        "GET git.test/owner/name/info/refs?service=git-upload%2Dpack",
        false,
        false,
    ),
    (
        "POST git.test/owner/name/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    ("GET git.test/owner/name/git-upload-pack", false, false),
    (
        "GET git.test/owner/other/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    (
        "GET git.test/owner/name2/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    (
        "GET git.test/owner/name.git.git/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    (
        "GET git.test/owner/name/../other/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    (
        "GET git.test/owner%2Fname/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    (
        "GET git.test/x/owner/name/info/refs?service=git-upload-pack",
        false,
        false,
    ),
    ("POST git.test/api/v1/gists", false, false),
    ("GET git.test/owner/name/archive/main.tar.gz", false, false),
];

#[test]
fn git_reaches_one_repository_and_nothing_else() {
    let egress = egress(GIT);
    let fetch = egress_without_push();
    for &(asked, reads, writes) in GIT_REQUESTS {
        assert_eq!(
            ask(&fetch, asked).is_ok(),
            reads,
            "{asked} where nothing is pushed"
        );
        assert_eq!(
            ask(&egress, asked).is_ok(),
            writes,
            "{asked} where branches are pushed"
        );
    }
    let denied = ask(&fetch, "POST git.test/owner/name/git-receive-pack").unwrap_err();
    assert_eq!(
        denied.reason,
        "git may only fetch from `owner/name`: its rule allows no push"
    );
}

fn egress_without_push() -> Egress {
    egress("[{ host: git.test, port: 443, git: { repo: owner/name } }]")
}

#[test]
fn a_push_updates_the_named_branches_alone() {
    let egress = egress(GIT);
    let push = ask(&egress, "POST git.test/owner/name.git/git-receive-pack").unwrap();
    assert!(push.is_push());
    let admits = |name: &str| push.admit_push(&[name.to_owned()]);
    assert_eq!(admits("refs/heads/loki/a"), Ok(()));
    assert_eq!(push.admit_push(&[]), Ok(()), "git's probe");
    let denied = admits("refs/heads/main").unwrap_err().to_string();
    insta::assert_snapshot!(denied, @"access to `push to /owner/name.git/git-receive-pack` is denied: `refs/heads/main` may not be updated, only the branches `loki/*` (rule git.test:443 (x.yaml:5))");
    assert!(admits("refs/tags/loki/a").is_err());
    for asked in [
        "GET git.test/owner/name.git/info/refs?service=git-receive-pack",
        "POST git.test/owner/name.git/git-upload-pack",
    ] {
        let other = ask(&egress, asked).unwrap();
        assert!(
            !other.is_push() && other.admit_push(&[]).is_err(),
            "{asked}"
        );
    }
}

#[test]
fn a_registry_is_the_hosts_that_this_machine_says() {
    let egress = egress("[{ registry: npm, min_age: 3d, deny: [left-pad] }, { registry: debian }]");
    let hosts: Vec<String> = egress
        .rules
        .iter()
        .map(|rule| rule.host.to_string())
        .collect();
    assert_eq!(hosts, ["npm.test", "deb.test", "sec.test"]);
    for (asked, allowed) in [
        ("GET npm.test/mirror/left-pad", true),
        ("HEAD npm.test/mirror/left-pad", true),
        ("GET npm.test/mirror/@scope%2fname", true),
        ("GET npm.test/mirror/@scope%2Fname/latest", true),
        ("GET npm.test/mirror/@scope/name/-/name-1.0.0.tgz", true),
        ("GET npm.test/other/left-pad", false),
        ("GET npm.test/mirror/@scope%2f..", false),
        ("GET npm.test/mirror/../x", false),
        ("PUT npm.test/mirror/left-pad", false),
        (
            "POST npm.test/mirror/-/npm/v1/security/advisories/bulk",
            false,
        ),
    ] {
        assert_eq!(ask(&egress, asked).is_ok(), allowed, "{asked}");
    }
    let permit = ask(&egress, "GET npm.test/mirror/left-pad").unwrap();
    let registry = permit.registry().unwrap();
    assert_eq!(registry.min_age, Some(Duration::from_secs(3 * 86_400)));
    assert_eq!(registry.deny, ["left-pad"]);
    let faults = checked("[{ registry: crates }]").unwrap_err();
    assert!(
        faults.contains("does not say which hosts `crates` is"),
        "{faults}"
    );
}

/// Long rules of every kind, each of which must come back as it is written out.
const RULES: [&str; 13] = [
    "\"api.test:443\"",
    "{ host: api.test, port: 8443, protocol: tls, methods: [GET, HEAD] }",
    "{ host: api.test, port: 443, paths: [\"/v1/**\", \"/@*%2F*\"] }",
    "{ host: api.test, port: 443, methods: [GET], paths: [\"/v1/*\"], cache: 24h }",
    "{ host: api.test, port: 443, websocket: true, max_request_bytes: 1KiB }",
    "{ host: api.test, port: 443, websocket: false }",
    "{ host: api.test, port: 443, credential: { secret: API_KEY, bearer: true } }",
    "{ host: api.test, port: 443, credential: { secret: API_KEY, header: x-api-key } }",
    "{ host: api.test, port: 443, credential: { secret: API_KEY, basic: \"a\\\"b\" } }",
    "{ host: api.test, port: 443, credential: { command: [\"/opt/my token\", \"--for\", \"a\\\"b\"], name: API, bearer: true } }",
    "{ host: api.test, port: 443, git: { repo: o/n, push: false } }",
    "{ host: api.test, port: 443, git: { repo: o/n, push: [main, \"loki/*\"] } }",
    "{ registry: npm, min_age: 3d, allow: [curl, \"lib*\"], deny: [nc], advisories: true, accept: [CVE-2024-1] }",
];

#[test]
fn what_is_written_out_is_read_back_the_same() {
    for rule in RULES {
        let first = egress(&format!("[{rule}]"));
        let again = egress(&format!("[{}]", written::rules(&first.rules).join(", ")));
        assert_eq!(again, first, "{rule}");
    }
}

#[test]
fn a_rule_covers_another_only_by_proof() {
    let rule = |text: &str| egress(&format!("[{text}]")).rules.remove(0);
    let with = |more: &str| rule(&format!("{{ host: api.test, port: 443, {more} }}"));
    let plain = rule("\"api.test:443\"");
    for (mine, other, covers) in [
        (&plain, &with("methods: [GET]"), true),
        (&with("methods: [GET]"), &plain, false),
        (
            &with("methods: [GET, POST]"),
            &with("methods: [POST]"),
            true,
        ),
        (
            &with("methods: [GET]"),
            &with("methods: [GET, POST]"),
            false,
        ),
        (
            &with("paths: [\"/v1/**\"]"),
            &with("paths: [/v1/a, \"/v1/b/*\"]"),
            true,
        ),
        (
            &with("paths: [\"/v1/*\"]"),
            &with("paths: [\"/v1/**\"]"),
            false,
        ),
        (&with("paths: [\"/v1/**\"]"), &with("methods: [GET]"), false),
        (&with("websocket: false"), &with("websocket: true"), false),
        (&with("websocket: false"), &plain, false),
        (
            &with("max_request_bytes: 1KiB"),
            &with("max_request_bytes: 1MiB"),
            false,
        ),
        (
            &with("max_request_bytes: 1MiB"),
            &with("max_request_bytes: 1KiB"),
            true,
        ),
        (
            &plain,
            &with("credential: { secret: API_KEY, bearer: true }"),
            false,
        ),
        (
            &with("credential: { secret: API_KEY, bearer: true }"),
            &with("methods: [GET]"),
            false,
        ),
        (
            &with("credential: { secret: API_KEY, bearer: true }"),
            &with("credential: { command: [/bin/a], name: API_KEY, bearer: true }"),
            false,
        ),
        (
            &with("credential: { command: [/bin/a], name: API, bearer: true }"),
            &with("credential: { command: [/bin/a, b], name: API, bearer: true }"),
            false,
        ),
        (&plain, &with("git: { repo: o/n }"), true),
        (
            &with("git: { repo: o/n, push: [a, b] }"),
            &with("git: { repo: o/n, push: [a] }"),
            true,
        ),
        (
            &with("git: { repo: o/n }"),
            &with("git: { repo: o/n, push: [a] }"),
            false,
        ),
        (
            &with("git: { repo: o/n }"),
            &with("git: { repo: o/m }"),
            false,
        ),
        (&with("git: { repo: o/n }"), &with("methods: [GET]"), false),
    ] {
        assert_eq!(
            mine.covers(other),
            covers,
            "{} over {}",
            written::connects(mine),
            written::connects(other)
        );
    }
}

fn patterns() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec!["a", "b", "*", "**", "a*", "*b", "a%2Fb", "a;b"]);
    let last = proptest::bool::ANY;
    (proptest::collection::vec(part, 1..4), last).prop_map(|(parts, slash)| {
        let slash = if slash { "/" } else { "" };
        format!("/{}{slash}", parts.join("/"))
    })
}

fn asks() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec!["a", "b", "ab", "a%2Fb", "a;b", "..", "", "%61"]);
    proptest::collection::vec(part, 1..5).prop_map(|parts| format!("/{}", parts.join("/")))
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_said_to_be_covered_is_covered(mine in patterns(), other in patterns(), path in asks()) {
        let rule = |paths: &str| egress(&format!("[{{ host: api.test, port: 443, paths: [\"{paths}\"] }}]"));
        let (mine, other) = (rule(&mine), rule(&other));
        if mine.rules[0].covers(&other.rules[0]) {
            let asked = format!("GET api.test{path}");
            prop_assert!(ask(&other, &asked).is_err() || ask(&mine, &asked).is_ok(), "{asked}");
        }
    }

    /// What people are told is what traffic meets: both ask one function.
    #[test]
    fn explain_says_what_the_gateway_does(
        pattern in patterns(),
        path in asks(),
        method in proptest::sample::select(vec!["GET", "POST", "PUT"]),
        plain in proptest::sample::select(vec![Just("").boxed(), Just(", \"api.test:443\"").boxed()]).prop_flat_map(|text| text),
    ) {
        let rights = rights(&format!("[{{ host: api.test, port: 443, methods: [GET, POST], paths: [\"{pattern}\"] }}{plain}]"));
        let asked = format!("{method} api.test{path}");
        let traffic = ask(&rights.egress, &asked);
        let act: Act = format!("request {method} https://api.test{path}").parse().unwrap();
        let told = rights.judge(&act);
        prop_assert_eq!(told.allowed, traffic.is_ok());
        let rule = traffic.map_or_else(|denied| denied.rule, |permit| Some(permit.rule().to_owned()));
        prop_assert_eq!(told.rule, rule);
    }
}
