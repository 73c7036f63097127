//! What extensions, of POSIX and of GNU, say of the entry behind them.

use super::fields::{decimal, is_harmless};

const MALFORMED: &str = "an extension is malformed";
const TWICE: &str = "something is said twice of one entry";

/// What was said so far of the next entry.
#[derive(Default)]
pub(super) struct Extended {
    /// Its path.
    pub(super) path: Option<Vec<u8>>,
    /// What it points to.
    pub(super) target: Option<Vec<u8>>,
    /// Its length.
    pub(super) size: Option<u64>,
}

impl Extended {
    /// Returns whether nothing was said.
    pub(super) fn is_none(&self) -> bool {
        self.path.is_none() && self.target.is_none() && self.size.is_none()
    }

    /// Takes an extension of a kind: `L` and `K` of GNU, else one of POSIX. Fails with what is wrong.
    pub(super) fn take(&mut self, kind: u8, bytes: Vec<u8>) -> Result<(), &'static str> {
        match kind {
            b'L' => once(&mut self.path, until_nul(bytes)?),
            b'K' => once(&mut self.target, until_nul(bytes)?),
            _ if self.is_none() => self.records(&bytes),
            _ => Err(TWICE),
        }
    }

    fn records(&mut self, mut rest: &[u8]) -> Result<(), &'static str> {
        while !rest.is_empty() {
            let (key, value, behind) = record(rest).ok_or(MALFORMED)?;
            match key {
                b"path" => once(&mut self.path, value.to_vec())?,
                b"linkpath" => once(&mut self.target, value.to_vec())?,
                b"size" => once(&mut self.size, decimal(value).ok_or(MALFORMED)?)?,
                key if is_harmless(key) => {}
                _ => return Err("an extension is not known"),
            }
            rest = behind;
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TWICE),
    }
}

/// Returns the bytes before the NUL that ends them.
fn until_nul(mut bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    match bytes.pop() {
        Some(0) if !bytes.contains(&0) && !bytes.is_empty() => Ok(bytes),
        _ => Err("a long name does not end where it should"),
    }
}

/// Parts `LENGTH KEY=VALUE\n` from what stands behind it; none where it is something else.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    // A path that is not UTF-8 is turned into another by some programs.
    let is_plain = !value.contains(&0) && std::str::from_utf8(value).is_ok();
    is_plain.then_some((key, value, &bytes[length..]))
}
