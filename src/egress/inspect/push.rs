//! Git pushes: which refs one updates is read before any of it is passed on, and git is told in its
//! own words why one was not.

use std::{
    pin::Pin,
    task::{Context as Polling, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    header,
};
use tokio::time::timeout;

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
/// Why the push may not be passed on.
pub(super) async fn admit(
    permit: &RequestPermit,
    headers: &HeaderMap,
    mut rest: Incoming,
) -> Result<Opened, NotPushed> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err("a push that is compressed once more cannot be read".into());
    }
    let mut first = Vec::new();
    loop {
        let read = git_push(&first).map_err(|error| NotPushed::from(error.to_string().as_str()))?;
        if let Some(refs) = read {
            // None is git's probe, whether it may push at all.
            if !refs.is_empty()
                && let Err(denied) = permit.admit_push(&refs)
            {
                return Err(NotPushed {
                    reason: denied.reason,
                    report: Report::to(&first, refs),
                    rest: Some(rest),
                });
            }
            let first = Some(Bytes::from(first));
            return Ok(Opened { first, rest });
        }
        let Some(Ok(frame)) = rest.frame().await else {
            return Err("the push ended before it named its refs".into());
        };
        first.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if first.len() > PUSH_HEAD_MAX + MARGIN {
            return Err("the push names more refs than are read".into());
        }
    }
}

/// A push that is not passed on.
#[derive(Debug)]
pub(super) struct NotPushed {
    pub(super) reason: String,
    /// How git hears of it; none when it is no push that git would send.
    pub(super) report: Option<Report>,
    rest: Option<Incoming>,
}

impl From<&str> for NotPushed {
    fn from(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            report: None,
            rest: None,
        }
    }
}

impl NotPushed {
    /// Reads away what the client still sends, within bounds: it would meet a closed connection,
    /// and git would tell of that instead of the reason.
    pub(super) async fn heard_out(mut self) -> Self {
        if let Some(rest) = &mut self.rest {
            drop(timeout(DRAINING, drain(rest)).await);
        }
        self
    }
}

/// How long, and how much, a refused push is still listened to.
const DRAINING: Duration = Duration::from_secs(30);
const DRAINED: usize = 64 << 20;

async fn drain(rest: &mut Incoming) {
    let mut left = DRAINED;
    while let Some(Ok(frame)) = rest.frame().await {
        let count = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

/// What a server of git answers to a push: for each ref whether it was updated. Any other answer
/// shows as a number only.
#[derive(Debug)]
pub(super) struct Report {
    refs: Vec<String>,
    /// Whether it goes in a band of its own, beside messages.
    banded: bool,
}

impl Report {
    /// The type of such an answer.
    pub(super) const TYPE: &str = "application/x-git-receive-pack-result";

    /// Returns a report on `refs` for a client that can read one.
    fn to(first: &[u8], refs: Vec<String>) -> Option<Self> {
        let abilities = abilities(first)?;
        let can = |word: &str| abilities.split(' ').any(|one| one == word);
        let banded = can("side-band-64k");
        (can("report-status") || can("report-status-v2")).then_some(Self { refs, banded })
    }

    /// Writes that nothing was updated and why; `message` is for who reads along.
    pub(super) fn refusing(&self, reason: &str, message: &str) -> Vec<u8> {
        let mut report = packet(b"unpack ok\n");
        for name in &self.refs {
            report.extend(packet(format!("ng {name} {reason}\n").as_bytes()));
        }
        report.extend(END);
        if !self.banded {
            return report;
        }
        let message = packet(&[b"\x02", message.as_bytes()].concat());
        let parts = report.chunks(BAND).map(|part| [b"\x01", part].concat());
        let report = parts.flat_map(|part| packet(&part));
        message.into_iter().chain(report).chain(*END).collect()
    }
}

/// The packet that ends a list of them.
const END: &[u8; 4] = b"0000";
/// The most of a report in one packet.
const BAND: usize = 60_000;
/// The most that a packet holds behind its length.
const PACKET: usize = 65_516;

fn packet(text: &[u8]) -> Vec<u8> {
    let text = text.get(..PACKET).unwrap_or(text);
    let length = format!("{:04x}", text.len() + 4);
    [length.as_bytes(), text].concat()
}

/// Returns what a client that sent a sound push said it can do.
fn abilities(mut first: &[u8]) -> Option<&str> {
    loop {
        let digits = std::str::from_utf8(first.get(..4)?).ok()?;
        let length = usize::from_str_radix(digits, 16).ok()?;
        let line = first.get(4..length)?;
        if let Some(nul) = line.iter().position(|byte| *byte == 0) {
            return Some(std::str::from_utf8(line.get(nul + 1..)?).ok()?.trim_end());
        }
        first = first.get(length..)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH: &[u8] = b"0035shallow 4efbb2285d73af7030a40001e9d547cc4c993330\n00ac0000000000000000000000000000000000000000 4efbb2285d73af7030a40001e9d547cc4c993330 refs/heads/a\0 report-status-v2 side-band-64k quiet object-format=sha1 agent=git/2.47.30000PACK";

    fn report(push: &[u8]) -> Option<Report> {
        Report::to(push, vec!["refs/heads/a".to_owned()])
    }

    #[test]
    fn a_refusal_is_a_report_in_gits_format_with_its_reason() {
        let told = report(PUSH).unwrap().refusing("not yours", "{}\n");
        let told = String::from_utf8(told).unwrap();
        assert_eq!(
            told,
            "0008\u{2}{}\n0035\u{1}000eunpack ok\n001eng refs/heads/a not yours\n00000000"
        );
        let plain = String::from_utf8(PUSH.to_vec()).unwrap();
        let plain = plain.replace("side-band-64k", "side-band-9999");
        let told = report(plain.replace("00ac", "00ad").as_bytes()).unwrap();
        let told = String::from_utf8(told.refusing("no", "{}")).unwrap();
        assert_eq!(told, "000eunpack ok\n0017ng refs/heads/a no\n0000");
    }

    #[test]
    fn who_reads_no_report_gets_none() {
        let quiet = String::from_utf8(PUSH.to_vec()).unwrap();
        let quiet = quiet.replace("report-status-v2", "report-status-xx");
        assert!(report(quiet.as_bytes()).is_none());
        for cut in 0..PUSH.len() - 8 {
            assert!(report(&PUSH[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_report_on_many_refs_fits_into_packets() {
        let refs = (0..2000)
            .map(|n| format!("refs/heads/branch-{n}"))
            .collect();
        let told = Report { refs, banded: true }.refusing(&"x".repeat(300), &"m".repeat(90_000));
        let mut rest = &told[..];
        let mut packets = 0;
        while !rest.is_empty() {
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..4]).unwrap(), 16);
            let length = length.unwrap().max(4);
            assert!(length <= 65_520);
            rest = &rest[length..];
            packets += 1;
        }
        assert!(packets > 10);
    }
}
