//! What in a file a person must see, and which of it the file had before.
//!
//! An agent writes odd places by the million, in files by the thousand. So there is a bound for one
//! file, behind which nothing is looked at, and one for all of them together ([`Held`]).

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
};

use aho_corasick::AhoCorasick;

use super::{Remark, letters};
use crate::digest::Digest;

/// Most findings in one file, old ones included. Behind them nothing is looked at, and that is said.
const MOST: usize = 10_000;
/// Bytes that the findings in all files of a hand-over may take.
const HELD: usize = 64 << 20;

/// Something in a file that a person must see, unless the base has it, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::git) struct Sight {
    pub(in crate::git) rule: &'static str,
    pub(in crate::git) message: String,
    pub(in crate::git) mark: Mark,
}

/// What the base must have for a sight to be old.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::git) enum Mark {
    /// These bytes, anywhere in the file.
    Token(Vec<u8>),
    /// The line with this digest: a line may be as long as its file.
    Line(Digest),
    /// Nothing makes it old.
    Always,
}

impl Sight {
    /// Returns about how much memory it takes.
    fn bytes(&self) -> usize {
        let marked = match &self.mark {
            Mark::Token(token) => token.len(),
            Mark::Line(_) | Mark::Always => 0,
        };
        size_of::<Self>() + self.message.len() + marked
    }
}

impl std::fmt::Debug for Mark {
    /// Shows nothing of what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mark")
    }
}

/// What was seen in one file, each thing once.
#[derive(Debug, Default)]
pub(in crate::git) struct Sights {
    all: Vec<Sight>,
    known: HashSet<u64>,
    hasher: RandomState,
}

impl Sights {
    /// Takes one more, unless it is known or the file has too many.
    pub(super) fn add(&mut self, sight: Sight) {
        if self.is_full() || !self.known.insert(self.hasher.hash_one(&sight)) {
            return;
        }
        let rule = sight.rule;
        self.all.push(sight);
        if self.is_full() {
            self.all.push(Sight {
                rule,
                message: format!("has more than {MOST} odd places: the others were not looked at"),
                mark: Mark::Always,
            });
        }
    }

    /// Returns whether nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= MOST
    }

    /// Returns them in the order of the file.
    pub(super) fn all(self) -> Vec<Sight> {
        self.all
    }
}

/// How much the findings in all files take so far.
#[derive(Debug, Default)]
pub(super) struct Held(usize);

impl Held {
    /// Counts the findings in one more file.
    ///
    /// # Errors
    /// The breach, when that is more than may be kept.
    pub(super) fn add(&mut self, sights: &[Sight]) -> Result<(), Remark> {
        let bytes = sights.iter().map(Sight::bytes).sum::<usize>();
        self.0 = self.0.saturating_add(bytes);
        if self.0 <= HELD {
            return Ok(());
        }
        let message = "the files have more odd places than can be judged together";
        Err(Remark::new("count", b".", message))
    }
}

/// Returns what of these the file did not have before.
pub(in crate::git) fn fresh<'s>(sights: &'s [Sight], base: Option<&Vec<u8>>) -> Vec<&'s Sight> {
    let Some(base) = base else {
        return sights.iter().collect();
    };
    let lines: HashSet<Digest> = letters::odd_lines(base).map(Digest::of).collect();
    let tokens = sights.iter().filter_map(|sight| match &sight.mark {
        Mark::Token(token) if !token.is_empty() => Some(token.as_slice()),
        _ => None,
    });
    let had = among(&tokens.collect(), base);
    let is_new = |sight: &&Sight| match &sight.mark {
        Mark::Token(token) => !had.contains(token.as_slice()),
        Mark::Line(line) => !lines.contains(line),
        Mark::Always => true,
    };
    sights.iter().filter(is_new).collect()
}

/// Returns those that stand in a text. More than can be searched for stand nowhere.
fn among<'t>(tokens: &BTreeSet<&'t [u8]>, text: &[u8]) -> BTreeSet<&'t [u8]> {
    let Ok(search) = AhoCorasick::new(tokens) else {
        return BTreeSet::new();
    };
    let tokens: Vec<&[u8]> = tokens.iter().copied().collect();
    let found = search.find_overlapping_iter(text);
    found.map(|one| tokens[one.pattern().as_usize()]).collect()
}

#[cfg(test)]
mod tests {
    use super::{Held, MOST, Mark, Sight, Sights};

    #[test]
    fn attack_g11_odd_places_in_files_without_number_are_a_breach() {
        let mut sights = Sights::default();
        for at in 0..MOST {
            sights.add(Sight {
                rule: "hidden-text",
                message: format!("has the character U+200B at {at}, which cannot be seen"),
                mark: Mark::Always,
            });
        }
        let (sights, mut held) = (sights.all(), Held::default());
        let files = (0..1000).take_while(|_| held.add(&sights).is_ok()).count();
        assert!((10..200).contains(&files), "{files} files of {MOST} places");
        assert_eq!(held.add(&[]).unwrap_err().rule, "count");
    }
}
