//! The keys whose checkpoints count: one, and those before and after it.
//!
//! It only joins what knows keys with what knows checkpoints. That one key follows another was
//! signed by both; who does not know the list of changes trusts the one key alone.

use crate::{
    checkpoint::{PURPOSE, Trusted},
    journal::{PublicKey, ring::Ring},
};

/// Keys whose signatures on checkpoints count.
#[derive(Debug, Clone)]
pub struct Believed(Vec<(PublicKey, String)>);

/// What checks the signatures of one key.
type Fits = Box<dyn Fn(&[u8], &str) -> bool + Sync>;

impl Believed {
    /// Trusts a key, and those that it followed or that followed it.
    #[must_use]
    pub fn new(key: PublicKey, ring: &Ring) -> Self {
        let others = ring.around(key);
        let others = others.keys().iter().filter(|other| **other != key);
        let keys = std::iter::once(&key).chain(others);
        Self(keys.map(|key| (*key, key.to_string())).collect())
    }

    /// Calls something with what checks signatures.
    pub fn with<T>(&self, call: impl FnOnce(Trusted<'_>) -> T) -> T {
        let fits = |key: PublicKey| -> Fits {
            Box::new(move |bytes, signature| {
                let signature = signature.parse().ok();
                signature.is_some_and(|one| key.verify(PURPOSE, bytes, &one).is_ok())
            })
        };
        let fits: Vec<Fits> = self.0.iter().map(|(key, _)| fits(*key)).collect();
        let keys = self.0.iter().zip(&fits);
        let trusted = keys.map(|((_, key), fits)| Trusted {
            key,
            fits: &**fits,
            around: &[],
        });
        let trusted: Vec<Trusted<'_>> = trusted.collect();
        call(Trusted {
            around: &trusted,
            ..trusted[0]
        })
    }
}
