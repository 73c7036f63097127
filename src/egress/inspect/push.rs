//! Git pushes: which refs one updates is read before any of it is passed on.

use std::{
    pin::Pin,
    task::{Context as Polling, Poll},
};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header,
};

use crate::policy::{PUSH_HEAD_MAX, RequestPermit, git_push};

/// A body of which the first bytes may have been read already.
pub(super) struct Opened {
    first: Option<Bytes>,
    rest: Incoming,
}

impl From<Incoming> for Opened {
    fn from(rest: Incoming) -> Self {
        Self { first: None, rest }
    }
}

/// Reads as much of a push as names its refs, and returns the body with that in front.
///
/// # Errors
///
/// The reason why the push may not be passed on.
pub(super) async fn admit(
    permit: &RequestPermit,
    headers: &HeaderMap,
    mut rest: Incoming,
) -> Result<Opened, String> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err("a push that is compressed once more cannot be read".to_owned());
    }
    let mut first = Vec::new();
    loop {
        let read = git_push(&first).map_err(|error| error.to_string())?;
        if let Some(refs) = read {
            // None is git's probe, whether it may push at all.
            if !refs.is_empty() {
                permit.admit_push(&refs).map_err(|denied| denied.reason)?;
            }
            let first = Some(Bytes::from(first));
            return Ok(Opened { first, rest });
        }
        let Some(Ok(frame)) = rest.frame().await else {
            return Err("the push ended before it named its refs".to_owned());
        };
        first.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if first.len() > PUSH_HEAD_MAX + MARGIN {
            return Err("the push names more refs than are read".to_owned());
        }
    }
}

/// What may stand behind the refs in the last piece read.
const MARGIN: usize = 1 << 20;

impl Body for Opened {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let had = self.first.as_ref().map_or(0, Bytes::len);
        let had = u64::try_from(had).unwrap_or(u64::MAX);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(had));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(had));
        }
        hint
    }
}
