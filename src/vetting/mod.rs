//! Whether a version of a package may come in: what a request asks of a registry, what is known of
//! that version, and what its rule says to it.
//!
//! ```text
//! rule, host, path ── asked ──► Asked: an index, a package's metadata, or one version of it
//! rule + Asked + Database ── judge ──► fine, refused, or: its age has to be learned
//! answer of the registry ── Published::read ──► when each version came out ── judge_age ──► …
//! OSV records ── Record::read ──► Collection ──► Database, one sorted text with a digest
//! ```
//! Nothing here asks a registry or reads a file, and nothing is guessed: a path that is no known
//! form, or that is two of them, is unreadable, and what is unreadable is refused.

mod affected;
mod asked;
mod database;
mod judge;
mod name;
mod osv;
mod published;
mod version;

pub use affected::Gist;
pub use asked::{Asked, Package, Unread, asked, metadata_path};
pub use database::{Collection, Database, Summary, Unusable};
pub use judge::{Refusal, Verdict, is_vetted, judge, judge_age};
pub use osv::{Advisory, Event, FaultyRecord, Range, Record};
pub use published::{Published, Unlearned};
pub use version::Version;

#[cfg(test)]
mod tests;
