//! Globs over the paths of a worktree.
//!
//! A glob is relative and canonical, so that the text that was checked is the text that is
//! matched. A path that is not canonical itself (`../x`, `/x`, `a//b`) matches nothing.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Glob, Globs, Origin};

/// Why a text is not a glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("glob `{}` {why}", text.escape_debug())]
pub struct GlobError {
    /// The text that was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// What would have been right.
    pub help: &'static str,
}

impl Glob {
    /// Reads a glob that stands at `origin`.
    ///
    /// # Errors
    /// Returns [`GlobError`] when the text is absolute, leaves the worktree, names what belongs to
    /// Loki or is no pattern at all.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, GlobError> {
        let fail = |(why, help)| GlobError {
            text: text.to_owned(),
            why,
            help,
        };
        whole(text)
            .and_then(|()| text.split('/').try_for_each(component))
            .map_err(fail)?;
        pattern(text).ok_or_else(|| fail(("is not a pattern", "close every `{`")))?;
        Ok(Self {
            text: text.to_owned(),
            origin,
            except: Vec::new(),
        })
    }

    /// Returns the longest directory that the glob names literally and below which everything it
    /// matches lies, `""` for the whole tree.
    #[must_use]
    pub fn directory(&self) -> &str {
        let literal = self.text.split(special).next().unwrap_or_default();
        literal
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory)
    }
}

impl Globs {
    /// Returns the glob that covers `path`, relative to the worktree, or none.
    ///
    /// Compiles the globs anew; use [`Globs::matcher`] for many paths.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<&Glob> {
        self.matcher().matches(path)
    }

    /// Returns the `deny` entry because of which no glob covers `path`, none when it is covered or
    /// was never allowed.
    #[must_use]
    pub fn denied(&self, path: &str) -> Option<&Glob> {
        if self.matches(path).is_some() {
            return None;
        }
        let covered = |glob: &&Glob| set([&glob.text]).is_match(path) && is_canonical(path);
        let denials = self.0.iter().filter(covered).flat_map(|glob| &glob.except);
        denials
            .into_iter()
            .find(|glob| set([&glob.text]).is_match(path))
    }

    /// Returns the globs compiled for many questions.
    #[must_use]
    pub fn matcher(&self) -> Matcher<'_> {
        let except = |glob: &Glob| set(glob.except.iter().map(|glob| &glob.text));
        Matcher {
            globs: &self.0,
            set: set(self.0.iter().map(|glob| &glob.text)),
            except: self.0.iter().map(except).collect(),
        }
    }
}

/// Globs compiled for many questions.
#[derive(Debug, Clone)]
pub struct Matcher<'a> {
    globs: &'a [Glob],
    set: GlobSet,
    /// For each glob, what is taken out of it.
    except: Vec<GlobSet>,
}

impl<'a> Matcher<'a> {
    /// Returns the first glob that covers `path`, relative to the worktree, or none. What a glob's
    /// denials cover, the glob does not.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<&'a Glob> {
        if !is_canonical(path) {
            return None;
        }
        let path = Candidate::new(path);
        let hits = self.set.matches_candidate(&path);
        let open = |hit: &usize| !self.except[*hit].is_match_candidate(&path);
        hits.into_iter().find(open).map(|hit| &self.globs[hit])
    }
}

fn is_canonical(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Compiles globs. One unreadable glob (only a value made by hand has one) leaves the set empty.
fn set<'t>(texts: impl IntoIterator<Item = &'t String>) -> GlobSet {
    let compiled: Option<Vec<_>> = texts.into_iter().map(|text| pattern(text)).collect();
    let mut set = GlobSetBuilder::new();
    for glob in compiled.into_iter().flatten() {
        set.add(glob);
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

fn pattern(text: &str) -> Option<globset::Glob> {
    GlobBuilder::new(text).literal_separator(true).build().ok()
}

fn special(c: char) -> bool {
    matches!(c, '*' | '?' | '{' | '[' | '\\')
}

type Fault = (&'static str, &'static str);

fn whole(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(("is empty", "`**` covers the whole worktree"));
    }
    if text.len() > 1024 || text.split('/').count() > 64 {
        return Err(("is too long", "name a directory and `**`, such as `src/**`"));
    }
    if text.starts_with('/') || text.starts_with('~') {
        return Err((
            "is absolute",
            "globs are relative to the worktree, such as `src/**`",
        ));
    }
    if text.starts_with('!') {
        return Err((
            "excludes",
            "list only what is allowed: everything else is denied",
        ));
    }
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\\' | '[' | ']'))
    {
        return Err((
            "holds a control character, `\\`, `[` or `]`",
            "use `*`, `?`, `**` and `{a,b}`",
        ));
    }
    if text.contains("**")
        && text
            .split('/')
            .any(|part| part.contains("**") && part != "**")
    {
        return Err((
            "has `**` next to other text",
            "`**` stands alone between slashes, such as `src/**/*.rs`",
        ));
    }
    Ok(())
}

fn component(part: &str) -> Result<(), Fault> {
    let own = |name: &str| part.eq_ignore_ascii_case(name);
    if part.is_empty() {
        return Err((
            "has an empty component",
            "write `src/**`, not `src/` or `src//**`",
        ));
    }
    if part == ".." || part == "." || (part.contains('{') && part.contains("..")) {
        return Err((
            "has a `.` or `..` component",
            "globs cannot leave the worktree: write `src/**`, not `./src/**`",
        ));
    }
    if own(".git") || own(".loki") {
        return Err((
            "names what belongs to Loki",
            "`.git` and `.loki` are never given to a role",
        ));
    }
    if part.matches('{').count() != part.matches('}').count() {
        return Err((
            "has a `{` that does not close within its component",
            "`{a,b}` cannot hold a `/`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(texts: &[&str]) -> Globs {
        let parse = |text: &&str| Glob::parse(text, Origin::default()).unwrap();
        Globs(texts.iter().map(parse).collect())
    }

    #[test]
    fn a_star_stays_within_a_component_and_two_span_components() {
        let globs = globs(&["src/*.rs", "docs/**", "**/*.test.ts", "a/{b,c}/?.md"]);
        for path in [
            "src/a.rs",
            "docs/a",
            "docs/a/b/c",
            "x.test.ts",
            "a/b/x.test.ts",
            "a/c/1.md",
        ] {
            assert!(globs.matches(path).is_some(), "{path}");
        }
        for path in [
            "src/a/b.rs",
            "docs",
            "docsx/a",
            "Src/a.rs",
            "x.test.tsx",
            "a/b/12.md",
            "a/b/c/1.md",
        ] {
            assert!(globs.matches(path).is_none(), "{path}");
        }
    }

    #[test]
    fn paths_that_are_not_canonical_match_nothing() {
        let all = globs(&["**"]);
        assert!(all.matches("a/b").is_some());
        for path in ["", "/", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a/."] {
            assert!(all.matches(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        assert!(Globs::default().matches("a").is_none());
    }

    #[test]
    fn hostile_globs_are_refused() {
        for text in [
            "",
            "/",
            "/etc/**",
            "../x",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            "~/x",
            "!src/**",
            "a\\b",
            "[a-z]",
            "a**",
            "**a/b",
            "{a,b",
            "{a/b}",
            "{..,a}/x",
            ".git/**",
            ".GIT/config",
            "a/.git/x",
            ".loki/**",
            "a\nb",
            "a\0b",
        ] {
            assert!(Glob::parse(text, Origin::default()).is_err(), "{text:?}");
        }
        assert!(Glob::parse(&"a/".repeat(100), Origin::default()).is_err());
        assert!(Glob::parse(&"{".repeat(900), Origin::default()).is_err());
    }

    #[test]
    fn globs_widen_to_the_nearest_directory() {
        let cases = [
            ("src/**", "src"),
            ("src/a/*.rs", "src/a"),
            ("src/frontend/**/*.test.ts", "src/frontend"),
            ("src/a*/b", "src"),
            ("src/app.ts", "src"),
            ("package.json", ""),
            ("**", ""),
            ("*.rs", ""),
            ("**/*.rs", ""),
            ("{a,b}/**", ""),
            ("{a,b}/c", ""),
            // Refused when read: a value made by hand is widened, never narrowed.
            ("docs/v[12]/x", "docs"),
        ];
        for (text, directory) in cases {
            let glob = Glob {
                text: text.to_owned(),
                origin: Origin::default(),
                except: Vec::new(),
            };
            assert_eq!(glob.directory(), directory, "{text}");
        }
    }
}
