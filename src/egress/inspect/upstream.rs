//! The server's side: connections that only a permit opens, checked against what this machine
//! trusts.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context as Polling, Poll},
};

use futures_util::future::BoxFuture;
use hyper::{Uri, rt::Executor};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioIo, TokioTimer},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Speaks, body::Passing, push::Opened};
use crate::{
    egress::{connection::reach, context::Context, dial::DialError, piece::Ahead},
    policy::Permit,
};

/// Bytes of an answer that may be on their way before they are read.
const WINDOW: u32 = 1 << 20;

/// Requests to one permitted server. Its connections live no longer than the client's.
pub(super) type Requests = Client<Dialler, Passing<Opened>>;

/// Why a server's certificate cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTrust {
    #[error("the certificates in `{path}`, the `ca` of its host, could not be read: {source}")]
    Unread { path: PathBuf, source: pem::Error },
    #[error("`{path}`, the `ca` of its host, holds no certificate")]
    Empty { path: PathBuf },
    #[error("no certificate can be checked here: {0}")]
    Tls(#[source] rustls::Error),
}

/// Why a permitted server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Trust(#[from] NoTrust),
    #[error("it has no name that a certificate can hold")]
    Name(#[from] InvalidDnsNameError),
    #[error("its TLS failed: {0}")]
    Handshake(#[source] io::Error),
}

/// Adds the certificates of a PEM file to `roots`.
pub(super) fn read_roots(path: &Path, roots: &mut RootCertStore) -> Result<(), NoTrust> {
    let unread = |source| NoTrust::Unread {
        path: path.to_owned(),
        source,
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unread)? {
        roots
            .add(certificate.map_err(unread)?)
            .map_err(NoTrust::Tls)?;
    }
    match roots.is_empty() {
        true => Err(NoTrust::Empty {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Runs what the library wants to run as tasks of the gateway, so that they end with it.
#[derive(Clone)]
pub(super) struct Tasks(pub(super) Arc<Context>);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.run(async move { drop(task.await) });
    }
}

/// Opens connections to the one server that a permit is for.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) context: Arc<Context>,
    pub(super) permit: Arc<Permit>,
    pub(super) speaks: Speaks,
}

/// Makes a client for the server of `permit`.
pub(super) fn requests(context: &Arc<Context>, permit: &Arc<Permit>, speaks: Speaks) -> Requests {
    let dialler = Dialler {
        context: Arc::clone(context),
        permit: Arc::clone(permit),
        speaks,
    };
    Client::builder(Tasks(Arc::clone(context)))
        .pool_timer(TokioTimer::new())
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW * 4)
        .build(dialler)
}

impl Dialler {
    pub(super) async fn dial(self) -> Result<TokioIo<Secured>, Unreached> {
        let limit = self.context.limits.dial;
        let ca = self.permit.ca().map(Path::to_owned);
        let config = self.context.shared.inspection.client(ca, self.speaks)?;
        let name = ServerName::try_from(self.permit.target().name.to_string())?;
        let stream = reach(&self.context, &self.permit).await?;
        let connecting = TlsConnector::from(config).connect(name, Ahead::new(Vec::new(), stream));
        let connected = timeout(limit, connecting).await;
        let stream = connected
            .map_err(io::Error::from)
            .flatten()
            .map_err(Unreached::Handshake)?;
        Ok(TokioIo::new(Secured(stream)))
    }
}

impl tower_service::Service<Uri> for Dialler {
    type Response = TokioIo<Secured>;
    type Error = Unreached;
    type Future = BoxFuture<'static, Result<Self::Response, Unreached>>;

    fn poll_ready(&mut self, _: &mut Polling<'_>) -> Poll<Result<(), Unreached>> {
        Poll::Ready(Ok(()))
    }

    /// Opens a connection to the permit's server, whatever the address says.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

/// A connection to a server, its certificate checked.
#[derive(Debug)]
pub(super) struct Secured(TlsStream<Ahead<TcpStream>>);

impl Connection for Secured {
    fn connected(&self) -> Connected {
        match self.0.get_ref().1.alpn_protocol() {
            Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, to)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
