//! One child: fed, read and ended in time.

use std::{
    io::{Read, Write},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use super::super::{GitError, error::At};

/// How much of a command's stdout is read.
pub(super) const FLOOD: usize = 128 << 20;
/// How much of a command's stderr is kept for the error.
const COMPLAINT: usize = 2000;

/// How a child ended and what was made of what it wrote.
pub(super) struct Ended<T> {
    pub(super) status: ExitStatus,
    pub(super) stdout: T,
    /// The beginning, control characters escaped.
    pub(super) stderr: String,
}

/// Feeds a child and has it read until it ends, or ends it; also when the reader gives up, by
/// returning none.
pub(super) fn attend<T: Send>(
    child: &mut Child,
    input: &[u8],
    limit: Duration,
    read: impl FnOnce(&mut ChildStdout) -> Option<T> + Send,
) -> Result<Attended<T>, GitError> {
    let group = Group(Pid::from_child(child));
    let (mut stdin, stdout, stderr) = pipes(child);
    thread::scope(|scope| {
        // A child that reads less than it is given is judged by its exit code.
        scope.spawn(move || stdin.write_all(input).ok());
        let complaint = scope.spawn(move || complaint(stderr));
        let answer = scope.spawn(move || {
            let mut stdout = stdout;
            let read = read(&mut stdout);
            if read.is_none() {
                group.kill();
            }
            read
        });
        let in_time = group.ends_within(limit);
        // Also ends what the child may have left running with our pipes in its hands. Until
        // `wait` the id cannot belong to anybody else.
        group.kill();
        let status = child.wait().at("wait for", "git")?;
        let stderr = complaint.join().expect("reading a pipe does not panic");
        let stdout = answer.join().expect("reading a pipe does not panic");
        if !in_time? {
            return Ok(Attended::TooLong);
        }
        let ended = stdout.map(|stdout| Ended {
            status,
            stdout,
            stderr,
        });
        Ok(ended.map_or(Attended::GivenUp, Attended::Ended))
    })
}

/// What became of a child.
pub(super) enum Attended<T> {
    Ended(Ended<T>),
    /// It did not end in time and was killed.
    TooLong,
    /// The reader gave up, and it was killed.
    GivenUp,
}

type Pipes = (ChildStdin, ChildStdout, ChildStderr);

fn pipes(child: &mut Child) -> Pipes {
    let piped = "the child was started with pipes";
    (
        child.stdin.take().expect(piped),
        child.stdout.take().expect(piped),
        child.stderr.take().expect(piped),
    )
}

/// Reads everything, or returns none when there is too much of it.
pub(super) fn whole(pipe: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = pipe.take(FLOOD as u64 + 1).read_to_end(&mut bytes);
    (read.is_ok() && bytes.len() <= FLOOD).then_some(bytes)
}

/// Reads everything and keeps the beginning, control characters escaped.
fn complaint(mut pipe: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let room = COMPLAINT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
    String::from_utf8_lossy(&kept)
        .trim()
        .escape_debug()
        .to_string()
}

/// A child and what it started.
#[derive(Clone, Copy)]
struct Group(Pid);

impl Group {
    /// Ends all of it. One that is already gone is what is wanted.
    fn kill(self) {
        kill_process_group(self.0, Signal::KILL).ok();
    }

    /// Returns whether the child ends in time.
    fn ends_within(self, limit: Duration) -> Result<bool, GitError> {
        let child = pidfd_open(self.0, PidfdFlags::empty()).at("watch", "git")?;
        let limit = Timespec::try_from(limit).expect("the limit is a few minutes");
        loop {
            match poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&limit)) {
                Err(Errno::INTR) => {}
                ended => return ended.map(|count| count > 0).at("watch", "git"),
            }
        }
    }
}
