//! Programs of the other sides: where they are, how they are run and timed, and what a process of
//! ours has used.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a program and returns what it printed, none when it is missing or fails.
pub(crate) fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

pub(crate) fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("it lies in the target").to_owned()
}

/// Cargo's name of how Loki and this program were built.
pub(crate) fn profile() -> &'static str {
    let folder = Path::new(env!("CARGO_BIN_EXE_loki")).parent();
    match folder.is_some_and(|folder| folder.ends_with("debug")) {
        true => "dev",
        false => "bench",
    }
}

/// Where `scripts/bench-tools.sh` lays out what is not installed.
pub(crate) fn laid_out() -> PathBuf {
    target().join("bench-tools")
}

/// Lets every program that is started from here find what was laid out.
pub(crate) fn environment() -> Vec<(&'static str, String)> {
    let root = laid_out().join("root");
    let search = env::var("PATH").unwrap_or_default();
    let inside = |path: &str| root.join(path).display().to_string();
    vec![
        (
            "PATH",
            format!("{search}:{}:{}", inside("usr/bin"), inside("usr/sbin")),
        ),
        ("LD_LIBRARY_PATH", inside("usr/lib/x86_64-linux-gnu")),
    ]
}

/// The package sandbox-runtime.
pub(crate) fn sandbox_runtime() -> PathBuf {
    laid_out().join("npm/node_modules/@anthropic-ai/sandbox-runtime")
}

/// Milliseconds from before a program is started to after it has ended well.
pub(crate) fn timed(command: &mut Command) -> Result<f64, String> {
    let shown = format!("{command:?}");
    let begun = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{shown}: {error}"))?;
    let took = millis(begun.elapsed());
    if output.status.success() {
        return Ok(took);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let last = told.trim().lines().next_back().unwrap_or_default();
    Err(format!("{shown}: {}: {last}", output.status))
}

pub(crate) fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// A bare fork and exec on the host, to the end of `true`: the floor of every launch.
pub(crate) fn fork_and_exec() -> f64 {
    let mut command = Command::new("/bin/true");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let ended = command.status();
    let took = millis(begun.elapsed());
    assert!(ended.expect("there is a `true`").success());
    took
}

/// Resident memory of a process, in megabytes of 10^6 bytes.
pub(crate) fn resident(id: u32) -> Option<f64> {
    memory(id, "VmRSS:")
}

/// The most that it ever was.
pub(crate) fn peak(id: u32) -> Option<f64> {
    memory(id, "VmHWM:")
}

fn memory(id: u32, key: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Processor time of a process and of those it has waited for, in seconds. The kernel counts it in
/// hundredths.
pub(crate) fn processor(id: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields = fields.split(' ').skip(11).take(4);
    let ticks: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
    let ticks: u64 = ticks?.iter().sum();
    Some(Duration::from_millis(ticks * 10).as_secs_f64())
}
