//! How many decisions a second the gateway's one decision function makes, and how long a path
//! takes at the gate. Prints one JSON object; `make bench-decide` runs it.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{hint::black_box, time::Instant};

use loki::policy::{Layer, Policy, Rights, Source, Target, decide};

/// Rules of the role that is asked about; a provider's host and a few registries are typical.
const RULES: usize = 20;
/// Rounds over all targets.
const ROUNDS: u32 = 400_000;

fn rights() -> Rights {
    let rules: Vec<String> = (0..RULES)
        .map(|n| format!("\"host{n}.example.com:443\""))
        .collect();
    let text = format!(
        "version: 1\nagents: {{ a: {{}} }}\n\
         permissions: {{ a: {{ write: [\"src/**\", \"notes/*.md\", \"**/*.test.ts\", \"lib/{{a,b}}/**\"] }} }}\n\
         network_policies:\n  deny: [\"*.evil.test\"]\n  a: {{ egress: [{}, \"*.example.org:443\"] }}\n",
        rules.join(", ")
    );
    let source = Source {
        layer: Layer::Given,
        file: "bench.yaml".into(),
        text,
    };
    let policy = Policy::check(&[source]).expect("the policy above is valid");
    let role = "a".parse().expect("`a` is a role");
    policy.rights(&role).expect("the policy names it")
}

/// Asks everything `ROUNDS` times and returns answers a second.
fn rate<T>(asked: &[T], ask: impl Fn(&T) -> bool) -> f64 {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for one in asked {
            black_box(ask(black_box(one)));
        }
    }
    f64::from(ROUNDS) * asked.len() as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let rights = rights();
    let target = |(name, port): &(&str, u16)| Target {
        name: name.parse().expect("a name"),
        port: *port,
    };
    let ask = |targets: &[(&str, u16)]| {
        let targets: Vec<Target> = targets.iter().map(target).collect();
        rate(&targets, |target| decide(&rights.egress, target).is_ok())
    };
    let allowed = ask(&[
        ("host0.example.com", 443),
        ("host19.example.com", 443),
        ("a.example.org", 443),
    ]);
    let denied = ask(&[
        ("host0.example.com", 80),
        ("other.test", 443),
        ("x.evil.test", 443),
    ]);
    let matcher = rights.files.write.matcher();
    let paths = ["src/a/b/c.rs", "notes/a.md", "a/b/x.test.ts", "secret/key"];
    let gate = rate(&paths, |path| matcher.matches(path).is_some());
    let told = serde_json::json!({
        "rules": RULES + 1,
        "allowed_per_second": allowed.round(),
        "denied_per_second": denied.round(),
        "paths_per_second": gate.round(),
    });
    println!("{told}");
}
