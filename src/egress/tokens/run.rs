//! Runs the command of a credential on the host: no shell, no input, no terminal to ask at, few
//! variables, and not for long.

use std::{
    ffi::OsString,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};
use zeroize::Zeroizing;

use super::NoToken;
use crate::text;

/// How long a command may take, with all that holds its output.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// The most bytes that it may print.
pub(super) const MOST: usize = 64 << 10;
/// How much of the end of what it says of itself is looked at.
const TAIL: usize = 4096;
/// The most characters of its last line.
const LINE: usize = 200;

/// Returns what a command prints.
pub(super) async fn run(
    command: &[String],
    environment: Vec<(OsString, OsString)>,
) -> Result<Zeroizing<Vec<u8>>, NoToken> {
    let (mut child, group) = start(command, environment)?;
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(NoToken::Unread);
    };
    let ended = async {
        let (printed, said) = futures_util::future::try_join(whole(out), tail(err)).await?;
        let status = child.wait().await.map_err(|_| NoToken::Unread)?;
        Ok((printed, said, status))
    };
    let (printed, said, status) = timeout(LONGEST, ended)
        .await
        .unwrap_or(Err(NoToken::Late))?;
    group.over();
    if status.success() {
        return Ok(printed);
    }
    Err(NoToken::Failed {
        how: how(status),
        line: last_line(&said, &printed),
    })
}

fn start(
    command: &[String],
    environment: Vec<(OsString, OsString)>,
) -> Result<(Child, Group), NoToken> {
    let (program, arguments) = command.split_first().ok_or(NoToken::Unread)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "neither git nor an agent: a program that a person's own policy names"
    )]
    let mut command = Command::new(program);
    let child = command
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| NoToken::Unstarted(cause.kind().to_string()))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    Ok((child, Group(pid.and_then(Pid::from_raw))))
}

/// The processes of a command, which end with this while the first of them was not waited for.
struct Group(Option<Pid>);

impl Group {
    /// The first process was waited for: its number may be another's from now on.
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails only where nothing is left to end.
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

/// Reads all of what is not too long.
async fn whole(from: impl AsyncRead + Unpin) -> Result<Zeroizing<Vec<u8>>, NoToken> {
    // Growing would leave copies behind.
    let mut printed = Zeroizing::new(Vec::with_capacity(MOST + 1));
    let mut from = from.take(u64::try_from(MOST).unwrap_or(u64::MAX) + 1);
    while from
        .read_buf(&mut *printed)
        .await
        .map_err(|_| NoToken::Unread)?
        > 0
    {}
    match printed.len() {
        length if length > MOST => Err(NoToken::Long),
        _ => Ok(printed),
    }
}

/// Reads to the end and returns the last bytes.
async fn tail(mut from: impl AsyncRead + Unpin) -> Result<Zeroizing<Vec<u8>>, NoToken> {
    let mut kept = Zeroizing::new(Vec::with_capacity(2 * TAIL));
    let mut piece = Zeroizing::new([0; TAIL]);
    loop {
        let read = from.read(&mut *piece).await.map_err(|_| NoToken::Unread)?;
        if read == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        let over = kept.len().saturating_sub(TAIL);
        kept.drain(..over);
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// Returns the last line that is not empty, without the words that were printed as output: a script
/// that is being traced repeats them there.
fn last_line(said: &[u8], printed: &[u8]) -> String {
    let (said, printed) = (
        String::from_utf8_lossy(said),
        String::from_utf8_lossy(printed),
    );
    let line = said.lines().rev().find(|line| !line.trim().is_empty());
    let mut line = line.unwrap_or_default().trim().to_owned();
    let parts = printed.split(|c: char| c.is_whitespace() || "\"'{}:,".contains(c));
    for part in parts.filter(|part| part.len() >= 4) {
        line = line.replace(part, "***");
    }
    let line: String = line.chars().take(LINE).collect();
    text::visible(&line)
}
