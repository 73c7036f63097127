//! What a command prints: a token in one line, or JSON with the time that it runs out.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::NoToken;

/// How long a token counts that does not say when it runs out.
pub(super) const BARE: Duration = Duration::from_secs(300);
/// How long before its end a token is used no more, at most; a tenth of its time for short ones.
const MARGIN: Duration = Duration::from_secs(30);
/// What is shorter could not be masked, what is longer fits no request.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=8192;

#[derive(Deserialize)]
struct Written {
    token: String,
    expires: Option<String>,
    expires_in: Option<u64>,
}

/// Returns the token and how long it counts from `now` on.
pub(super) fn read(
    printed: &[u8],
    now: SystemTime,
) -> Result<(Zeroizing<String>, Duration), NoToken> {
    let text = std::str::from_utf8(printed).map_err(|_| NoToken::Unfit("no UTF-8"))?;
    let text = text.trim_ascii();
    let (token, lasts) = match text.starts_with('{') {
        true => written(text, now)?,
        false => (Zeroizing::new(text.to_owned()), None),
    };
    if token.is_empty() {
        return Err(NoToken::Unfit("empty"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "not one token: a line of ASCII without spaces, or JSON with `token`";
        return Err(NoToken::Unfit(why));
    }
    if !LENGTH.contains(&token.len()) {
        return Err(NoToken::Unfit(
            "a token shorter than 8 bytes or longer than 8 KiB",
        ));
    }
    let Some(lasts) = lasts else {
        return Ok((token, BARE));
    };
    if lasts.is_zero() {
        return Err(NoToken::Unfit("a token that ran out before"));
    }
    Ok((token, lasts - MARGIN.min(lasts / 10)))
}

fn written(text: &str, now: SystemTime) -> Result<(Zeroizing<String>, Option<Duration>), NoToken> {
    // What is wrong with it would quote it.
    let read = serde_json::from_str::<Written>(text);
    let read = read.map_err(|_| NoToken::Unfit("not JSON with a text `token`"))?;
    let token = Zeroizing::new(read.token);
    let lasts = match (read.expires, read.expires_in) {
        (None, None) => None,
        (None, Some(seconds)) => Some(Duration::from_secs(seconds)),
        (Some(time), None) => {
            let time = time.parse::<Timestamp>();
            let time = time.map_err(|_| NoToken::Unfit("JSON whose `expires` is no RFC 3339"))?;
            let lasts = SystemTime::from(time).duration_since(now);
            Some(lasts.unwrap_or_default())
        }
        (Some(_), Some(_)) => {
            let why = "JSON with both `expires` and `expires_in`";
            return Err(NoToken::Unfit(why));
        }
    };
    Ok((token, lasts))
}
