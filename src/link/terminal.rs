//! A program on a terminal inside the sandbox, and the host's end of that terminal.
//!
//! The host's end carries what is typed and what is shown, and the size. Which program a Ctrl-C
//! ends, and whether it is shown, is decided by the terminal inside.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use loki_guest::{Confinement, Exec, Request};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{net::unix::pipe, sync::oneshot};

use super::{Ended, Link, LinkError, driver::Waiting, exactly, while_trying};

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The host's end of a terminal inside a sandbox.
#[derive(Debug)]
pub struct Terminal {
    /// What is typed. A pipe by its type only.
    pub typed: pipe::Sender,
    /// What is shown. Reading fails once no program holds the terminal any more.
    pub shown: pipe::Receiver,
    /// The listener of its meter, where one was asked for.
    pub meter: Option<OwnedFd>,
}

impl Terminal {
    fn new(end: OwnedFd, meter: Option<OwnedFd>) -> io::Result<Self> {
        fcntl_setfl(&end, fcntl_getfl(&end)? | OFlags::NONBLOCK)?;
        Ok(Self {
            typed: pipe::Sender::from_owned_fd_unchecked(end.try_clone()?)?,
            shown: pipe::Receiver::from_owned_fd_unchecked(end)?,
            meter,
        })
    }
}

/// Changes the size of a terminal, through either of its ends; the programs in front are told by a
/// signal.
///
/// # Errors
/// The operating system's.
pub fn resize(terminal: &impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

impl Link {
    /// Starts a program like [`Link::exec`], on a terminal of its own.
    ///
    /// # Errors
    /// Those of [`Link::exec`].
    pub async fn exec_on_terminal(
        &self,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        confinement: Confinement,
        size: Size,
    ) -> Result<(Terminal, Ended), LinkError> {
        let id = self.next_id();
        let metered = confinement.meter.is_some();
        let request = Request::Terminal {
            exec: Exec {
                id,
                argv,
                env,
                cwd: "/work".to_owned(),
                confinement,
            },
            rows: size.rows,
            columns: size.columns,
        };
        let (exit, ended) = oneshot::channel();
        let waiting = |answer| Waiting {
            id,
            answer,
            exit: Some(exit),
        };
        let mut passed = self.ask(request, waiting).await?;
        let meter = metered.then(|| passed.pop()).flatten();
        let [end] = exactly(passed)?;
        let terminal =
            Terminal::new(end, meter).map_err(while_trying("use a terminal of the sandbox"))?;
        Ok((terminal, Ended(ended)))
    }
}
