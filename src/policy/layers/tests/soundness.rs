//! The one promise about a project that nobody trusts, for random policies.

use super::*;

/// Entries of one layer for the roles `a` and `a-b`, from few words, so that they meet.
fn entries() -> impl Strategy<Value = String> {
    let some = |words: &'static [&'static str], often: f64| {
        let list = proptest::sample::subsequence(words.to_vec(), 1..=words.len().min(3));
        proptest::option::weighted(
            often,
            list.prop_map(|words| format!("[{}]", words.join(", "))),
        )
    };
    const GLOBS: &[&str] = &[
        "\"**\"",
        "\"a/**\"",
        "\"a/*\"",
        "\"a/b\"",
        "\"**/b\"",
        "\"{a,b}/**\"",
        "b",
    ];
    const PROGRAMS: &[&str] = &[
        "git",
        "sh",
        "\"@git\"",
        "\"./a/**\"",
        "\"./a/b\"",
        "\"./**\"",
    ];
    const HOSTS: &[&str] = &[
        "\"*.x.test:443\"",
        "\"a.x.test:443\"",
        "{ host: \"*.x.test\", port: 443, protocol: tcp }",
        "{ host: a.x.test, port: 443, protocol: tcp }",
        "\"b.test:80\"",
        "{ host: a.x.test, port: 443, methods: [GET] }",
        "{ host: \"*.x.test\", port: 443, paths: [\"/a/**\"] }",
        "{ host: \"*.x.test\", port: 443, methods: [GET, POST], paths: [\"/a/b\", \"/b/*\"] }",
        "{ host: b.test, port: 80, websocket: true, paths: [\"/**\"] }",
    ];
    let number = proptest::option::of(1u32..4);
    let fields = (
        some(GLOBS, 0.5),
        some(GLOBS, 0.5),
        some(PROGRAMS, 0.5),
        some(HOSTS, 0.5),
        number,
    );
    // Denials are few: most others would close a rule of their own layer, which is a fault.
    let bounds = (
        some(GLOBS, 0.05),
        some(&["git", "\"./a/b\""], 0.1),
        some(&["a.x.test", "\"*:80\""], 0.1),
    );
    let entry = (fields, bounds, proptest::bool::ANY);
    let keys = ["default", "a-*", "a", "a-b"];
    proptest::collection::vec(proptest::option::of(entry), 4).prop_map(move |all| {
        let (mut agents, mut files, mut net, mut caps) =
            (String::new(), String::new(), String::new(), String::new());
        for (key, entry) in keys.iter().zip(all) {
            let Some((
                (read, write, execute, egress, number),
                (no_write, no_run, no_host),
                extends,
            )) = entry
            else {
                continue;
            };
            if extends && *key == "a-b" {
                agents.push_str("  a-b: { extends: a }\n");
            }
            let put = |name: &str, list: Option<String>| {
                list.map_or_else(String::new, |list| format!("{name}: {list}, "))
            };
            files.push_str(&format!(
                "  {key}: {{ {}{}{}deny: {{ {}{} }} }}\n",
                put("read", read),
                put("write", write),
                put("execute", execute),
                put("write", no_write),
                put("execute", no_run)
            ));
            net.push_str(&format!(
                "  {key}: {{ {}{} }}\n",
                put("egress", egress),
                put("deny", no_host)
            ));
            if let Some(number) = number {
                caps.push_str(&format!("  {key}: {{ cpus: {number} }}\n"));
            }
        }
        let section = |name: &str, body: String| {
            if body.is_empty() {
                body
            } else {
                format!("{name}:\n{body}")
            }
        };
        format!(
            "{}{}{}{}",
            section("agents", agents),
            section("permissions", files),
            section("network_policies", net),
            section("resources", caps)
        )
    })
}

fn acts() -> Vec<Act> {
    let mut texts = vec![
        "run git".to_owned(),
        "run sh".to_owned(),
        "run git-shell".to_owned(),
    ];
    for path in ["a/a", "a/b", "a/b/b", "b", "b/b", "c", "c/b"] {
        texts.extend(["read", "write", "run"].map(|verb| format!("{verb} ./{path}")));
    }
    for host in ["a.x.test:443", "b.x.test:443", "b.test:80", "a.b.test:80"] {
        texts.push(format!("connect {host}"));
        let scheme = if host.ends_with("80") {
            "http"
        } else {
            "https"
        };
        for path in ["/", "/a/b", "/b/a", "/a/../b", "/a%2Fb"] {
            texts.extend(
                ["GET", "POST"].map(|method| format!("request {method} {scheme}://{host}{path}")),
            );
        }
    }
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(128))]
    /// The one promise about a project that nobody trusts.
    #[test]
    fn an_untrusted_project_never_gives_more_than_the_layers_below(lower in entries(), upper in entries(), project in entries()) {
        let roles = source(Layer::BuiltIn, "agents: { a: {}, a-b: {} }\n");
        let below = [roles, source(Layer::User, &lower), source(Layer::Given, &upper)];
        let with = [below.as_slice(), &[source(Layer::Project, &project)]].concat();
        // Rules that their own denials close are faults, and then nothing runs at all.
        if let (Ok(below), Ok(with)) = (check(&below, Trust::No), check(&with, Trust::No)) {
            for role in ["a", "a-b"] {
                let (below, with) = (rights(&below, role), rights(&with, role));
                for act in acts() {
                    let (more, less) = (with.judge(&act), below.judge(&act));
                    prop_assert!(!more.allowed || less.allowed, "{role} may {act}: {more:?}, below {less:?}\n{project}");
                }
                prop_assert!(with.resources.cpus <= below.resources.cpus);
                for name in ["a.x.test", "b.x.test"] {
                    let ports = |rights: &Rights| crate::policy::name_ports(&rights.egress, &name.parse().unwrap());
                    for port in ports(&with) {
                        prop_assert!(ports(&below).contains(&port), "{role} speaks {port:?} with {name}\n{project}");
                    }
                }
            }
        }
    }
}
