//! Where a commit comes from: what its trailers claim, held against the journal they lead to.
//!
//! Anybody can write a trailer. So [`trailers()`] only says which journal to open and where to look,
//! and [`Account::of`] believes what that journal says: it is hash-chained, it names each commit
//! that Loki made, and what it says of another commit is nothing. It refuses to call a commit
//! sound that the journal does not know, whatever the trailers say.

mod account;
mod trailers;

pub use account::{Account, Attempt, Gate, Install, Kind, PERSON, Told};
pub use trailers::{BadTrailers, Trailers, trailers};

#[cfg(test)]
mod tests;
