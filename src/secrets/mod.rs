//! Secrets at rest: `secrets.env.age`, a dotenv text that is encrypted to public keys of age or
//! SSH, and can be read and written with the program `age` as well.
//!
//! A [`Store`] is one such file with the list of its recipients beside it. [`Identities`] says
//! where private keys lie. What is read comes out as [`crate::redact::Values`].
//!
//! It refuses files that others of this machine could read or replace, links, recipients and
//! identities that would make it run a plugin, texts that could be read in two ways, and to write
//! what nobody here could open again. It gives no secret to anybody: `sandbox` and `egress` do.

mod crypt;
mod dotenv;
mod error;
mod identity;
mod memory;
mod private;
mod recipients;
mod store;
#[cfg(test)]
mod tests;

pub use dotenv::{is_name, unfit};
#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::SecretsError;
pub use identity::{Identities, generate};
pub use memory::seal;
pub use private::LOCK;
pub use recipients::{Recipient, Recipients};
pub use store::{Draft, Opened, RECIPIENTS, STORE, Store};
