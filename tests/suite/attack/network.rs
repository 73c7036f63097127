//! Policies that would open what no policy may open.

use super::{World, on_each, world};

#[test]
fn attack_n20_no_policy_takes_an_address_for_a_name() {
    let world = World::new();
    let check = |host: &str| {
        let rule = serde_json::to_string(&format!("{host}:443")).unwrap();
        world.write(
            "p.yaml",
            format!("version: 1\nnetwork_policies: {{ eng-backend: {{ egress: [{rule}] }} }}\n"),
        );
        world.loki(&["policy", "check", "p.yaml"])
    };
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "0xa9fea9fe",
    ] {
        drop(check(host).exits(3));
    }
    drop(check("allowed.test").exits(0));
}

#[test]
fn attack_n22_no_policy_opens_a_metadata_service() {
    on_each(|engine| {
        let world = world(engine);
        let run = |policy: &str| {
            world.write("p.yaml", format!("version: 1\n{policy}\n"));
            world.loki(&[
                "sandbox",
                "run",
                "--role",
                "eng-backend",
                "--policy",
                "p.yaml",
                "--",
                "true",
            ])
        };
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            let rule = serde_json::to_string(&format!("{host}:443")).unwrap();
            drop(
                run(&format!(
                    "network_policies: {{ eng-backend: {{ egress: [{rule}] }} }}"
                ))
                .exits(3),
            );
        }
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            drop(run(&format!("hosts: {{ meta.test: \"{address}:80\" }}")).exits(3));
        }
        drop(run("hosts: { meta.test: \"127.0.0.1:80\" }").exits(0));
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}
