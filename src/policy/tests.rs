//! Whole policies: precedence, layers, the shipped files, and the samples under `tests/policies`.

use std::{fs, path::Path, time::Duration};

use super::{
    Egress, Facts, Layer, Policy, Program, Protocol, RegistryHost, RegistryKind, Rights, Source,
    Target, Tier, decide,
};
use crate::diagnostic::Diagnostic;

fn source(layer: Layer, file: &str, text: &str) -> Source {
    Source {
        layer,
        file: file.into(),
        text: text.to_owned(),
    }
}

fn given(text: &str) -> Source {
    source(Layer::Given, "x.yaml", text)
}

fn rights(policy: &Policy, role: &str) -> Rights {
    policy.rights(&role.parse().unwrap()).unwrap()
}

fn built_in_and(sources: &[Source]) -> Result<Policy, Vec<Diagnostic>> {
    let mut all = Policy::builtin_sources();
    all.extend_from_slice(sources);
    Policy::check(&all)
}

fn check(text: &str) -> Policy {
    Policy::check(&[given(text)]).unwrap_or_else(|faults| panic!("{}", shown(&faults)))
}

fn shown(faults: &[Diagnostic]) -> String {
    faults
        .iter()
        .map(Diagnostic::render)
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn written(rights: &Rights) -> Vec<&str> {
    rights
        .files
        .write
        .0
        .iter()
        .map(|glob| glob.text.as_str())
        .collect()
}

#[test]
fn a_role_of_which_nothing_is_said_may_do_nothing() {
    let policy = check("version: 1\nagents: { a: {} }\n");
    let rights = rights(&policy, "a");
    assert!(rights.files.read.0.is_empty() && rights.is_read_only() && rights.programs.is_empty());
    assert_eq!(rights.egress, Egress::default());
    assert_eq!(rights.image, "base");
    let caps = rights.resources;
    assert_eq!(
        (caps.cpus, caps.memory, caps.pids, caps.disk, caps.log),
        (2.0, 2 << 30, 256, 4 << 30, 32 << 20)
    );
    assert_eq!(
        (caps.timeout, caps.idle_timeout),
        (Duration::from_secs(1800), Duration::from_secs(600))
    );
}

#[test]
fn no_source_at_all_has_no_roles() {
    let policy = Policy::check(&[]).unwrap();
    assert_eq!(policy.roles().count(), 0);
    assert!(policy.rights(&"eng-backend".parse().unwrap()).is_none());
}

#[test]
fn the_more_specific_entry_replaces_the_fields_it_names_and_no_others() {
    let policy = check(
        "version: 1\n\
         agents: { eng-a: {}, eng-api-b: {}, ops-c: {} }\n\
         permissions:\n  default: { read: [d], write: [d] }\n  eng-*: { read: [e] }\n  eng-api-*: { read: [f] }\n  eng-a: { write: [] }\n\
         resources:\n  default: { cpus: 1, pids: 100 }\n  eng-*: { cpus: 3 }\n  eng-a: { memory: 1GiB }\n",
    );
    let read = |role| rights(&policy, role).files.read.0[0].text.clone();
    assert_eq!(
        (read("eng-a"), read("eng-api-b"), read("ops-c")),
        ("e".into(), "f".into(), "d".into())
    );
    assert!(rights(&policy, "eng-a").is_read_only());
    assert_eq!(written(&rights(&policy, "eng-api-b")), ["d"]);
    let caps = rights(&policy, "eng-a").resources;
    assert_eq!((caps.cpus, caps.pids, caps.memory), (3.0, 100, 1 << 30));
}

#[test]
fn a_later_layer_overrides_the_same_key_whatever_the_order_of_files() {
    let base = source(
        Layer::BuiltIn,
        "b.yaml",
        "version: 1\nagents: { a: { tier: fast } }\npermissions: { a: { read: [x], write: [x] } }\n",
    );
    let user = source(
        Layer::User,
        "u.yaml",
        "version: 1\npermissions: { a: { write: [y] } }\nhosts: { m.test: \"127.0.0.1:2\" }\n",
    );
    let organisation = source(
        Layer::Organisation,
        "o.yaml",
        "version: 1\npermissions: { a: { write: [z] } }\nhosts: { m.test: \"127.0.0.1:1\" }\n",
    );
    let policy = Policy::check(&[user, organisation, base]).unwrap();
    let rights = rights(&policy, "a");
    assert_eq!(written(&rights), ["y"]);
    assert_eq!(rights.files.read.0[0].text, "x");
    assert_eq!(rights.egress.hosts.len(), 1);
    assert_eq!(rights.egress.hosts[0].to.port(), 2);
    assert_eq!(policy.tier(&rights.role), Some(Tier::Fast));
}

#[test]
fn every_form_of_an_egress_rule_says_the_same() {
    for list in [
        "[api.stripe.com, 443]",
        "[\"api.stripe.com:443\"]",
        "[api.stripe.com:443]",
        "[{ host: api.stripe.com, port: 443 }]",
        "[{ host: API.stripe.com, ports: [443], protocol: tls }]",
    ] {
        let policy = check(&format!(
            "version: 1\nagents: {{ a: {{}} }}\nnetwork_policies: {{ a: {{ egress: {list} }} }}\n"
        ));
        let egress = rights(&policy, "a").egress;
        assert_eq!(egress.rules.len(), 1, "{list}");
        let permit = decide(
            &egress,
            &Target {
                name: "api.stripe.com".parse().unwrap(),
                port: 443,
            },
        )
        .unwrap();
        assert_eq!(
            (permit.rule(), permit.protocol()),
            ("api.stripe.com:443 (x.yaml:3)", Protocol::Tls)
        );
    }
}

#[test]
fn a_port_says_what_is_spoken() {
    let policy = check(
        "version: 1\nagents: { a: {} }\nnetwork_policies:\n  a: { egress: [a.test:443, a.test:80, a.test:22, { host: a.test, port: 8443, protocol: tls }] }\n",
    );
    let ports = super::name_ports(&rights(&policy, "a").egress, &"a.test".parse().unwrap());
    assert_eq!(
        ports,
        [
            (443, Protocol::Tls),
            (80, Protocol::Http),
            (22, Protocol::Tcp),
            (8443, Protocol::Tls)
        ]
    );
}

#[test]
fn the_faults_of_all_files_are_reported_at_once() {
    let faults = Policy::check(&[
        source(
            Layer::User,
            "a.yaml",
            "version: 1\nagents: { a: {} }\npermissions: { a: { raed: [], write: [/etc] } }\n",
        ),
        source(Layer::User, "b.yaml", "version: 1\nkey: 'never closed\n"),
        source(
            Layer::User,
            "c.yaml",
            "version: 2\nresources: { default: { memory: lots } }\n",
        ),
    ])
    .unwrap_err();
    insta::assert_snapshot!(shown(&faults), @r"
    a.yaml:3:21: unknown key `raed`
       |
     3 | permissions: { a: { raed: [], write: [/etc] } }
       |                     ^^^^
      help: did you mean `read`?

    a.yaml:3:39: glob `/etc` is absolute
       |
     3 | permissions: { a: { raed: [], write: [/etc] } }
       |                                       ^^^^
      help: globs are relative to the worktree, such as `src/**`

    b.yaml:3:1: this is not YAML: invalid indentation in multiline quoted scalar
       |
     3 |
       | ^

    c.yaml:1:10: version `2` is not known here
       |
     1 | version: 2
       |          ^
      help: this Loki reads `version: 1`

    c.yaml:2:33: `lots` is not a size from 16MiB to 1024TiB with its unit, such as `512MiB` or `2GiB`
       |
     2 | resources: { default: { memory: lots } }
       |                                 ^^^^
    ");
}

#[test]
fn no_number_of_faults_fills_the_terminal() {
    let text = (0..5000).fold("version: 1\n".to_owned(), |text, n| {
        format!("{text}bad{n}: 1\n")
    });
    assert_eq!(
        Policy::check(&[given(&text)]).unwrap_err().len(),
        super::sheet::Sheet::MOST
    );
}

#[test]
fn pinned_names_are_refused_in_the_shipped_layer() {
    let text = "version: 1\nhosts: { mirror.test: \"127.0.0.1:80\" }\n";
    assert!(Policy::check(&[source(Layer::BuiltIn, "b.yaml", text)]).is_err());
    for layer in [Layer::Organisation, Layer::User, Layer::Given] {
        assert!(Policy::check(&[source(layer, "b.yaml", text)]).is_ok());
    }
}

#[test]
fn the_hash_follows_the_texts_and_not_the_places() {
    let text = "version: 1\nagents: { a: {} }\n";
    let hash = |source: Source| Policy::check(&[source]).unwrap().sha256();
    assert_eq!(
        hash(source(Layer::User, "/a/x.yaml", text)),
        hash(source(Layer::User, "/b/y.yaml", text))
    );
    assert_ne!(hash(given(text)), hash(source(Layer::User, "x.yaml", text)));
    assert_ne!(hash(given(text)), hash(given(&format!("{text}#"))));
    assert_eq!(hash(given(text)).len(), 64);
}

#[test]
fn groups_expand_to_programs_and_each_stands_once() {
    let policy = check(
        "version: 1\nagents: { a: {} }\npermissions: { a: { execute: [\"@git\", git, \"./bin/**\", \"./bin/**\", mytool] } }\n",
    );
    let programs = rights(&policy, "a").programs;
    assert_eq!(
        programs
            .iter()
            .filter(|program| **program == Program::Image("git".to_owned()))
            .count(),
        1
    );
    assert_eq!(
        programs
            .iter()
            .filter(|program| matches!(program, Program::Worktree(_)))
            .count(),
        1
    );
    assert!(programs.contains(&Program::Image("mytool".to_owned())));
}

fn samples(kind: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/policies")
        .join(kind);
    let mut samples: Vec<(String, String)> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    samples.sort();
    samples
}

#[test]
fn every_valid_sample_is_accepted() {
    let samples = samples("valid");
    assert!(samples.len() >= 5, "only {} samples", samples.len());
    for (file, text) in samples {
        let checked = built_in_and(&[source(Layer::Given, &file, &text)]);
        assert!(checked.is_ok(), "{}", shown(&checked.unwrap_err()));
    }
}

/// A sample begins with `# expect: <part of the rendered faults>` lines; `# faults: <n>` says how
/// many faults there are, one if it is left out.
#[test]
fn every_invalid_sample_is_refused_for_the_expected_reason() {
    let samples = samples("invalid");
    assert!(samples.len() >= 60, "only {} samples", samples.len());
    let mut wrong = Vec::new();
    for (file, text) in samples {
        let Err(faults) = built_in_and(&[source(Layer::Given, &file, &text)]) else {
            wrong.push(format!("{file} is accepted"));
            continue;
        };
        let shown = shown(&faults);
        let lines = |head: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix(head).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let expected = lines("# expect: ");
        assert!(!expected.is_empty(), "{file} expects nothing");
        for part in expected {
            if !shown.contains(&part) {
                wrong.push(format!("{file} lacks {part:?}:\n{shown}"));
            }
        }
        let count = lines("# faults: ")
            .first()
            .map_or(1, |count| count.parse().unwrap());
        if faults.len() != count {
            wrong.push(format!(
                "{file} has {} faults, not {count}:\n{shown}",
                faults.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_list_without_end_is_one_fault() {
    let list = vec!["a"; 5000].join(",");
    let text = format!(
        "version: 1\nagents: {{ a: {{}} }}\npermissions: {{ a: {{ execute: [{list}] }} }}\n"
    );
    assert_eq!(Policy::check(&[given(&text)]).unwrap_err().len(), 1);
}

/// Every example of the page is a policy of the layer that its first line names, and its own
/// expectations hold.
#[test]
fn every_example_of_the_page_is_accepted() {
    let page = include_str!("../../docs/policy.md");
    let mirror = RegistryHost {
        host: "mirror.internal".parse().unwrap(),
        port: 443,
        protocol: Protocol::Tls,
        prefix: String::new(),
    };
    let facts = Facts {
        secrets: ["ANTHROPIC_API_KEY", "GIT_TOKEN"].map(str::to_owned).into(),
        registries: [(RegistryKind::Npm, vec![mirror])].into(),
        ..Facts::default()
    };
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        let text = example.split("```").next().unwrap();
        let layer = match text.lines().next().unwrap() {
            first if first.contains("/etc/") => Layer::Organisation,
            first if first.contains("~/.config/") => Layer::User,
            _ => Layer::Given,
        };
        let mut sources = Policy::builtin_sources();
        sources.push(source(layer, "policy.md", text));
        let checked = Policy::check_knowing(&sources, &facts);
        assert!(checked.is_ok(), "{text}\n{}", shown(&checked.unwrap_err()));
    }
}

#[test]
fn the_page_names_every_section_and_every_number_with_its_default() {
    let page = include_str!("../../docs/policy.md");
    for (section, _) in super::fields::Section::ALL {
        assert!(page.contains(&format!("\n## {section}\n")), "{section}");
    }
    for limit in super::limits::Limit::ALL {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", limit.name())));
        let row = row.unwrap_or_else(|| panic!("no row for {}", limit.name()));
        assert!(row.contains(&limit.show(limit.default())), "{row}");
    }
}

#[test]
fn a_role_of_which_nothing_is_said_has_the_documented_rates() {
    let rights = rights(&check("version: 1\nagents: { a: {} }\n"), "a");
    assert_eq!(rights.rates.api_calls_per_minute, Some(60));
    assert_eq!(rights.rates.file_writes_per_minute, Some(600));
    assert_eq!(rights.rates.network_bytes_per_minute, Some(200 << 20));
    assert_eq!(rights.minimum, super::Minimum::default());
    let lifted = check(
        "version: 1\nagents: { a: {} }\nrate_limits: { a: { api_calls_per_minute: none } }\n",
    );
    assert_eq!(
        super::tests::rights(&lifted, "a")
            .rates
            .api_calls_per_minute,
        None
    );
}

proptest::proptest! {
    /// Whatever is spliced into a shipped policy: no panic, and no fault without a place and a picture.
    #[test]
    fn a_spliced_policy_is_accepted_or_explained(at in 0usize..3000, drop in 0usize..40, with in "\\PC{0,12}|[-\\[\\]{}:,*&!|>'\"@\n\t ]{0,12}") {
        let mut sources = Policy::builtin_sources();
        let text: Vec<char> = sources[1].text.chars().collect();
        let (head, tail) = text.split_at(at.min(text.len()));
        sources[1].text = head.iter().copied().chain(with.chars()).chain(tail.iter().skip(drop).copied()).collect();
        for fault in Policy::check(&sources).err().unwrap_or_default() {
            let text = fault.render();
            proptest::prop_assert!(!text.is_empty() && text.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
