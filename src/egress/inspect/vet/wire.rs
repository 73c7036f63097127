//! Connections of the gateway's own to a registry.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as Polling, Poll},
};

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::super::{
    Speaks,
    upstream::{Dialler, Secured, Unreached},
};
use crate::{
    egress::{connection::reach, context::Context},
    policy::{Permit, Protocol},
};

/// Opens connections to a host of a registry, as its rule says: with TLS or without.
#[derive(Clone)]
pub(super) struct Reacher {
    pub(super) context: Arc<Context>,
    pub(super) permit: Arc<Permit>,
}

impl Reacher {
    async fn reach(self) -> Result<TokioIo<Wire>, Unreached> {
        if self.permit.protocol() == Protocol::Http {
            let stream = reach(&self.context, &self.permit).await?;
            return Ok(TokioIo::new(Wire::Plain(stream)));
        }
        let dialler = Dialler {
            context: self.context,
            permit: self.permit,
            speaks: Speaks::Both,
        };
        let secured = dialler.dial().await?.into_inner();
        Ok(TokioIo::new(Wire::Secured(Box::new(secured))))
    }
}

impl tower_service::Service<Uri> for Reacher {
    type Response = TokioIo<Wire>;
    type Error = Unreached;
    type Future = BoxFuture<'static, Result<Self::Response, Unreached>>;

    fn poll_ready(&mut self, _: &mut Polling<'_>) -> Poll<Result<(), Unreached>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().reach())
    }
}

/// A connection to a host of a registry.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(_) => Connected::new(),
            Self::Secured(secured) => secured.connected(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Secured(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Polling<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
