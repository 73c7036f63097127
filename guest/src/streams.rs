//! What a program's standard streams are: three pipes, or one terminal.
//!
//! Both are opened in here, as the program's own user, and the host gets the other ends. Nothing
//! of them passes through PID 1.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{ioctl_tiocsctty, setsid},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::sys;

/// The streams of one program, and what the host serves of them.
#[derive(Debug)]
pub(crate) struct Streams {
    program: Program,
    /// The host's ends: of stdin, stdout and stderr, or of the terminal.
    pub(crate) host: Vec<OwnedFd>,
}

#[derive(Debug)]
enum Program {
    /// Stdin, stdout and stderr.
    Pipes([OwnedFd; 3]),
    Terminal(OwnedFd),
}

/// Opens three pipes.
///
/// # Errors
/// The kernel's, such as too many open files.
pub(crate) fn pipes() -> Result<Streams, Errno> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr)) =
        (pipe()?, pipe()?, pipe()?);
    Ok(Streams {
        program: Program::Pipes([stdin, stdout, stderr]),
        host: vec![to_stdin, from_stdout, from_stderr],
    })
}

/// Opens a terminal of the container's own, of this size. When a window changes, the host sets the
/// new size on the end that it has.
///
/// # Errors
/// The kernel's, such as no `/dev/ptmx` or too many terminals.
pub(crate) fn terminal(rows: u16, columns: u16) -> Result<Streams, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size)?;
    // By descriptor: a path could lead to another terminal by the time it is opened.
    let program = ioctl_tiocgptpeer(&master, flags)?;
    Ok(Streams {
        program: Program::Terminal(program),
        host: vec![master],
    })
}

impl Streams {
    /// Makes these the standard streams of the calling process, which becomes the leader of a
    /// session of its own and, on a terminal, the one that it controls.
    pub(crate) fn adopt(&self) -> Result<(), Errno> {
        setsid()?;
        let ends = match &self.program {
            Program::Pipes([stdin, stdout, stderr]) => [stdin, stdout, stderr],
            Program::Terminal(terminal) => {
                ioctl_tiocsctty(terminal)?;
                [terminal; 3]
            }
        };
        for (number, end) in (0..).zip(ends) {
            sys::duplicate_onto(end.as_fd(), number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::{
        io::{read, write},
        termios::{isatty, tcgetwinsize},
    };

    use super::*;

    #[test]
    fn the_host_gets_the_other_end_of_each_pipe() {
        let streams = pipes().unwrap();
        let Program::Pipes([stdin, stdout, stderr]) = &streams.program else {
            panic!("pipes are pipes")
        };
        for (from, to) in [
            (&streams.host[0], stdin),
            (stdout, &streams.host[1]),
            (stderr, &streams.host[2]),
        ] {
            write(from, b"x").unwrap();
            assert_eq!(read(to, &mut [0; 2]), Ok(1));
        }
    }

    #[test]
    fn the_host_gets_one_descriptor_of_a_terminal_and_sets_its_size_there() {
        let streams = terminal(24, 80).unwrap();
        let Program::Terminal(program) = &streams.program else {
            panic!("a terminal is a terminal")
        };
        assert!(isatty(program) && streams.host.len() == 1);
        let mut size = tcgetwinsize(program).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (24, 80));
        size.ws_col = 33;
        tcsetwinsize(&streams.host[0], size).unwrap();
        assert_eq!(tcgetwinsize(program).unwrap().ws_col, 33);
    }
}
