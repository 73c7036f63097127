//! Ways out by the container, the kernel and what lies in reach.

use super::{PLAIN, opened};
use crate::{
    attest::probe::{Control, Place, Probe},
    event::Limit,
};

/// In the order of the table.
pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "G7",
        title: "links out of the tree lead nowhere",
        program: include_str!("../probes/g07_links.py"),
        place: Place::Decoy,
        end: &["FOLLOWED 2"],
        control: opened(
            "decoy()",
            &["/work/listed/absolute", "/work/listed/relative"],
        ),
        ..PLAIN
    },
    Probe {
        id: "G8",
        title: "no file of the tree is a file outside, too",
        program: include_str!("../probes/g08_hard_links.py"),
        place: Place::Decoy,
        end: &["LOOKED at True"],
        control: opened("decoy()", &["/work/listed/hard.txt"]),
        ..PLAIN
    },
    Probe {
        id: "G13",
        title: "ignored, untracked and unlisted files are absent",
        program: include_str!("../probes/g13_files.py"),
        place: Place::Decoy,
        end: &["LISTED listed"],
        control: opened(
            "decoy()",
            &[
                "/work/.env",
                "/work/listed/.env",
                "/work/listed/untracked.txt",
                "/work/unlisted/secret.txt",
                "name /work/.env",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "G14",
        title: "other branches, stashes and remotes are absent",
        program: include_str!("../probes/g14_objects.py"),
        tools: &["git"],
        place: Place::Decoy,
        end: &["LISTED objects"],
        control: opened(
            "decoy()",
            &[
                "refs/heads/other",
                "refs/stash",
                "/work/.git/config",
                "remote origin",
                "object of kind blob",
            ],
        ),
        ..PLAIN
    },
    Probe {
        id: "G15",
        title: "no alternates lead to other objects",
        program: include_str!("../probes/g15_alternates.py"),
        tools: &["git"],
        place: Place::Decoy,
        end: &["COUNTED"],
        control: opened("decoy()", &["alternates", "objects of another repository"]),
        ..PLAIN
    },
    Probe {
        id: "K1",
        title: "no socket of an engine is in a sandbox",
        program: include_str!("../probes/k01_engine_socket.py"),
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
        program: include_str!("../probes/k02_own_program.py"),
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
        program: include_str!("../probes/k03_descriptors.py"),
        end: &["IN /work"],
        control: opened("os.dup2(os.open('/etc', os.O_RDONLY), 9)", &["9 /etc"]),
        ..PLAIN
    },
    Probe {
        id: "K4",
        title: "files of the kernel that concern the machine are hidden",
        program: include_str!("../probes/k04_kernel_files.py"),
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
        program: include_str!("../probes/k05_privileges.py"),
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
        program: include_str!("../probes/k06_calls.py"),
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
        id: "K7",
        title: "processes are held, and who starts more is ended alone",
        program: include_str!("../probes/k07_processes.py"),
        place: Place::Caged(Limit::Processes),
        end: &["STOPPED EAGAIN", "OTHERS LIVE"],
        control: opened("", &["64 processes"]),
        ..PLAIN
    },
    Probe {
        id: "K8",
        title: "memory is held, swap included, and who takes more is ended alone",
        program: include_str!("../probes/k08_memory.py"),
        place: Place::Caged(Limit::Memory),
        end: &["STARTED", "OTHERS LIVE"],
        control: opened("", &["192 MiB"]),
        ..PLAIN
    },
    Probe {
        id: "K9",
        title: "disk is held, and who writes more is ended alone",
        program: include_str!("../probes/k09_disk.py"),
        place: Place::Caged(Limit::Disk),
        end: &["FULL /tmp ENOSPC", "OTHERS LIVE"],
        control: opened("", &["/tmp", "home"]),
        ..PLAIN
    },
    Probe {
        id: "S1",
        title: "no environment but the agent's own is there, and nothing in it came from outside",
        program: include_str!("../probes/s01_environment.py"),
        end: &["LOOKED at some"],
        control: opened("", &["own CANARY_KEY", "1 environ", "process CANARY_KEY"]),
        ..PLAIN
    },
    Probe {
        id: "S14",
        title: "policies, journals and keys are not there, and no rule can be changed",
        program: include_str!("../probes/s14_own_rules.py"),
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
