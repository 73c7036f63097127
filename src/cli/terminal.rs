//! Joins the person's terminal to one inside a sandbox.
//!
//! While they are joined, keys go inside as they are typed, Ctrl-C among them. What the program
//! shows is passed on as it is: it may do to the terminal what any program in it may do, and only
//! the modes of the terminal are put back at the end, however the end comes.

use std::{future::pending, io, os::fd::AsFd, time::Duration};

use rustix::{
    stdio::{stdin, stdout},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    link::{Ended, Exit, LinkError, Size, Terminal, resize},
    sandbox::Spoken,
};

use super::{
    adhoc::LAST_WORDS,
    ui::{self, Stream},
};

/// What a terminal has whose size nobody knows.
const USUAL: Size = Size {
    rows: 24,
    columns: 80,
};
/// How long keys may take to show that may begin a secret value.
const ECHO: Duration = Duration::from_millis(30);
/// How many bytes that may begin a secret value are shown then.
const SHOWN: usize = 3;
/// What is typed to say that there is no more: Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Returns the size of the person's terminal, or a usual one.
pub(super) fn size() -> Size {
    let known = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    match known {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Size {
            rows: size.ws_row,
            columns: size.ws_col,
        },
        _ => USUAL,
    }
}

/// Serves the terminal until the program has ended.
pub(super) async fn join(
    terminal: Terminal,
    ended: Ended,
    spoken: &Spoken,
) -> Result<Exit, LinkError> {
    let Terminal { typed, shown, .. } = terminal;
    let window = shown.as_fd().try_clone_to_owned();
    let raw = Raw::enter();
    let feed = async {
        feed(typed).await;
        pending::<()>().await;
    };
    let exit = tokio::select! {
        exit = show(shown, ended, spoken) => exit,
        () = feed => unreachable!("feeding never ends by itself"),
        () = follow_size(window) => unreachable!("windows can change for ever"),
    };
    drop(raw);
    exit
}

/// Passes on what is shown until the program has ended and nothing more comes.
async fn show(mut shown: pipe::Receiver, ended: Ended, spoken: &Spoken) -> Result<Exit, LinkError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut wait = std::pin::pin!(ended.wait());
    let mut exit: Option<(Exit, Instant)> = None;
    let mut mask = ui::mask_of_stream();
    loop {
        let over = exit.map_or_else(Instant::now, |(_, at)| at + LAST_WORDS);
        tokio::select! {
            got = &mut wait, if exit.is_none() => exit = Some((got?, Instant::now())),
            count = shown.read(&mut buffer) => match count {
                Ok(count @ 1..) => {
                    spoken.add(count);
                    ui::relay(&mask.push(buffer.split_at(count).0), Stream::Out).await;
                }
                // Nobody is at the other end any more.
                Ok(0) | Err(_) => break,
            },
            // What a person just typed is shown, though a value may begin with it.
            () = tokio::time::sleep(ECHO), if mask.held() > 0 && mask.held() <= SHOWN => {
                ui::relay(&mask.release(), Stream::Out).await;
            }
            () = tokio::time::sleep_until(over), if exit.is_some() => break,
        }
    }
    ui::relay(&mask.finish(), Stream::Out).await;
    match exit {
        Some((exit, _)) => Ok(exit),
        None => wait.await,
    }
}

async fn feed(mut typed: pipe::Sender) {
    // The program may end before its input does.
    if tokio::io::copy(&mut tokio::io::stdin(), &mut typed)
        .await
        .is_ok()
    {
        typed.write_all(&[END_OF_INPUT]).await.ok();
    }
    // Closing this end would not end anything: the other half holds the terminal too.
}

async fn follow_size(window: io::Result<impl AsFd>) {
    if let (Ok(window), Ok(mut changes)) = (window, signal(SignalKind::window_change())) {
        while changes.recv().await.is_some() {
            // A terminal that has just ended has no size.
            resize(&window, size()).ok();
        }
    }
    pending::<()>().await;
}

/// The person's terminal with its keys passed on as they are; dropping it puts its modes back.
struct Raw(Termios);

impl Raw {
    /// Returns none where standard input is no terminal: then there is nothing to change.
    fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}
