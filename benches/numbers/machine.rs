//! Where it ran: what the numbers depend on, read from the machine itself.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::tools::{profile, said};

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches(['\t', ' ', ':']).to_owned())
}

/// Returns the file system that holds a path.
fn file_system(path: &Path) -> String {
    let path = path.display().to_string();
    let told = said("stat", &["--file-system", "--format=%T", &path]);
    told.unwrap_or_else(|| "unknown".to_owned())
}

pub(crate) fn described() -> Value {
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let version = |program: &str, format: &str| {
        said(program, &["version", "--format", format]).unwrap_or_else(|| "missing".to_owned())
    };
    json!({
        "at": jiff::Timestamp::now().round(jiff::Unit::Second).map(|now| now.to_string()).unwrap_or_default(),
        "loki": said("git", &["describe", "--always", "--dirty"]),
        "profile": profile(),
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": kib.map(|kib| format!("{} GiB", (kib + (1 << 19)) >> 20)),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cgroup": if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1 or hybrid" },
        "docker": version("docker", "{{.Server.Version}}"),
        "docker storage": said("docker", &["info", "--format", "{{.Driver}}"]),
        "podman": version("podman", "{{.Client.Version}}"),
        "file system of temporary files": file_system(&std::env::temp_dir()),
        "load at the start": read("/proc/loadavg").trim(),
    })
}
