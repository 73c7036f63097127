//! A program's streams and its end, apart: so that one can be read while the other is awaited.

use tokio::{net::unix::pipe, sync::oneshot};

use super::{Exit, LinkError, Process};

/// The streams of a program.
#[derive(Debug)]
pub struct Streams {
    /// Its standard input; dropped, the program reads its end.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output. Stays open as long as anything that it started holds it.
    pub stdout: pipe::Receiver,
    /// Its standard error.
    pub stderr: pipe::Receiver,
}

/// The end of a program.
#[derive(Debug)]
pub struct Ended(pub(super) oneshot::Receiver<Exit>);

impl Ended {
    /// Waits until the program itself has ended, whatever still holds its pipes.
    ///
    /// # Errors
    /// [`LinkError::Lost`].
    pub async fn wait(self) -> Result<Exit, LinkError> {
        self.0.await.map_err(|_| LinkError::Lost)
    }
}

impl Process {
    /// Parts the streams from the end. For a program whose end was not awaited yet.
    #[must_use]
    pub fn split(self) -> (Streams, Ended) {
        let Self {
            stdin,
            stdout,
            stderr,
            ended,
            ..
        } = self;
        (
            Streams {
                stdin,
                stdout,
                stderr,
            },
            Ended(ended),
        )
    }
}
