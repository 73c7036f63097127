//! Whether one rule provably covers all that another covers.
//!
//! The answer errs to one side only: `true` is a proof, `false` may be ignorance. What an
//! untrusted project asks for and what a denial takes away are both decided so that ignorance
//! gives a role less.

use globset::{GlobBuilder, GlobMatcher};

use super::{DeniedHost, DeniedNames, EgressRule, Glob, HostPattern, Program, Protocol, request};

/// A rule that can be compared with others.
pub(super) trait Cover<T> {
    /// Returns whether everything `other` covers is provably covered by this rule too.
    fn covers(&self, other: &T) -> bool;
}

/// A rule as a policy would write it.
pub(super) trait Written {
    /// Returns the text.
    fn written(&self) -> String;
}

impl Written for Glob {
    fn written(&self) -> String {
        self.text.clone()
    }
}

impl Written for Program {
    fn written(&self) -> String {
        match self {
            Self::Image(name) => name.clone(),
            Self::Worktree(glob) => format!("./{}", glob.text),
        }
    }
}

impl Written for EgressRule {
    fn written(&self) -> String {
        match &self.request {
            None => format!("{}:{}", self.host, self.port),
            Some(request) => format!("{}:{} ({request})", self.host, self.port),
        }
    }
}

impl Cover<Self> for Program {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Image(mine), Self::Image(other)) => mine == other,
            (Self::Worktree(mine), Self::Worktree(other)) => mine.covers(other),
            _ => false,
        }
    }
}

impl Cover<Self> for EgressRule {
    fn covers(&self, other: &Self) -> bool {
        is_at(self, other) && self.protocol == other.protocol && request::cover::covers(self, other)
    }
}

/// Returns whether `rule` is about all hosts and ports that `other` is about.
pub(super) fn is_at(rule: &EgressRule, other: &EgressRule) -> bool {
    let host = match (&rule.host, &other.host) {
        (mine, HostPattern::Exact(name)) => mine.matches(name),
        (mine, wildcard) => mine == wildcard,
    };
    host && rule.port == other.port
}

impl Cover<EgressRule> for DeniedHost {
    fn covers(&self, rule: &EgressRule) -> bool {
        let host = match &rule.host {
            HostPattern::Exact(name) => self.names.matches(name),
            HostPattern::Wildcard(parent) => match &self.names {
                DeniedNames::Below(mine) => mine == parent || self.names.matches(parent),
                DeniedNames::All => true,
                DeniedNames::Exact(_) => false,
            },
        };
        // Of one that closes some requests, what carries no request is closed.
        let whole = self.request.is_none() || rule.protocol == Protocol::Tcp;
        host && whole && self.port.is_none_or(|port| port == rule.port)
    }
}

/// One step of a glob.
#[derive(PartialEq)]
enum Step<'g> {
    /// Any number of components, none included.
    Any,
    /// One component.
    One(&'g str),
}

/// Returns the steps of a glob; a `**` at the end stands for at least one component.
fn steps<'g>(parts: impl Iterator<Item = &'g str>) -> Vec<Step<'g>> {
    let mut steps: Vec<_> = parts
        .map(|part| {
            if part == "**" {
                Step::Any
            } else {
                Step::One(part)
            }
        })
        .collect();
    if steps.last() == Some(&Step::Any) {
        steps.push(Step::One("**"));
    }
    steps
}

impl Cover<Self> for Glob {
    fn covers(&self, other: &Self) -> bool {
        self.text == other.text || spans(self.text.split('/'), other.text.split('/'), one)
    }
}

/// Returns whether the components `mine` cover the components `other`, where `one` says it of
/// single components.
pub(super) fn spans<'g>(
    mine: impl Iterator<Item = &'g str>,
    other: impl Iterator<Item = &'g str>,
    one: fn(&str, &str) -> bool,
) -> bool {
    let (mine, other) = (steps(mine), steps(other));
    // `rows[i][j]`: the steps of mine from `i` cover the steps of other from `j`.
    let mut next = vec![false; other.len() + 1];
    next[other.len()] = true;
    for step in mine.iter().rev() {
        let mut row = vec![false; other.len() + 1];
        for at in (0..=other.len()).rev() {
            row[at] = match (step, other.get(at)) {
                (Step::Any, Some(_)) => next[at] || row[at + 1],
                (Step::Any, None) => next[at],
                (Step::One(mine), Some(Step::One(other))) => next[at + 1] && one(mine, other),
                (Step::One(_), _) => false,
            };
        }
        next = row;
    }
    next[0]
}

/// Returns whether the component `mine` covers the component `other`.
fn one(mine: &str, other: &str) -> bool {
    matches!(mine, "*" | "**")
        || mine == other
        || (is_literal(other) && matcher(mine).is_some_and(|m| m.is_match(other)))
}

fn is_literal(component: &str) -> bool {
    !component.contains(['*', '?', '{', '}', '[', ']', '\\'])
}

fn matcher(text: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .ok()?;
    Some(glob.compile_matcher())
}

/// Returns whether no path is provably covered by both globs.
pub(super) fn apart(a: &Glob, b: &Glob) -> bool {
    let differ = |(a, b): (Step<'_>, Step<'_>)| match (a, b) {
        (Step::One(a), Step::One(b)) if is_literal(a) && is_literal(b) => Some(a != b),
        (Step::One(a), Step::One(b)) if is_literal(b) => Some(!one(a, b)),
        (Step::One(a), Step::One(b)) if is_literal(a) => Some(!one(b, a)),
        (Step::One(_), Step::One(_)) => Some(false),
        _ => None,
    };
    // Steps stand at the same depth until one glob spans directories.
    let pairs = steps(a.text.split('/'))
        .into_iter()
        .zip(steps(b.text.split('/')));
    pairs.map_while(differ).any(|differs| differs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, proptest};

    use super::*;
    use crate::policy::{Globs, Origin};

    fn glob(text: &str) -> Glob {
        Glob::parse(text, Origin::default()).unwrap()
    }

    #[test]
    fn a_directory_covers_what_lies_below_it() {
        for (outer, inner, covers) in [
            ("src/**", "src/**", true),
            ("src/**", "src/a/**", true),
            ("src/**", "src/*.rs", true),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "src", false),
            ("src/**", "srcs/a", false),
            ("**", "a", true),
            ("**", "**/*.rs", true),
            ("**/*", "**", true),
            ("**/*.rs", "src/main.rs", true),
            ("**/*.rs", "src/**", false),
            ("src/*", "src/a", true),
            ("src/*", "src/a/b", false),
            ("src/*", "src/**", false),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/**/b/z", true),
            ("{a,b}/**", "a/**", true),
            ("a/**", "{a,b}/**", false),
            ("*.rs", "{a,b}.rs", false),
        ] {
            assert_eq!(
                glob(outer).covers(&glob(inner)),
                covers,
                "{outer} over {inner}"
            );
        }
    }

    #[test]
    fn globs_of_different_directories_are_apart() {
        for (a, b, is_apart) in [
            ("src/**", "docs/**", true),
            ("src/**", "src/a", false),
            ("**/x", "docs/**", false),
            ("*.rs", "a.md", true),
            ("a/*/c", "a/b/d", true),
        ] {
            assert_eq!(apart(&glob(a), &glob(b)), is_apart, "{a} and {b}");
        }
    }

    fn globs() -> impl Strategy<Value = Glob> {
        let part =
            proptest::sample::select(vec!["a", "b", "*", "**", "a*", "?", "{a,b}", "{a,*}", "ab"]);
        proptest::collection::vec(part, 1..5).prop_map(|parts| glob(&parts.join("/")))
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_covered_is_covered(outer in globs(), inner in globs(), path in "[ab]{1,2}(/[ab]{1,2}){0,4}") {
            let covers = |glob: &Glob| Globs(vec![glob.clone()]).matches(&path).is_some();
            if outer.covers(&inner) {
                prop_assert!(!covers(&inner) || covers(&outer), "{} over {} at {path}", outer.text, inner.text);
            }
            if apart(&outer, &inner) {
                prop_assert!(!(covers(&inner) && covers(&outer)), "{} and {} at {path}", outer.text, inner.text);
            }
        }
    }
}
