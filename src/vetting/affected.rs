//! Which versions an advisory is about, as the OSV schema says it.

use std::cmp::Ordering;

use super::{
    osv::{Advisory, Event, Range},
    version::Version,
};
use crate::policy::RegistryKind;

/// That a version is affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gist {
    /// The next version that is not, if there is one.
    pub fixed: Option<String>,
}

impl Advisory {
    /// Leaves out versions that the ranges hold anyway: of a kernel they are hundreds of thousands,
    /// read again for each request. A range that cannot be compared is settled by the whole list.
    pub(super) fn without_repeats(mut self, kind: RegistryKind) -> Self {
        let held = |version: &str| {
            let version = Version::read(kind, version)?;
            let holds = self.ranges.iter().map(|range| range.holds(kind, &version));
            let holds: Option<Vec<bool>> = holds.collect();
            Some(holds?.contains(&true))
        };
        let repeats = |version: &String| held(version) == Some(true);
        let versions = self.versions.iter().filter(|version| !repeats(version));
        self.versions = versions.cloned().collect();
        self
    }

    /// Returns whether a version is affected, and which is not any more. What of a range cannot be
    /// compared affects every version that the list of versions does not settle.
    #[must_use]
    pub fn affects(&self, kind: RegistryKind, text: &str) -> Option<Gist> {
        let asked = Version::read(kind, text)?;
        let same = |listed: &String| {
            listed == text
                || Version::read(kind, listed)
                    .is_some_and(|listed| listed.order(&asked) == Some(Ordering::Equal))
        };
        let listed = self.versions.iter().any(same);
        let mut fixed: Option<(Version, String)> = None;
        let mut within = listed;
        for range in &self.ranges {
            match range.holds(kind, &asked) {
                Some(holds) => within |= holds,
                None => within |= self.versions.is_empty(),
            }
            for (version, text) in range.fixes(kind, &asked) {
                let sooner =
                    |had: &(Version, String)| version.order(&had.0) == Some(Ordering::Less);
                if fixed.as_ref().is_none_or(sooner) {
                    fixed = Some((version, text));
                }
            }
        }
        within.then(|| Gist {
            fixed: fixed.map(|(_, text)| text),
        })
    }
}

impl Range {
    /// Returns whether a version lies in it; none when something of it cannot be compared.
    fn holds(&self, kind: RegistryKind, asked: &Version) -> Option<bool> {
        let mut events = Vec::new();
        for event in &self.0 {
            events.push((event, event.version(kind)?));
        }
        let known: Vec<Version> = events.iter().filter_map(|(_, at)| at.clone()).collect();
        let asked = asked.clone().with_epoch_of(&known);
        let reached = |at: &Option<Version>| match at {
            None => Some(Ordering::Greater),
            Some(at) => asked.order(at),
        };
        events.sort_by(|(a, at), (b, other)| {
            let order = match (at, other) {
                (None, None) => Some(Ordering::Equal),
                (None, _) => Some(Ordering::Less),
                (_, None) => Some(Ordering::Greater),
                (Some(at), Some(other)) => at.order(other),
            };
            // At one version, what ends comes before what begins: `fixed` and `introduced` anew.
            order
                .unwrap_or(Ordering::Equal)
                .then(a.rank().cmp(&b.rank()))
        });
        let mut holds = false;
        for (event, at) in events {
            let order = reached(&at)?;
            match event {
                Event::Introduced(_) if order.is_ge() => holds = true,
                Event::Fixed(_) if order.is_ge() => holds = false,
                Event::LastAffected(_) if order.is_gt() => holds = false,
                Event::Limit(text) if text != "*" && order.is_ge() => return Some(false),
                _ => {}
            }
        }
        Some(holds)
    }

    /// Returns the fixes that are later than a version.
    fn fixes(&self, kind: RegistryKind, asked: &Version) -> Vec<(Version, String)> {
        let fixes = self.0.iter().filter_map(|event| match event {
            Event::Fixed(text) => Some((Version::read(kind, text)?, text.clone())),
            _ => None,
        });
        let fixes: Vec<(Version, String)> = fixes.collect();
        let known: Vec<Version> = fixes.iter().map(|(version, _)| version.clone()).collect();
        let asked = asked.clone().with_epoch_of(&known);
        let later =
            |(version, _): &(Version, String)| version.order(&asked) == Some(Ordering::Greater);
        fixes.into_iter().filter(later).collect()
    }
}

impl Event {
    /// Returns its version, none inside for one before all; none outside when it cannot be read.
    fn version(&self, kind: RegistryKind) -> Option<Option<Version>> {
        let text = match self {
            Self::Introduced(text) if text == "0" => return Some(None),
            Self::Limit(text) if text == "*" => return Some(None),
            Self::Introduced(text)
            | Self::Fixed(text)
            | Self::LastAffected(text)
            | Self::Limit(text) => text,
        };
        Version::read(kind, text).map(Some)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Limit(_) => 0,
            Self::Fixed(_) => 1,
            Self::Introduced(_) => 2,
            Self::LastAffected(_) => 3,
        }
    }
}
