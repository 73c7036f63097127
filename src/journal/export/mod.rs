//! Records in the forms that other tools read, one line each.
//!
//! [`Format::Jsonl`] is the journal as it stands, so that what was exported can be verified.
//! [`Format::Ocsf`] and [`Format::Syslog`] say the same in other words, and carry number and hash
//! of each record, so that it can be found again; they cannot be verified by themselves.

mod ocsf;
mod syslog;

use crate::{event::Record, name::RunId};

pub use ocsf::VERSION;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The records as they stand in the journal.
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework, version [`VERSION`].
    Ocsf,
    /// Messages of RFC 5424, the fields of an event in their structured data.
    Syslog,
}

/// Returns one record in a format, with its line break. `line` is the record as it stands in the
/// journal of `run`.
#[must_use]
pub fn line(format: Format, run: &RunId, record: &Record, line: &[u8]) -> Vec<u8> {
    match format {
        Format::Jsonl => line.to_vec(),
        Format::Ocsf => {
            let mut text = ascii(&ocsf::event(run, record).to_string());
            text.push('\n');
            text.into_bytes()
        }
        Format::Syslog => {
            let mut text = syslog::message(run, record);
            text.push('\n');
            text.into_bytes()
        }
    }
}

/// Writes JSON in ASCII alone, so that no reader can take any of it for the end of a line.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
