//! Names that the gateway decides.

use super::{Sink, World, aimed, closed, confined, on_each, reached, world};

/// Writes a policy that pins `allowed.test` to the sink, with this list of rules.
fn policy(world: &World, sink: &Sink, egress: &str) {
    let port = sink.port;
    let text = format!(
        "version: 1\nhosts: {{ allowed.test: \"127.0.0.1:{port}\" }}\nnetwork_policies: {{ eng-backend: {{ egress: {egress} }} }}\n"
    );
    world.write("p.yaml", text);
}

fn rule(sink: &Sink) -> String {
    format!(
        "[{{ host: allowed.test, port: {}, protocol: http }}]",
        sink.port
    )
}

#[test]
fn attack_n05_a_name_that_can_be_read_two_ways_reaches_nothing() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open();
        policy(&world, &sink, &rule(&sink));
        let probe = aimed(include_str!("probes/n05_names.py"), sink.port);
        let said = confined(&world, &probe, &["--policy", "p.yaml"]);
        // The control is in the same run: the good name works, once.
        closed(said.prints(&["GOOD NAME WORKS"]), "TRIED 40");
        assert_eq!(sink.hits(), 1, "{engine:?}");
    });
}

#[test]
fn attack_n06_an_empty_list_allows_nothing() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open();
        let probe = aimed(include_str!("probes/n06_nothing_listed.py"), sink.port);
        policy(&world, &sink, "[]");
        let sentence =
            "DENIED HTTP/1.1 403 Forbidden {\"denied\":\"denied.test:80\",\"role\":\"eng-backend\"";
        closed(confined(&world, &probe, &["--policy", "p.yaml"]), sentence);
        closed(confined(&world, &probe, &[]), sentence);
        assert_eq!(sink.hits(), 0, "{engine:?}");
        policy(&world, &sink, &rule(&sink));
        let control = confined(&world, &probe, &["--policy", "p.yaml"]).prints(&[sentence]);
        reached(&control, &["allowed.test"]);
        assert_eq!(sink.hits(), 1, "{engine:?}");
    });
}
