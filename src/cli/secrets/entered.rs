//! A value as it is typed or piped in.

use std::io::{IsTerminal, Read};

use rustix::{
    io::{Errno, read},
    stdio::stdin,
    termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr},
};
use zeroize::Zeroizing;

use crate::cli::{
    exit::{Exit, Fault},
    ui,
};

/// Bytes that are read at most: more than any value may have.
const MOST: usize = 64 * 1024;

/// Reads a value: one line from a terminal, which does not show it, or all of standard input. One
/// line break at the end is not part of it.
pub(super) fn value(name: &str) -> Result<Zeroizing<String>, Fault> {
    let bytes = if std::io::stdin().is_terminal() {
        typed(name)?
    } else {
        piped()?
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        Fault::new(
            Exit::Invalid,
            format!("the value of `{name}` is no UTF-8 text"),
        )
    })?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Zeroizing::new(
        line.strip_suffix('\r').unwrap_or(line).to_owned(),
    ))
}

fn piped() -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    let read = std::io::stdin().take(MOST as u64).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    Ok(bytes)
}

fn unreadable(cause: impl std::fmt::Display) -> Fault {
    Fault::new(
        Exit::Failed,
        format!("the value could not be read: {cause}"),
    )
}

/// Reads keys up to the end of a line. Ctrl-C is a key here, so that the terminal is put back.
fn typed(name: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    ui::prompt(&format!("Value of {name} (not shown): "));
    let silent = Silent::enter().map_err(unreadable)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    let mut key = Zeroizing::new([0]);
    let ended = loop {
        match read(stdin(), &mut *key) {
            Ok(0) | Err(_) => break Err(unreadable("the terminal is gone")),
            Ok(_) => {}
        }
        match key[0] {
            b'\r' | b'\n' => break Ok(bytes),
            3 | 4 => break Err(Fault::new(Exit::Failed, "nothing was set")),
            8 | 127 => drop(bytes.pop()),
            _ if bytes.len() == MOST => break Err(unreadable("it is too long")),
            byte => bytes.push(byte),
        }
    };
    drop(silent);
    ui::note("");
    ended
}

/// The terminal without echo; dropping it puts its modes back.
struct Silent(Termios);

impl Silent {
    fn enter() -> Result<Self, Errno> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // What is left of a pasted text must not reach the shell; a terminal that is gone needs
        // nothing.
        tcflush(stdin(), QueueSelector::IFlush).ok();
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}
