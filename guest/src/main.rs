//! PID 1 of a sandbox: opens the one link to the host, starts programs under confinement, reaps.
//!
//! It parses nothing but the link, copies no bytes of any program, and has one thread. It refuses
//! to be anything but PID 1, because the end of the link makes it kill every process it can see.
//!
//! ```text
//!            ┌── request ──► exec: ruleset, streams, fork, confine, execve ─► Started + their ends
//! link ──────┤               listen, dns: sockets ────────────────────────► Bound + sockets
//!            └── end ──────► kill everything, exit
//! SIGCHLD ──────────────────► waitpid until nobody is left ───────────────► Exited
//! ```

#![deny(unsafe_code)]

mod exec;
mod rules;
mod serve;
mod sockets;
mod streams;
#[expect(
    unsafe_code,
    reason = "the few system calls without a safe wrapper, each with its proof"
)]
mod sys;

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let said = match (arguments.next(), arguments.next()) {
        (None, None) => start(),
        (Some(flag), None) if flag == "--version" => {
            writeln!(io::stdout(), "loki-guest {}", env!("CARGO_PKG_VERSION"))
        }
        _ => Err(io::Error::other(
            "takes no arguments; Loki starts it as PID 1 of a sandbox",
        )),
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone too there is nobody left to tell.
            writeln!(io::stderr(), "loki-guest: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn start() -> io::Result<()> {
    if !rustix::process::getpid().is_init() {
        return Err(io::Error::other(
            "is not PID 1; Loki starts it inside a sandbox",
        ));
    }
    let served = serve::run();
    sys::kill_everything();
    served
}
