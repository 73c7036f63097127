//! Versions, each in the order of its registry.

use std::cmp::Ordering;

use crate::policy::RegistryKind;

/// A version that can be compared with others of its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// Of npm and cargo.
    Semver(semver::Version),
    /// Of pip.
    Pep440(pep440_rs::Version),
    /// Of apt.
    Debian(Debian),
}

/// A version of Debian: epoch, upstream version, revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    epoch: Option<u32>,
    upstream: String,
    revision: String,
}

impl Version {
    /// Reads a version as its registry writes it; none for what is none there.
    #[must_use]
    pub fn read(kind: RegistryKind, text: &str) -> Option<Self> {
        // Longer ones are an attack on whoever compares them.
        if text.len() > 256 {
            return None;
        }
        match kind {
            RegistryKind::Npm | RegistryKind::Crates => {
                semver::Version::parse(text).ok().map(Self::Semver)
            }
            RegistryKind::Pypi => text.parse().ok().map(Self::Pep440),
            RegistryKind::Debian => Debian::read(text).map(Self::Debian),
        }
    }

    /// Returns which is older; none for versions of different registries.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Semver(a), Self::Semver(b)) => Some(a.cmp_precedence(b)),
            (Self::Pep440(a), Self::Pep440(b)) => Some(a.cmp(b)),
            (Self::Debian(a), Self::Debian(b)) => Some(a.order(b)),
            _ => None,
        }
    }

    /// Returns whether it is meant for everybody, and not for trying out.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Semver(version) => version.pre.is_empty(),
            Self::Pep440(version) => !version.any_prerelease(),
            Self::Debian(_) => true,
        }
    }

    /// Gives a version of Debian the epoch that its file name leaves out.
    pub(super) fn with_epoch_of(self, others: &[Self]) -> Self {
        let Self::Debian(mut own) = self else {
            return self;
        };
        if own.epoch.is_none() {
            own.epoch = others.iter().filter_map(Self::epoch).max();
        }
        Self::Debian(own)
    }

    fn epoch(&self) -> Option<u32> {
        match self {
            Self::Debian(version) => version.epoch,
            _ => None,
        }
    }
}

impl Debian {
    fn read(text: &str) -> Option<Self> {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => {
                let digits = !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit());
                (Some(epoch.parse().ok().filter(|_| digits)?), rest)
            }
            None => (None, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let letter = |b: u8| b.is_ascii_alphanumeric() || b".+~-".contains(&b);
        let fits = !upstream.is_empty() && rest.bytes().all(letter);
        fits.then(|| Self {
            epoch,
            upstream: upstream.to_owned(),
            revision: revision.to_owned(),
        })
    }

    fn order(&self, other: &Self) -> Ordering {
        let epochs = self.epoch.unwrap_or(0).cmp(&other.epoch.unwrap_or(0));
        epochs
            .then_with(|| part(&self.upstream, &other.upstream))
            .then_with(|| part(&self.revision, &other.revision))
    }
}

/// Compares as Debian's policy says: stretches of no digits and of digits take turns.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (words_a, rest_a) = cut(a, |c| !c.is_ascii_digit());
        let (words_b, rest_b) = cut(b, |c| !c.is_ascii_digit());
        let (number_a, next_a) = cut(rest_a, |c| c.is_ascii_digit());
        let (number_b, next_b) = cut(rest_b, |c| c.is_ascii_digit());
        let order = words(words_a, words_b).then_with(|| number(number_a, number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
    Ordering::Equal
}

fn cut(text: &str, belongs: fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` is before the end, the end before letters, letters before all else.
fn words(a: &str, b: &str) -> Ordering {
    let rank = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        let (x, y) = (a.next(), b.next());
        let order = rank(x).cmp(&rank(y));
        if order.is_ne() || (x.is_none() && y.is_none()) {
            return order;
        }
    }
}

/// Compares digits of any length.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn ordered(kind: RegistryKind, versions: &[&str]) {
        let read = |text: &str| Version::read(kind, text).unwrap_or_else(|| panic!("{text}"));
        for (at, a) in versions.iter().enumerate() {
            for (other, b) in versions.iter().enumerate() {
                assert_eq!(
                    read(a).order(&read(b)),
                    Some(at.cmp(&other)),
                    "{a} against {b}"
                );
            }
        }
    }

    #[test]
    fn versions_are_in_the_order_of_their_registry() {
        ordered(
            RegistryKind::Npm,
            &[
                "0.0.0-0",
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-rc.2",
                "1.0.0-rc.10",
                "1.0.0",
                "1.2.3",
                "1.10.0",
            ],
        );
        ordered(
            RegistryKind::Pypi,
            &[
                "1.0.dev1",
                "1.0a1",
                "1.0rc1",
                "1.0",
                "1.0.post1",
                "1.1",
                "1.10",
                "1!0.1",
            ],
        );
        ordered(
            RegistryKind::Debian,
            &[
                "1.0~~",
                "1.0~rc1-1",
                "1.0~rc1-1+deb12u1",
                "1.0",
                "1.0-1~bpo1",
                "1.0-1",
                "1.0-1+deb12u1",
                "1.0-1+deb12u10",
                "1.0-2",
                "1.0a-1",
                "1.0+dfsg-1",
                "1.0.1-1",
                "1.0.10-1",
                "1.00000000000000000000000000002-1",
                "1:0.1-1",
            ],
        );
    }

    #[test]
    fn what_is_built_or_padded_differently_is_no_other_version() {
        let same = |kind, a: &str, b: &str| {
            let read = |text: &str| Version::read(kind, text).unwrap();
            assert_eq!(read(a).order(&read(b)), Some(Ordering::Equal), "{a} {b}");
        };
        same(RegistryKind::Crates, "1.0.0+a", "1.0.0+b");
        same(RegistryKind::Pypi, "1.0", "1.0.0");
        same(RegistryKind::Pypi, "v1.0-ALPHA1", "1.0a1");
        same(RegistryKind::Debian, "1.01-1", "1.1-1");
        same(RegistryKind::Debian, "0:1.1-1", "1.1-1");
    }

    #[test]
    fn what_is_no_version_is_none() {
        use RegistryKind::{Debian, Npm, Pypi};
        for (kind, text) in [
            (Npm, "latest"),
            (Npm, "1.0"),
            (Npm, "01.0.0"),
            (Npm, "1.0.0/.."),
            (Pypi, "latest"),
            (Pypi, ""),
            (Debian, "a:1"),
            (Debian, "1_2"),
            (Debian, ""),
            (Debian, "-1"),
        ] {
            assert_eq!(Version::read(kind, text), None, "{text}");
        }
        let long = format!("1.0.0-{}", "a".repeat(300));
        assert_eq!(Version::read(Npm, &long), None);
    }

    proptest! {
        #[test]
        fn a_version_of_debian_compared_both_ways_says_the_same(
            a in "[0-9]{0,3}[a-z~+.0-9]{1,6}(-[0-9a-z~+.]{1,3})?",
            b in "[0-9]{0,3}[a-z~+.0-9]{1,6}(-[0-9a-z~+.]{1,3})?",
        ) {
            let read = |text: &str| Version::read(RegistryKind::Debian, text).unwrap();
            let there = read(&a).order(&read(&b)).unwrap();
            prop_assert_eq!(there, read(&b).order(&read(&a)).unwrap().reverse());
        }
    }
}
