//! Ways out by the network.

use super::{PLAIN, opened};
use crate::attest::probe::{Control, Place, Probe};

/// In the order of the table.
pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "N1",
        title: "a program that ignores proxy settings has no route",
        program: include_str!("../probes/n01_no_route.py"),
        end: &["CLOSED"],
        control: opened("own('198.51.100.1'); serve(443)", &["198.51.100.1:443"]),
        ..PLAIN
    },
    Probe {
        id: "N2",
        title: "proxy settings and --resolve lead to no other host",
        program: include_str!("../probes/n02_proxy_settings.py"),
        tools: &["curl"],
        place: Place::Armed,
        end: &["TRIED 6"],
        control: opened(
            "own('198.51.100.1'); serve(80, SINK_PORT); name('127.0.0.1', 'allowed.test', 'denied.test')",
            &[
                "NO_PROXY",
                "ALL_PROXY to an address",
                "ALL_PROXY to an allowed name",
                "--connect-to",
                "--resolve",
                "--resolve to loopback",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N3",
        title: "plain HTTP to a denied host is denied in every form",
        program: include_str!("../probes/n03_plain_http.py"),
        end: &[
            "CLOSED GET HTTP/1.1 403",
            "CLOSED CONNECT HTTP/1.1",
            "TRIED 6",
        ],
        control: opened(
            "serve(80); name('127.0.0.1', 'denied.test')",
            &[
                "GET",
                "POST",
                "absolute",
                "without a host",
                "CONNECT",
                "upgrade",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N4",
        title: "a relay inside the sandbox gets no further than its client",
        program: include_str!("../probes/n04_relay.py"),
        end: &["TRIED 3"],
        control: opened(
            "own('198.51.100.1'); serve(80, 443); name('127.0.0.1', 'denied.test')",
            &["denied.test:80", "denied.test:443", "198.51.100.1:80"],
        ),
        ..PLAIN
    },
    Probe {
        id: "N5",
        title: "a name that can be read two ways reaches nothing",
        program: include_str!("../probes/n05_names.py"),
        place: Place::Armed,
        end: &["GOOD NAME WORKS", "TRIED 40"],
        hits: 1,
        ..PLAIN
    },
    Probe {
        id: "N6",
        title: "an empty list of hosts allows nothing",
        program: include_str!("../probes/n06_nothing_listed.py"),
        place: Place::Empty,
        end: &["DENIED HTTP/1.1 403 Forbidden"],
        control: Control::Granted {
            reaches: &["allowed.test"],
        },
        ..PLAIN
    },
    Probe {
        id: "N9",
        title: "no name server is asked for names that carry data",
        program: include_str!("../probes/n09_tunnel.py"),
        place: Place::Armed,
        end: &["TRIED 40"],
        control: opened(
            "own('198.51.100.53', '8.8.8.8'); authority()",
            &[
                "leak.test A by_packet",
                "leak.test TXT by_connection",
                "leak.test NULL by_packet",
                "wild.test MX by_packet",
                "server 198.51.100.53",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N11",
        title: "name servers over HTTPS, TLS and QUIC are out of reach",
        program: include_str!("../probes/n11_other_resolvers.py"),
        place: Place::Empty,
        end: &["TRIED 21"],
        control: opened(
            "own('1.1.1.1', '8.8.8.8', '9.9.9.9'); serve(443, 853); name('1.1.1.1', 'cloudflare-dns.com', 'dns.google', 'dns.quad9.net')",
            &[
                "1.1.1.1 443",
                "1.1.1.1 853",
                "udp 1.1.1.1 853",
                "dns.google 443",
                "cloudflare-dns.com 853",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N20",
        title: "no spelling of an address leads past names",
        program: include_str!("../probes/n20_spellings.py"),
        end: &["TRIED 25"],
        control: opened(
            "own('169.254.169.254'); serve(SINK_PORT)",
            &[
                "127.0.0.1",
                "127.1",
                "2130706433",
                "0x7f.1",
                "0177.1",
                "0.0.0.0",
                "::1",
                "::ffff:7f00:1",
                "169.254.169.254",
                "2852039166",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N21",
        title: "IPv6 has no route, no address and no way to the host",
        program: include_str!("../probes/n21_ipv6.py"),
        end: &["TRIED"],
        control: opened(
            "own('2001:db8::1', 'fd00:ec2::254'); serve(SINK_PORT)",
            &["address 20010db8", "2001:db8::1", "fd00:ec2::254", "::1"],
        ),
        ..PLAIN
    },
    Probe {
        id: "N22",
        title: "metadata services are out of reach",
        program: include_str!("../probes/n22_metadata.py"),
        place: Place::Empty,
        end: &["CLOSED b'HTTP/1.1 403' metadata.google.internal"],
        control: opened(
            "own('169.254.169.254', '169.254.170.2', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254'); serve(80); name('169.254.169.254', 'metadata.google.internal')",
            &[
                "169.254.169.254",
                "169.254.170.2",
                "100.100.100.200",
                "168.63.129.16",
                "fd00:ec2::254",
                "metadata.google.internal",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N23",
        title: "the host and its networks cannot be reached",
        program: include_str!("../probes/n23_neighbours.py"),
        end: &["SCANNED 65535"],
        control: opened(
            "interface(); serve(SINK_PORT); name('127.0.0.1', 'host.docker.internal', 'host.containers.internal')",
            &[
                "route eth0",
                "interface eth0",
                "host.docker.internal",
                "host.containers.internal",
                "port 8088",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N24",
        title: "another agent's sandbox cannot be reached",
        program: include_str!("../probes/n24_agents.py"),
        neighbour: Some(include_str!("../probes/n24_neighbour.py")),
        end: &["TRIED"],
        control: opened(
            "beside(NEIGHBOUR)",
            &[
                "tcp 127.0.0.1",
                "udp 127.0.0.1",
                "abstract",
                "path",
                "process",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N30",
        title: "a host that is allowed on one port is denied on all others",
        program: include_str!("../probes/n30_ports.py"),
        place: Place::Armed,
        end: &["ALLOWED PORT WORKS", "TRIED 14"],
        hits: 1,
        control: opened(
            "serve(22, 25, 80, 110, 443, 465, 587, 2375, 3389, 5432, 6443, 8080, 8443, 9418, SINK_PORT); name('127.0.0.1', 'allowed.test')",
            &[
                "22",
                "25",
                "443",
                "3389",
                "by CONNECT allowed.test:22",
                "by CONNECT allowed.test:65536",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "N33",
        title: "other socket families and datagrams lead nowhere",
        program: include_str!("../probes/n33_families.py"),
        end: &["CLOSED udp"],
        control: Control::Opened {
            opening: "own('198.51.100.1', '2001:db8::1')",
            reaches: &[
                "packet",
                "packet-datagram",
                "raw-icmp",
                "raw-tcp",
                "raw-icmp6",
                "vsock",
                "udp 198.51.100.1",
                "udp 2001:db8::1",
            ],
            rootful: &["netlink-audit", "xdp"],
        },
        ..PLAIN
    },
];
