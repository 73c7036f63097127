//! The probes, in the order of the table, and the threats that none stands for.

use super::{
    probe::{Control, Place, Probe},
    report::Row,
};

/// What probes have in common unless they say otherwise.
const PLAIN: Probe = Probe {
    id: "",
    title: "",
    program: "",
    tools: &[],
    neighbour: None,
    place: Place::Own,
    end: &[],
    hits: 0,
    control: Control::Within,
};

/// A control by an opened container that reaches the same on every engine.
const fn opened(opening: &'static str, reaches: &'static [&'static str]) -> Control {
    Control::Opened {
        opening,
        reaches,
        rootful: &[],
    }
}

/// Every probe.
pub const PROBES: &[Probe] = &[
    Probe {
        id: "N1",
        title: "a program that ignores proxy settings has no route",
        program: include_str!("probes/n01_no_route.py"),
        end: &["CLOSED"],
        control: opened("own('198.51.100.1'); serve(443)", &["198.51.100.1:443"]),
        ..PLAIN
    },
    Probe {
        id: "N2",
        title: "proxy settings and --resolve lead to no other host",
        program: include_str!("probes/n02_proxy_settings.py"),
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
        program: include_str!("probes/n03_plain_http.py"),
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
        program: include_str!("probes/n04_relay.py"),
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
        program: include_str!("probes/n05_names.py"),
        place: Place::Armed,
        end: &["GOOD NAME WORKS", "TRIED 40"],
        hits: 1,
        ..PLAIN
    },
    Probe {
        id: "N6",
        title: "an empty list of hosts allows nothing",
        program: include_str!("probes/n06_nothing_listed.py"),
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
        program: include_str!("probes/n09_tunnel.py"),
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
        program: include_str!("probes/n11_other_resolvers.py"),
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
        program: include_str!("probes/n20_spellings.py"),
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
        program: include_str!("probes/n21_ipv6.py"),
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
        program: include_str!("probes/n22_metadata.py"),
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
        program: include_str!("probes/n23_neighbours.py"),
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
        program: include_str!("probes/n24_agents.py"),
        neighbour: Some(include_str!("probes/n24_neighbour.py")),
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
        program: include_str!("probes/n30_ports.py"),
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
        program: include_str!("probes/n33_families.py"),
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
    Probe {
        id: "K1",
        title: "no socket of an engine is in a sandbox",
        program: include_str!("probes/k01_engine_socket.py"),
        end: &["LOOKED"],
        control: opened(
            "listen('/run/docker.sock'); serve(2375)",
            &[
                "socket /run/docker.sock",
                "connect /run/docker.sock",
                "tcp 2375",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "K2",
        title: "no program can be written over through a process",
        program: include_str!("probes/k02_own_program.py"),
        tools: &["cat"],
        end: &["TRIED"],
        control: opened(
            "plant('/loki/guest', '')",
            &["/proc/1/exe", "write /loki/guest", "ended program"],
        ),
        ..PLAIN
    },
    Probe {
        id: "K3",
        title: "no descriptor of the host is inherited",
        program: include_str!("probes/k03_descriptors.py"),
        end: &["IN /work"],
        control: opened("os.dup2(os.open('/etc', os.O_RDONLY), 9)", &["9 /etc"]),
        ..PLAIN
    },
    Probe {
        id: "K4",
        title: "files of the kernel that concern the machine are hidden",
        program: include_str!("probes/k04_kernel_files.py"),
        end: &["TRIED"],
        control: Control::Opened {
            opening: "",
            reaches: &["read /proc/keys"],
            rootful: &[
                "write /proc/sys/kernel/core_pattern",
                "write /proc/sys/kernel/domainname",
            ],
        },
        ..PLAIN
    },
    Probe {
        id: "K5",
        title: "set-id programs, file capabilities and capabilities give nothing",
        program: include_str!("probes/k05_privileges.py"),
        end: &["LOOKED"],
        control: opened(
            "import shutil\n\
             shutil.copy('/bin/sh', '/tmp/sh'); os.chmod('/tmp/sh', 0o6755)\n\
             shutil.copy('/bin/sh', '/usr/local/capable')\n\
             os.setxattr('/usr/local/capable', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0))",
            &[
                "set-id /tmp/sh",
                "file capability /usr/local/capable",
                "CapEff",
                "CapBnd",
                "new privileges",
                "uid 0",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "K6",
        title: "namespaces and rare system calls are refused",
        program: include_str!("probes/k06_calls.py"),
        end: &["OWN CHILD traced"],
        control: Control::Opened {
            opening: "",
            reaches: &[
                "unshare-user",
                "unshare-net",
                "clone-user",
                "clone3",
                "io_uring_setup",
                "keyctl",
                "process_vm_readv-init",
                "/proc/1/mem",
                "/proc/1/environ",
                "kill init",
            ],
            rootful: &[
                "setns",
                "mount",
                "umount2",
                "pivot_root",
                "open_tree",
                "fsopen",
                "bpf",
                "perf_event_open",
                "userfaultfd",
                "add_key",
                "request_key",
                "open_by_handle_at",
                "quotactl",
                "ptrace-attach-init",
                "process_vm_writev-init",
                "/proc/1/root/etc/passwd",
            ],
        },
        ..PLAIN
    },
    Probe {
        id: "S1",
        title: "no environment but the agent's own is there, and nothing in it came from outside",
        program: include_str!("probes/s01_environment.py"),
        end: &["LOOKED at some"],
        control: opened("", &["own CANARY_KEY", "1 environ", "process CANARY_KEY"]),
        ..PLAIN
    },
    Probe {
        id: "S14",
        title: "policies, journals and keys are not there, and no rule can be changed",
        program: include_str!("probes/s14_own_rules.py"),
        end: &["LOOKED"],
        control: opened(
            "plant('/work/.loki/journal/run.jsonl', ''); plant('/root/.config/loki/journal.key', ''); plant('/etc/loki/policies/own.yaml', '')",
            &[
                "mount / rw",
                "file /work/.loki/journal/run.jsonl",
                "file /root/.config/loki/journal.key",
                "file /etc/loki/policies/own.yaml",
                "write /etc/passwd",
                "write /etc/loki/x",
            ],
        ),
        ..PLAIN
    },
];

/// A threat that no probe stands for: id, what must hold, why not here.
type Absent = (&'static str, &'static str, &'static str);

const TESTED: &str = "needs to change or break this machine: held by Loki's own tests";
const NO_INSPECTION: &str = "this Loki does not look inside TLS, see docs/security.md";
const NO_CREDENTIALS: &str = "this Loki holds no credentials";
const NO_VOLUME: &str = "volume is not limited yet, see docs/security.md";

/// Every threat to a sandbox that no probe stands for.
const ABSENT: &[Absent] = &[
    (
        "N7",
        "the filter survives a reload and a crash",
        "there is no reload: rights are fixed at the start, and a sandbox ends with its orchestrator",
    ),
    ("N8", "without a dependency nothing starts", TESTED),
    (
        "N10",
        "names under an allowed wildcard are no channel",
        NO_VOLUME,
    ),
    ("N12", "the host header must fit the name", NO_INSPECTION),
    (
        "N13",
        "an allowed name is dialled by its own resolution",
        "needs a name on the network: held by Loki's own tests",
    ),
    (
        "N14",
        "a hello is reassembled and then decided",
        "needs a TLS server on the network: held by Loki's own tests",
    ),
    (
        "N15",
        "every request of a connection is decided",
        NO_INSPECTION,
    ),
    ("N16", "requests cannot be smuggled", NO_INSPECTION),
    ("N17", "paths cannot be escaped", NO_INSPECTION),
    (
        "N18",
        "wildcards match what they say",
        "concerns policies, not sandboxes: held by Loki's own tests",
    ),
    (
        "N19",
        "a rule does not open the names below it",
        "concerns policies, not sandboxes: held by Loki's own tests",
    ),
    (
        "N25",
        "the orchestrator's own interfaces are out of reach",
        "this Loki listens nowhere",
    ),
    (
        "N26",
        "no program of the host acts for an agent",
        "this Loki has no such program",
    ),
    (
        "N27",
        "what injects credentials follows the policy",
        NO_CREDENTIALS,
    ),
    (
        "N28",
        "a name cannot be rebound",
        "needs a name on the network: held by Loki's own tests",
    ),
    (
        "N29",
        "a redirect is decided anew",
        "an agent's client follows redirects itself, and each is decided as any other request",
    ),
    (
        "N31",
        "no raw tunnel through an allowed host",
        NO_INSPECTION,
    ),
    ("N32", "long streams are limited", NO_VOLUME),
    (
        "N34",
        "other accounts of an allowed host are denied",
        NO_INSPECTION,
    ),
    (
        "N35",
        "other keys at an allowed host are denied",
        NO_INSPECTION,
    ),
    ("N36", "no credential can be minted inside", NO_CREDENTIALS),
    ("N37", "a slow leak is stopped", NO_VOLUME),
    (
        "G1",
        "nothing planted in a repository runs on the host",
        TESTED,
    ),
    (
        "G7",
        "links out of the tree are not followed",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G8",
        "hard links out of the tree are not shared",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G9",
        "host file operations cannot be raced",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G13",
        "ignored and untracked files are absent",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G14",
        "other branches and objects are absent",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G15",
        "no alternates lead to other objects",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    ("K7", "a fork bomb harms nobody else", TESTED),
    ("K8", "memory is held", TESTED),
    ("K9", "disk is held", TESTED),
    ("K10", "a flood of output harms nobody", TESTED),
    ("K11", "connections and descriptors are held", TESTED),
    (
        "K12",
        "no container outlives its orchestrator for long",
        TESTED,
    ),
    (
        "K13",
        "images are used by digest",
        "concerns starts, not sandboxes: the digest stands in this attestation",
    ),
    (
        "S8",
        "terminal sequences are neutralised",
        "concerns what Loki prints: held by Loki's own tests",
    ),
    (
        "S10",
        "no line in a journal can be forged",
        "concerns the journal: held by Loki's own tests",
    ),
    (
        "S12",
        "names are never commands",
        "concerns Loki's own commands: held by Loki's own tests",
    ),
];

/// Returns the rows that no probe stands for.
#[must_use]
pub fn absent() -> Vec<Row> {
    let row = |&(id, title, why): &Absent| Row::not_applicable(id, title, why);
    ABSENT.iter().map(row).collect()
}

/// The order of a row in the table: letter, then number.
#[must_use]
pub fn order(id: &str) -> (usize, u32) {
    let letter = id.chars().next().and_then(|letter| "NGCKS".find(letter));
    let number = id.get(1..).and_then(|number| number.parse().ok());
    (letter.unwrap_or(usize::MAX), number.unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threat_has_one_row_and_every_probe_a_control() {
        let mut ids: Vec<&str> = PROBES.iter().map(|probe| probe.id).collect();
        ids.extend(ABSENT.iter().map(|(id, ..)| *id));
        let count = ids.len();
        assert!(ids.iter().all(|id| order(id).0 < 5 && order(id).1 < 100));
        ids.sort_by_key(|id| order(id));
        ids.dedup();
        assert_eq!(ids.len(), count, "a threat has two rows");
        let missing = (1..=37).filter(|n| !ids.contains(&&*format!("N{n}")));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<u32>::new());
        for probe in PROBES {
            assert!(
                !probe.end.is_empty() && probe.program.contains("REACHED"),
                "{}",
                probe.id
            );
            match probe.control {
                Control::Opened { reaches, .. } | Control::Granted { reaches } => {
                    assert!(!reaches.is_empty(), "{}", probe.id);
                }
                Control::Within => assert!(probe.end.len() > 1 && probe.hits > 0, "{}", probe.id),
            }
        }
    }
}
