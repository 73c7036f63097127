//! The keys whose checkpoints count: one, and those before and after it.
//!
//! It only joins what knows keys with what knows checkpoints. That one key follows another was
//! signed by both; who does not know the list of changes trusts the one key alone.

use std::path::Path;

use jiff::Timestamp;

use crate::{
    checkpoint::{PURPOSE, Trusted},
    journal::{
        Key, PublicKey,
        ring::{Ring, RingError},
    },
};

/// Keys whose signatures on checkpoints count.
#[derive(Debug, Clone)]
pub struct Believed(Vec<One>);

/// One of them.
#[derive(Debug, Clone)]
struct One {
    key: PublicKey,
    text: String,
    ended: Option<Timestamp>,
}

/// What checks the signatures of one key.
type Fits = Box<dyn Fn(&[u8], &str) -> bool + Sync>;

impl Believed {
    /// Opens this user's key in a directory of settings, or makes one, and trusts it.
    ///
    /// # Errors
    /// When there is no key, or it cannot be told which keys were before it.
    pub fn own(settings: &Path) -> Result<(Key, Self), RingError> {
        let key = Key::open_or_make(settings)?;
        let believed = Self::new(key.public(), &Ring::open(settings)?);
        Ok((key, believed))
    }

    /// Trusts a key, and those that it followed or that followed it.
    #[must_use]
    pub fn new(key: PublicKey, ring: &Ring) -> Self {
        let all = ring.around(key);
        let others = all.keys().iter().filter(|other| **other != key);
        let keys = std::iter::once(&key).chain(others);
        let one = |key: &PublicKey| One {
            key: *key,
            text: key.to_string(),
            ended: all.ended(key),
        };
        Self(keys.map(one).collect())
    }

    /// Calls something with what checks signatures.
    pub fn with<T>(&self, call: impl FnOnce(Trusted<'_>) -> T) -> T {
        let fits = |key: PublicKey| -> Fits {
            Box::new(move |bytes, signature| {
                let signature = signature.parse().ok();
                signature.is_some_and(|one| key.verify(PURPOSE, bytes, &one).is_ok())
            })
        };
        let fits: Vec<Fits> = self.0.iter().map(|one| fits(one.key)).collect();
        let keys = self.0.iter().zip(&fits);
        let trusted = keys.map(|(one, fits)| Trusted {
            key: &one.text,
            fits: &**fits,
            ended: one.ended,
            around: &[],
        });
        let trusted: Vec<Trusted<'_>> = trusted.collect();
        call(Trusted {
            around: &trusted,
            ..trusted[0]
        })
    }
}
