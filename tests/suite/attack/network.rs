//! Ways to the network that are not the gateway.

use super::{Sink, aimed, closed, confined, on_each, opened, owning, reached, world};

#[test]
fn attack_n01_a_program_that_ignores_proxies_has_no_route() {
    let probe = include_str!("probes/n01_no_route.py");
    on_each(|engine| {
        let world = world(engine);
        closed(confined(&world, probe, &[]), "CLOSED");
        let control = owning("198.51.100.1:443", probe);
        reached(
            &opened(&world, engine, &control, &[]),
            &["198.51.100.1:443"],
        );
    });
}

#[test]
fn attack_n20_no_spelling_of_an_address_leads_past_names() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open();
        let probe = aimed(include_str!("probes/n20_spellings.py"), sink.port);
        closed(confined(&world, &probe, &[]), "TRIED 25");
        assert_eq!(sink.hits(), 0, "{engine:?}");
        // On the host's own network the same spellings lead to the host's loopback.
        let control = opened(&world, engine, &probe, &["--network=host"]);
        let spellings = [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.1",
            "0.0.0.0",
            "::ffff:7f00:1",
        ];
        reached(&control, &spellings);
        assert!(sink.hits() >= spellings.len(), "{control}");
    });
}

#[test]
fn attack_n20_no_policy_takes_an_address_for_a_name() {
    let world = super::World::new();
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
fn attack_n22_metadata_services_are_out_of_reach() {
    let probe = include_str!("probes/n22_metadata.py");
    on_each(|engine| {
        let world = world(engine);
        closed(
            confined(&world, probe, &[]),
            "CLOSED b'HTTP/1.1 403' metadata.google.internal",
        );
        let addresses = "169.254.169.254:80,169.254.170.2:80,100.100.100.200:80,168.63.129.16:80,fd00:ec2::254:80";
        let named = ["--add-host=metadata.google.internal:169.254.169.254"];
        let control = opened(&world, engine, &owning(addresses, probe), &named);
        let all = [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "metadata.google.internal",
        ];
        reached(&control, &all);
    });
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

#[test]
fn attack_n23_the_host_and_its_networks_cannot_be_reached() {
    on_each(|engine| {
        let world = world(engine);
        let sink = Sink::open();
        let probe = aimed(include_str!("probes/n23_neighbours.py"), sink.port);
        // 53 is the gateway's: the one thing that answers.
        closed(confined(&world, &probe, &[]), "PORTS [53]\n");
        assert_eq!(sink.hits(), 0, "{engine:?}");
        // Only looked at: nothing is sent on a real network.
        let network = if engine == super::Engine::Docker {
            "--network=bridge"
        } else {
            "--network=podman"
        };
        reached(
            &opened(&world, engine, &probe, &[network]),
            &["route eth0", "interface eth0"],
        );
    });
}

#[test]
fn attack_n33_other_socket_families_and_datagrams_lead_nowhere() {
    let probe = include_str!("probes/n33_families.py");
    on_each(|engine| {
        let world = world(engine);
        closed(confined(&world, probe, &[]), "CLOSED udp");
        let control = opened(
            &world,
            engine,
            &owning("198.51.100.1:443,2001:db8::1:443", probe),
            &[],
        );
        let all = [
            "packet",
            "packet-datagram",
            "raw-icmp",
            "raw-tcp",
            "raw-icmp6",
            "vsock",
            "netlink-audit",
            "xdp",
            "udp 198.51.100.1",
            "udp 2001:db8::1",
        ];
        reached(&control, &all);
    });
}
