//! The schema against the reader, key by key, and against every policy of the tree.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::schema;
use crate::policy::{Layer, Policy, Source};

/// Every place where a map with fixed keys may stand: its pointer in the schema, and a policy
/// with `KEY` there.
const PLACES: &[(&str, &str)] = &[
    ("", "KEY: 1"),
    ("/$defs/delivery", "secrets: { default: [{ KEY: 1 }] }"),
    (
        "/properties/agents/additionalProperties",
        "agents: { a: { KEY: 1 } }",
    ),
    (
        "/properties/permissions/additionalProperties",
        "permissions: { default: { KEY: 1 } }",
    ),
    ("/$defs/closed", "permissions: { deny: { KEY: 1 } }"),
    (
        "/properties/network_policies/additionalProperties",
        "network_policies: { default: { KEY: 1 } }",
    ),
    (
        "/$defs/long",
        "network_policies: { default: { egress: [{ host: a.test, port: 80, KEY: 1 }] } }",
    ),
    (
        "/$defs/of_registry",
        "network_policies: { default: { egress: [{ registry: npm, KEY: 1 }] } }",
    ),
    (
        "/$defs/credential",
        "network_policies: { default: { egress: [{ host: a.test, port: 443, credential: { KEY: 1 } }] } }",
    ),
    (
        "/$defs/git",
        "network_policies: { default: { egress: [{ host: a.test, port: 443, git: { KEY: 1 } }] } }",
    ),
    ("/$defs/pinned", "hosts: { a.test: { KEY: 1 } }"),
    (
        "/properties/resources/additionalProperties",
        "resources: { default: { KEY: 1 } }",
    ),
    (
        "/$defs/most_resources",
        "resources: { maximum: { KEY: 1 } }",
    ),
    (
        "/properties/rate_limits/additionalProperties",
        "rate_limits: { default: { KEY: 1 } }",
    ),
    ("/$defs/most_rates", "rate_limits: { maximum: { KEY: 1 } }"),
    (
        "/properties/minimum_isolation/additionalProperties",
        "minimum_isolation: { default: { KEY: 1 } }",
    ),
    (
        "/$defs/closed_requests",
        "network_policies: { deny: [{ host: a.test, methods: [PUT], KEY: 1 }] }",
    ),
    ("/properties/agent_pool", "agent_pool: { KEY: 1 }"),
    ("/properties/rotation", "rotation: { KEY: 1 }"),
    (
        "/properties/expect/items",
        "expect: [{ role: a, deny: \"run sh\", KEY: 1 }]",
    ),
];

/// A key like no other: the reader then lists all it knows.
const STRANGE: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

fn known_by_the_reader(policy: &str) -> BTreeSet<String> {
    let source = Source {
        layer: Layer::Given,
        file: "own.yaml".into(),
        text: format!("version: 1\n{}\n", policy.replace("KEY", STRANGE)),
    };
    let faults = Policy::check(&[source]).unwrap_err();
    let help = faults.iter().find_map(|fault| {
        let help = fault.help.as_deref()?.strip_prefix("known here: ")?;
        fault.message.contains(STRANGE).then_some(help)
    });
    let help = help.unwrap_or_else(|| panic!("no list of keys for {policy}: {faults:?}"));
    help.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_the_reader_knows_is_in_the_schema_and_no_other() {
    let schema = schema();
    for (pointer, policy) in PLACES {
        let object = schema.pointer(pointer).unwrap();
        let keys = object["properties"].as_object().unwrap().keys();
        let keys: BTreeSet<String> = keys.cloned().collect();
        assert_eq!(keys, known_by_the_reader(policy), "at `{pointer}`");
    }
}

/// Collects the pointer of every map with fixed keys.
fn fixed(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    if value.get("additionalProperties") == Some(&Value::Bool(false)) {
        found.insert(at.to_owned());
    }
    for (key, value) in inner(value) {
        fixed(&format!("{at}/{key}"), value, found);
    }
}

fn inner(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// Collects the pointer of everything that takes any value.
fn open(at: &str, value: &Value, found: &mut Vec<String>) {
    if *value == Value::Bool(true) {
        found.push(at.to_owned());
    }
    for (key, value) in inner(value) {
        open(&format!("{at}/{key}"), value, found);
    }
}

#[test]
fn no_field_takes_just_anything() {
    let mut found = Vec::new();
    open("", &schema(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_map_of_the_schema_is_compared() {
    let mut found = BTreeSet::new();
    fixed("", &schema(), &mut found);
    let compared: BTreeSet<String> = PLACES.iter().map(|(at, _)| (*at).to_owned()).collect();
    assert_eq!(found, compared);
}

fn files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path.display().to_string(), text));
        }
    }
    files
}

fn as_json(text: &str) -> Option<Value> {
    serde_yaml::from_str(text).ok()
}

#[test]
fn the_schema_is_one_and_every_shipped_and_valid_policy_fits_it() {
    let schema = schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut seen = 0;
    for (file, text) in files("policies")
        .into_iter()
        .chain(files("tests/policies/valid"))
    {
        let policy = as_json(&text).unwrap_or_else(|| panic!("{file} is no YAML"));
        let faults: Vec<String> = validator
            .iter_errors(&policy)
            .map(|fault| format!("{file}: {fault} at {}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
        seen += 1;
    }
    assert!(seen >= 11, "only {seen} policies");
}

#[test]
fn the_schema_refuses_what_an_editor_can_see() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let refused = [
        "permissions: {}",
        "version: 2",
        "version: 1\npermission: {}",
        "version: 1\npermissions: { eng-qa: { raed: [] } }",
        "version: 1\npermissions: { eng-qa: { read: src } }",
        "version: 1\npermissions: { eng-qa: { read: [\"/etc/**\"] } }",
        "version: 1\npermissions: { eng-qa: { read: [\"a/../b\"] } }",
        "version: 1\npermissions: { eng-qa: { execute: [\"@nosuch\"] } }",
        "version: 1\npermissions: { eng-qa: { execute: [/bin/sh] } }",
        "version: 1\npermissions: { \"Eng QA\": {} }",
        "version: 1\nnetwork_policies: { eng-qa: { egress: [{ host: \"*.com\", port: 443 }] } }",
        "version: 1\nnetwork_policies: { eng-qa: { egress: [{ host: a.test, port: 65536 }] } }",
        "version: 1\nnetwork_policies: { eng-qa: { egress: [{ host: a.test }] } }",
        "version: 1\nnetwork_policies: { eng-qa: { egress: [\"https://a.test\"] } }",
        "version: 1\nresources: { eng-qa: { memory: 2 } }",
        "version: 1\nresources: { eng-qa: { pids: -1 } }",
        "version: 1\nresources: { eng-qa: { timeout: 1h30m } }",
        "version: 1\nhosts: { a.test: here }",
        "version: 1\npermissions: { deny: { reed: [] } }",
        "version: 1\nnetwork_policies: { deny: [\"10.0.0.0/8\"] }",
        "version: 1\nresources: { maximum: { memory: 2 } }",
        "version: 1\nrate_limits: { default: { api_calls_per_minute: 0 } }",
        "version: 1\nresources: { default: { memory: none } }",
        "version: 1\nminimum_isolation: { default: { cgroup: maybe } }",
        "version: 1\nnetwork_policies: { a: { egress: [{ host: a.test, port: 443, credential: { command: /bin/a, name: A, bearer: true } }] } }",
        "version: 1\nnetwork_policies: { a: { egress: [{ host: a.test, port: 443, credential: { command: [], name: A, bearer: true } }] } }",
        "version: 1\nnetwork_policies: { a: { egress: [{ host: a.test, port: 443, credential: { command: [a], name: A, bearer: true } }] } }",
        "version: 1\nnetwork_policies: { a: { egress: [{ host: a.test, port: 443, credential: { command: [/bin/a], bearer: true } }] } }",
        "version: 1\nnetwork_policies: { a: { egress: [{ host: a.test, port: 443, credential: { secret: B, command: [/bin/a], name: A, bearer: true } }] } }",
        "version: 1\nsecrets: { eng-qa: [lower] }",
        "version: 1\nsecrets: { eng-qa: [{ name: KEY }] }",
        "version: 1\nsecrets: { eng-qa: [{ name: KEY, deliver: argv }] }",
        "version: 1\nagent_pool: { min_idle: -1 }",
        "version: 1\nrotation: { interval: 7w }",
        "version: 1\nexpect: [{ role: eng-qa }]",
        "version: 1\nexpect: [{ role: eng-qa, deny: \"fly away\" }]",
    ];
    for text in refused {
        let policy = as_json(text).unwrap_or_else(|| panic!("no YAML: {text}"));
        assert!(!validator.is_valid(&policy), "accepted: {text}");
    }
}
