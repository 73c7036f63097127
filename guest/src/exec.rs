//! Starting a program: pipes, ruleset, fork, confinement, execve, in that order.
//!
//! What may allocate or fail slowly happens before the fork. The child reports the step that failed
//! over a socket that a successful execve closes; there is no way past a step that failed. The
//! listener of a write meter, which the kernel makes in the child, comes the same way.

use std::{
    convert::Infallible,
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

use loki_guest::{Confinement, Exec, Packet, WireError, receive, send};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, write},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{DumpableBehavior, Pid, WaitOptions, chdir, set_dumpable_behavior, waitpid},
    thread::set_no_new_privs,
};

use crate::{rules::Landlock, streams::Streams, sys};

/// Where programs are found when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// When memory runs out, programs go before PID 1 does.
const OOM_SCORE: &[u8] = b"500";
/// The steps of the child; the failing one's place in here travels over the pipe.
const STEPS: [&str; 7] = [
    "stdio", "limits", "cwd", "landlock", "seccomp", "meter", "exec",
];

/// Why a request was not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What failed.
    pub(crate) step: &'static str,
    /// Why.
    pub(crate) errno: Errno,
}

impl Refusal {
    /// Returns what turns an error number into the refusal at this step.
    pub(crate) fn at(step: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self { step, errno }
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process, which leads the group of its number.
    pub(crate) leader: Pid,
    /// The host's ends of its streams.
    pub(crate) host: Vec<OwnedFd>,
    /// Where its meter's notifications come from.
    pub(crate) listener: Option<OwnedFd>,
}

/// Starts a program under its confinement, on streams that `open` makes.
///
/// # Errors
/// The step that failed; then nothing runs.
pub(crate) fn start(
    exec: &Exec,
    open: impl FnOnce() -> Result<Streams, Errno>,
    landlock: &mut Landlock,
) -> Result<Started, Refusal> {
    let plan = Plan::new(exec, landlock)?;
    let streams = open().map_err(Refusal::at("stdio"))?;
    let (reported, report) = reports().map_err(Refusal::at("pipes"))?;
    match sys::fork().map_err(Refusal::at("fork"))? {
        None => {
            let Err((step, errno)) = plan.run(&streams, report.as_fd());
            let [a, b, c, d] = errno.raw_os_error().to_le_bytes();
            let failed = Packet {
                bytes: vec![step, a, b, c, d],
                descriptors: Vec::new(),
            };
            // It has room for two packets, and PID 1 reads it.
            send(report.as_fd(), &failed).ok();
            sys::exit_now(127)
        }
        Some(leader) => {
            drop(report);
            match outcome(reported.as_fd()) {
                Ok(listener) => Ok(Started {
                    leader,
                    host: streams.host,
                    listener,
                }),
                Err(refusal) => {
                    // It has exited or is about to; its end is nobody's business.
                    waitpid(Some(leader), WaitOptions::empty()).ok();
                    Err(refusal)
                }
            }
        }
    }
}

/// Reads the child's reports: its listener, then its failure. The end without a failure means that
/// execve succeeded.
fn outcome(reported: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Refusal> {
    let mut listener = None;
    loop {
        let packet = match receive(reported) {
            Ok(packet) => packet,
            Err(WireError::Closed) => return Ok(listener),
            Err(WireError::Os(errno)) => return Err(Refusal::at("exec")(errno)),
            Err(_) => return Err(Refusal::at("exec")(Errno::IO)),
        };
        let Ok([step, errno @ ..]) = <[u8; 5]>::try_from(packet.bytes) else {
            listener = packet.descriptors.into_iter().next();
            continue;
        };
        return Err(Refusal {
            step: STEPS.get(usize::from(step)).copied().unwrap_or("exec"),
            errno: Errno::from_raw_os_error(i32::from_le_bytes(errno)),
        });
    }
}

/// Everything the child needs, made before the fork.
struct Plan {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    ruleset: Rc<OwnedFd>,
    filters: Vec<sys::Filter>,
    meter: Option<sys::Filter>,
    limits: Vec<(u32, u64)>,
}

impl Plan {
    fn new(exec: &Exec, here: &mut Landlock) -> Result<Self, Refusal> {
        let Confinement {
            paths,
            filters,
            meter,
            limits,
            landlock,
        } = &exec.confinement;
        if filters.is_empty() {
            return Err(Refusal {
                step: "seccomp",
                errno: Errno::INVAL,
            });
        }
        let variables = exec
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        Ok(Self {
            candidates: c_strings(candidates(exec)).map_err(Refusal::at("argv"))?,
            argv: c_strings(exec.argv.iter().cloned()).map_err(Refusal::at("argv"))?,
            env: c_strings(variables).map_err(Refusal::at("env"))?,
            cwd: working_directory(&exec.cwd).map_err(Refusal::at("cwd"))?,
            ruleset: here
                .ruleset(*landlock, paths)
                .map_err(Refusal::at("landlock"))?,
            filters: filters
                .iter()
                .map(|filter| sys::Filter::new(filter))
                .collect(),
            meter: meter.as_deref().map(sys::Filter::new),
            limits: limits.clone(),
        })
    }

    /// Turns the forked child into the program. Returns only the step that failed.
    fn run(&self, streams: &Streams, report: BorrowedFd<'_>) -> Result<Infallible, (u8, Errno)> {
        let step = |step: u8| move |errno| (step, errno);
        streams.adopt().map_err(step(0))?;
        sys::reset_signals().map_err(step(0))?;
        die_before_pid_1();
        for (resource, limit) in &self.limits {
            sys::lower_limit(*resource, *limit).map_err(step(1))?;
        }
        chdir(&self.cwd).map_err(step(2))?;
        set_no_new_privs(true).map_err(step(3))?;
        sys::restrict_self(self.ruleset.as_fd()).map_err(step(3))?;
        for filter in &self.filters {
            filter.install().map_err(step(4))?;
        }
        if let Some(meter) = &self.meter {
            meter
                .install_with_listener()
                .and_then(|listener| pass(report, listener))
                .map_err(step(5))?;
        }
        Err((6, self.execute()))
    }

    /// Tries each place the program could be. A denied one is remembered over a missing one.
    fn execute(&self) -> Errno {
        let mut said = Errno::NOENT;
        for candidate in &self.candidates {
            match sys::execve(candidate, &self.argv, &self.env) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => said = Errno::ACCESS,
                errno => return errno,
            }
        }
        said
    }
}

/// Makes the child the kernel's first choice when memory runs out.
///
/// The file belongs to root as long as the process is not dumpable. Another program of the sandbox
/// cannot reach the child meanwhile: Landlock lets it trace only its own descendants. Failing is no
/// fault of the confinement: if PID 1 goes first, the whole sandbox ends.
fn die_before_pid_1() {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    set_dumpable_behavior(DumpableBehavior::Dumpable)
        .and_then(|()| openat(CWD, "/proc/self/oom_score_adj", flags, Mode::empty()))
        .and_then(|file| write(&file, OOM_SCORE))
        .ok();
}

/// Opens the way of the child's reports: whole packets, with descriptors.
fn reports() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socketpair(family, kind, SocketFlags::CLOEXEC, None)
}

/// Hands the child's listener to PID 1, and the child keeps none: who holds it could let itself by.
fn pass(report: BorrowedFd<'_>, listener: OwnedFd) -> Result<(), Errno> {
    let packet = Packet {
        bytes: vec![0],
        descriptors: vec![listener],
    };
    send(report, &packet).map_err(|error| match error {
        WireError::Os(errno) => errno,
        _ => Errno::IO,
    })
}

/// Returns where the program may be, in the order to try.
fn candidates(exec: &Exec) -> Vec<String> {
    let Some(program) = exec.argv.first().filter(|program| !program.is_empty()) else {
        return Vec::new();
    };
    if program.contains('/') {
        return vec![program.clone()];
    }
    let path = exec.env.iter().rfind(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
    let directories = path.split(':').filter(|directory| !directory.is_empty());
    directories
        .map(|directory| format!("{directory}/{program}"))
        .collect()
}

/// Refuses a directory that could be a leaked descriptor's.
fn working_directory(cwd: &str) -> Result<CString, Errno> {
    let strange = !cwd.starts_with('/') || cwd.split('/').any(|part| part == "..");
    if strange || cwd.split('/').find(|part| !part.is_empty()) == Some("proc") {
        return Err(Errno::INVAL);
    }
    CString::new(cwd).map_err(|_| Errno::INVAL)
}

fn c_strings(words: impl IntoIterator<Item = String>) -> Result<Vec<CString>, Errno> {
    words
        .into_iter()
        .map(|word| CString::new(word).map_err(|_| Errno::INVAL))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::pipes;

    fn none() -> Landlock {
        Landlock::new(0)
    }

    fn exec(program: &str, env: &[(&str, &str)]) -> Exec {
        Exec {
            id: 1,
            argv: vec![program.to_owned()],
            env: env
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            cwd: "/".to_owned(),
            confinement: Confinement {
                filters: vec![vec![ALLOW]],
                landlock: 6,
                ..Confinement::default()
            },
        }
    }

    /// `SECCOMP_RET_ALLOW`, whatever the call.
    const ALLOW: u64 = 0x7fff_0000_0000_0006;

    #[test]
    fn bare_names_are_looked_up_in_the_path_of_the_exec() {
        let found = candidates(&exec("node", &[("PATH", "/a::/b")]));
        assert_eq!(found, ["/a/node", "/b/node"]);
        assert_eq!(candidates(&exec("./run", &[("PATH", "/a")])), ["./run"]);
        assert_eq!(candidates(&exec("sh", &[])).len(), 3);
        assert!(candidates(&exec("", &[])).is_empty());
    }

    #[test]
    fn a_working_directory_is_absolute_and_never_a_descriptor() {
        for bad in [
            "",
            "work",
            "/proc/self/fd/7",
            "//proc/1/cwd",
            "/work/../proc",
            "/a\0b",
        ] {
            assert_eq!(working_directory(bad).unwrap_err(), Errno::INVAL, "{bad}");
        }
        for good in ["/", "/work", "/work/proc"] {
            assert!(working_directory(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn nothing_starts_where_landlock_is_missing() {
        let refusal = start(&exec("/bin/true", &[]), pipes, &mut none()).unwrap_err();
        assert_eq!((refusal.step, refusal.errno), ("landlock", Errno::NOSYS));
    }

    #[test]
    fn nothing_starts_without_a_filter() {
        let mut bare = exec("/bin/true", &[]);
        bare.confinement = Confinement::default();
        assert_eq!(
            start(&bare, pipes, &mut none()).unwrap_err().step,
            "seccomp"
        );
    }

    #[test]
    fn words_with_a_nul_are_refused() {
        assert_eq!(
            start(&exec("a\0b", &[]), pipes, &mut none())
                .unwrap_err()
                .step,
            "argv"
        );
        let refusal = start(&exec("true", &[("A", "x\0y")]), pipes, &mut none()).unwrap_err();
        assert_eq!(refusal.step, "env");
    }
}
