//! What layers do to each other, by example; [`soundness`] has what holds for all of them.

mod soundness;

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::{Strategy, prop_assert, proptest};

use crate::{
    diagnostic::Diagnostic,
    policy::{Act, Facts, Layer, Policy, Program, Rights, Source, Trust},
};

fn source(layer: Layer, text: &str) -> Source {
    Source {
        layer,
        file: format!("{layer:?}.yaml").into(),
        text: format!("version: 1\n{text}"),
    }
}

fn check(sources: &[Source], trust: Trust) -> Result<Policy, Vec<Diagnostic>> {
    let facts = Facts {
        trust,
        ..Facts::default()
    };
    Policy::check_knowing(sources, &facts)
}

#[track_caller]
fn made(sources: &[Source], trust: Trust) -> Policy {
    check(sources, trust).unwrap_or_else(|faults| panic!("{}", shown(&faults)))
}

fn shown(remarks: &[Diagnostic]) -> String {
    let lines: Vec<_> = remarks.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn rights(policy: &Policy, role: &str) -> Rights {
    policy.rights(&role.parse().unwrap()).unwrap()
}

fn may(policy: &Policy, role: &str, act: &str) -> bool {
    rights(policy, role).judge(&act.parse().unwrap()).allowed
}

const LOWER: &str = "agents: { a: { image: base, tier: fast }, b: {} }\n\
    permissions:\n  a: { read: [\"**\"], write: [\"src/**\", \"docs/**\"], execute: [git, sh, \"./target/**\"] }\n\
    network_policies:\n  a: { egress: [\"*.example.com:443\", \"x.test:443\"] }\n\
    resources:\n  a: { memory: 1GiB, timeout: 1h }\n";

#[test]
fn a_denial_above_takes_shipped_rules_and_no_layer_below_gives_them_back() {
    let organisation = "permissions: { deny: { write: [\"docs/**\", \"src/keys/**\"], execute: [git] } }\n\
        network_policies: { deny: [\"*.example.com\"] }\n";
    let sources = [
        source(Layer::BuiltIn, LOWER),
        source(Layer::Organisation, organisation),
    ];
    let policy = made(&sources, Trust::No);
    let a = rights(&policy, "a");
    assert_eq!(a.files.write.0.len(), 1, "the covered glob is gone");
    assert_eq!(a.egress.rules.len(), 1, "the covered rule is gone");
    assert!(!a.programs.contains(&Program::Image("git".to_owned())));
    for (act, allowed) in [
        ("write src/a", true),
        ("write src/keys/a", false),
        ("read src/keys/a", true),
        ("write docs/a", false),
        ("run git", false),
        ("connect a.example.com:443", false),
        ("connect x.test:443", true),
    ] {
        assert_eq!(may(&policy, "a", act), allowed, "{act}");
    }
    let verdict = a.judge(&"write src/keys/a".parse().unwrap());
    assert_eq!(
        verdict.rule.as_deref(),
        Some("deny src/keys/** (Organisation.yaml:2)")
    );
    let user = source(
        Layer::User,
        "permissions: { a: { write: [\"src/keys/a\"] } }\nnetwork_policies: { a: { egress: [\"b.example.com:443\"] } }\n",
    );
    let faults = check(&[sources.as_slice(), &[user]].concat(), Trust::No).unwrap_err();
    insta::assert_snapshot!(shown(&faults), @r"
    User.yaml:2:29: `src/keys/a` can never match
    User.yaml:3:35: `b.example.com:443` can never match
    ");
}

#[test]
fn a_denied_program_directory_takes_every_directory_it_touches() {
    let organisation = "permissions: { deny: { execute: [\"./target/debug/**\"] } }\n";
    let sources = [
        source(Layer::BuiltIn, LOWER),
        source(Layer::Organisation, organisation),
    ];
    let policy = made(&sources, Trust::No);
    assert!(!may(&policy, "a", "run ./target/release/x"));
    assert!(shown(policy.notes()).contains("`./target/**` is not run at all"));
}

#[test]
fn a_maximum_lowers_what_is_above_it_and_refuses_what_is_beside_or_below_it() {
    let organisation = "resources: { maximum: { memory: 512MiB, timeout: 2h } }\nrate_limits: { maximum: { file_writes_per_minute: 100 } }\n";
    let sources = [
        source(Layer::BuiltIn, LOWER),
        source(Layer::Organisation, organisation),
    ];
    let a = rights(&made(&sources, Trust::No), "a");
    assert_eq!(a.resources.memory, 512 << 20);
    assert_eq!(a.resources.timeout, Duration::from_secs(3600));
    assert_eq!(
        a.rates.file_writes_per_minute,
        Some(100),
        "a default is lowered too"
    );
    let memory = &a.origins["memory"];
    assert_eq!((memory.layer, memory.line), (Layer::Organisation, 2));
    assert_eq!(a.origins["timeout"].layer, Layer::BuiltIn);
    for above in ["a: { memory: 1GiB }", "default: { memory: 1GiB }"] {
        let user = source(Layer::User, &format!("resources: {{ {above} }}\n"));
        let both = check(&[sources.as_slice(), &[user]].concat(), Trust::No);
        if above.starts_with('a') {
            let faults = both.unwrap_err();
            assert!(shown(&faults).contains("`memory: 1GiB` is above the maximum"));
        } else {
            // The role `b` takes it, `a` does not: one fault, for the one value.
            assert_eq!(both.unwrap_err().len(), 1);
        }
    }
    let higher = source(Layer::User, "resources: { maximum: { memory: 1TiB } }\n");
    let a = rights(
        &made(&[sources.as_slice(), &[higher]].concat(), Trust::No),
        "a",
    );
    assert_eq!(a.resources.memory, 512 << 20, "no maximum below raises it");
}

#[test]
fn an_untrusted_project_narrows_and_what_widens_waits_for_trust() {
    let project = "permissions:\n  a: { write: [\"src/app/**\", \"**\"], execute: [git, curl], deny: { read: [\"src/keys/**\"] } }\n\
        network_policies: { a: { egress: [\"a.example.com:443\", \"new.test:443\"] } }\n\
        resources: { a: { memory: 8GiB, pids: 10 } }\n\
        minimum_isolation: { a: { landlock: 3 } }\n\
        agents: { a: { image: big, description: Ours. }, c: { extends: a } }\n";
    let sources = [
        source(Layer::BuiltIn, LOWER),
        source(Layer::Project, project),
    ];
    let policy = made(&sources, Trust::No);
    for (act, untrusted, trusted) in [
        ("write src/app/x", true, true),
        ("write docs/x", true, true),
        ("write other/x", false, true),
        ("write src/keys/x", false, false),
        ("read src/keys/x", false, false),
        ("run git", true, true),
        ("run sh", false, false),
        ("run curl", false, true),
        ("connect a.example.com:443", true, true),
        ("connect b.example.com:443", false, false),
        ("connect x.test:443", false, false),
        ("connect new.test:443", false, true),
    ] {
        assert_eq!(may(&policy, "a", act), untrusted, "untrusted: {act}");
        let policy = made(&sources, Trust::Pinned);
        assert_eq!(may(&policy, "a", act), trusted, "trusted: {act}");
    }
    let a = rights(&policy, "a");
    assert_eq!((a.resources.memory, a.resources.pids), (1 << 30, 10));
    assert_eq!((a.image.as_str(), a.minimum.landlock), ("base", 3));
    assert_eq!(a.description, "Ours.");
    assert_eq!(rights(&policy, "c").files.write.0, []);
    insta::assert_snapshot!(shown(policy.notes()), @r"
    Project.yaml:3:30: `write: **` would widen `a` and is ignored: the project is not trusted
    Project.yaml:3:52: `execute: curl` would widen `a` and is ignored: the project is not trusted
    Project.yaml:4:56: `egress: new.test:443` would widen `a` and is ignored: the project is not trusted
    Project.yaml:5:27: `memory: 8GiB` would widen `a` and is ignored: the project is not trusted
    Project.yaml:7:23: `image` would widen `a` and is ignored: the project is not trusted
    Project.yaml:7:64: `extends: a` would widen `c` and is ignored: the project is not trusted
    ");
    let policy = made(&sources, Trust::Pinned);
    assert!(policy.notes().is_empty());
    let a = rights(&policy, "a");
    assert_eq!((a.resources.memory, a.image.as_str()), (8 << 30, "big"));
    assert!(may(&policy, "c", "write other/x"));
    assert_ne!(policy.sha256(), made(&sources, Trust::No).sha256());
}

#[test]
fn a_project_pins_no_names_and_gives_up_no_cgroups() {
    for text in [
        "hosts: { m.test: \"127.0.0.1:80\" }\n",
        "minimum_isolation: { default: { cgroup: none } }\n",
    ] {
        for trust in [Trust::No, Trust::Pinned] {
            assert!(
                check(&[source(Layer::Project, text)], trust).is_err(),
                "{text}"
            );
        }
    }
    let text = "agents: { a: {} }\nminimum_isolation: { default: { cgroup: none } }\n";
    for layer in [Layer::Organisation, Layer::User] {
        assert!(
            !rights(&made(&[source(layer, text)], Trust::No), "a")
                .minimum
                .cgroup
        );
    }
}

#[test]
fn a_projects_own_expectations_are_about_what_its_files_mean() {
    let project =
        "permissions: { a: { execute: [curl] } }\nexpect:\n  - { role: a, allow: run curl }\n";
    let sources = [
        source(Layer::BuiltIn, LOWER),
        source(Layer::Project, project),
    ];
    assert!(!may(&made(&sources, Trust::No), "a", "run curl"));
    let user = source(Layer::User, "expect: [{ role: a, allow: run curl }]\n");
    let faults = check(&[sources.as_slice(), &[user]].concat(), Trust::No).unwrap_err();
    assert_eq!(faults.len(), 1, "{}", shown(&faults));
}

#[test]
fn a_role_that_extends_another_starts_from_all_of_it() {
    let user = "agents: { z-new: { extends: a, description: New. } }\n\
        permissions:\n  z-*: { execute: [sh] }\n  z-new: { write: [docs/a] }\n  a: { deny: { read: [docs/secret] } }\n";
    let sources = [source(Layer::BuiltIn, LOWER), source(Layer::User, user)];
    let new = rights(&made(&sources, Trust::No), "z-new");
    assert_eq!(new.resources.memory, 1 << 30);
    assert_eq!(new.egress.rules.len(), 2);
    assert_eq!(new.programs, [Program::Image("sh".to_owned())]);
    assert!(new.files.write.matches("docs/a").is_some() && new.files.write.0.len() == 1);
    assert!(
        new.files.read.matches("docs/secret").is_none(),
        "denials are inherited"
    );
    assert_eq!(new.origins["write"].line, 5);
    assert_eq!(new.origins["memory"].layer, Layer::BuiltIn);
    assert_eq!(new.program_origins["sh"].line, 4);
}

#[test]
fn a_secret_that_is_kept_may_be_named() {
    let sources = [source(
        Layer::User,
        "agents: { a: {} }\nsecrets: { a: [API_KEY] }\n",
    )];
    let facts = Facts {
        secrets: BTreeSet::from(["API_KEY".to_owned()]),
        ..Facts::default()
    };
    let policy = Policy::check_knowing(&sources, &facts).unwrap();
    assert_eq!(rights(&policy, "a").secrets, ["API_KEY"]);
    let faults = Policy::check(&sources).unwrap_err();
    assert!(shown(&faults).contains("no secret is called `API_KEY`"));
}

#[test]
fn what_nothing_acts_on_yet_is_noted() {
    let policy = made(
        &[source(
            Layer::User,
            "agent_pool: { max_total: 5 }\nrotation: { notify: [email] }\n",
        )],
        Trust::No,
    );
    assert_eq!(policy.agent_pool().max_total, 5);
    assert_eq!(policy.rotation().grace_period, Duration::from_secs(3600));
    insta::assert_snapshot!(shown(policy.notes()), @r"
    User.yaml:3:1: `rotation` is checked, but this version does not act on it yet
    ");
}

/// It runs on the host: what comes with the code may not name one, trusted or not.
#[test]
fn a_command_of_a_credential_stands_in_no_file_that_comes_with_the_code() {
    let text = "agents: { a: {} }\nnetwork_policies:\n  a:\n    egress:\n      \
        - { host: api.test, port: 443, credential: { command: [/bin/token], name: API, bearer: true } }\n";
    for layer in [Layer::Organisation, Layer::User, Layer::Given] {
        let policy = made(&[source(layer, text)], Trust::No);
        let rule = &rights(&policy, "a").egress.rules[0];
        let credential = rule.request.as_ref().unwrap().credential.as_ref().unwrap();
        assert_eq!(
            credential.command.as_deref(),
            Some(&["/bin/token".to_owned()][..])
        );
    }
    for (layer, trust) in [
        (Layer::BuiltIn, Trust::No),
        (Layer::Project, Trust::No),
        (Layer::Project, Trust::Pinned),
    ] {
        let faults = check(&[source(layer, text)], trust).unwrap_err();
        let said = shown(&faults);
        assert!(
            said.contains("`command` may not stand in this layer"),
            "{layer:?}: {said}"
        );
        let help = faults.iter().filter_map(|fault| fault.help.as_deref());
        assert!(
            help.clone()
                .any(|help| help.contains("~/.config/loki/policies"))
        );
    }
}

/// What an untrusted project says of requests counts only where it asks for less, with the same
/// credential: adding one gives more, and leaving one out lets the agent's own pass.
#[test]
fn an_untrusted_project_narrows_requests_and_touches_no_credential() {
    let lower = "agents: { a: {} }\nnetwork_policies:\n  a:\n    egress:\n      \
        - \"open.test:443\"\n      \
        - { host: api.test, port: 443, methods: [GET, POST], paths: [\"/v1/**\"], credential: { secret: KEY, bearer: true } }\n      \
        - { host: api.test, port: 443, methods: [GET], paths: [\"/docs/**\"] }\n";
    let facts = Facts {
        secrets: BTreeSet::from(["KEY".to_owned()]),
        ..Facts::default()
    };
    let says = |egress: &str| {
        let project = format!("network_policies: {{ a: {{ egress: [{egress}] }} }}\n");
        let sources = [source(Layer::User, lower), source(Layer::Project, &project)];
        Policy::check_knowing(&sources, &facts)
            .unwrap_or_else(|faults| panic!("{}", shown(&faults)))
    };
    let kept = |egress: &str| {
        let rules = rights(&says(egress), "a").egress.rules;
        rules
            .iter()
            .map(crate::policy::written::rule)
            .collect::<Vec<_>>()
    };
    let less = "{ host: \"api.test\", port: 443, methods: [\"GET\"], paths: [\"/v1/a\"], credential: { secret: KEY, bearer: true } }";
    // The other rule of that host has no credential, so neither is touched.
    assert!(kept(less).is_empty());
    let asks = "{ host: \"open.test\", port: 443, methods: [\"GET\"] }";
    assert_eq!(kept(asks), [asks]);
    for wider in [
        "{ host: open.test, port: 443, credential: { secret: KEY, bearer: true } }",
        "{ host: api.test, port: 443, methods: [GET], paths: [\"/v1/**\"] }",
        "{ host: api.test, port: 443, methods: [DELETE], paths: [\"/v1/**\"], credential: { secret: KEY, bearer: true } }",
        "{ host: api.test, port: 443, methods: [GET], paths: [\"/docs/**\"] }",
        "\"api.test:443\"",
    ] {
        let policy = says(wider);
        assert!(
            rights(&policy, "a")
                .egress
                .rules
                .iter()
                .all(|rule| rule.host.to_string() != "open.test" || rule.request.is_none())
        );
        assert!(
            policy
                .notes()
                .iter()
                .any(|note| note.message.contains("would widen")),
            "{wider}: {:?}",
            kept(wider)
        );
    }
}
