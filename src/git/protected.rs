//! Branches that are a person's alone: nothing here moves them, lands on them or pushes to them.
//!
//! Loki writes refs of its own only, whatever this list says. The list is for what a repository
//! adds to it: its patterns can forbid more, never allow more.

use super::{GitError, Repository};

/// What is protected in every repository.
const ALWAYS: [&str; 6] = [
    "main",
    "master",
    "trunk",
    "develop",
    "release/*",
    "releases/*",
];
/// The setting that adds to it, as often as it is given.
const SETTING: &str = "loki.protected";

/// The protected branches of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected(Vec<String>);

impl Protected {
    /// Adds a branch by its name, such as the default branch of a remote.
    #[must_use]
    pub fn with(mut self, branch: &str) -> Self {
        self.0.push(branch.to_owned());
        self
    }

    /// Returns the pattern that protects a branch, none when nothing does. Letters count in either
    /// case, for some file systems fold them.
    #[must_use]
    pub fn of(&self, branch: &str) -> Option<&str> {
        let branch = branch.to_lowercase();
        let found = self
            .0
            .iter()
            .find(|pattern| fits(&pattern.to_lowercase(), &branch));
        found.map(String::as_str)
    }

    /// Refuses a branch that is protected.
    ///
    /// # Errors
    /// Names the branch and what protects it.
    pub fn refuse(&self, branch: &str) -> Result<(), GitError> {
        self.of(branch).map_or(Ok(()), |pattern| {
            Err(GitError::Protected {
                branch: branch.to_owned(),
                pattern: pattern.to_owned(),
            })
        })
    }
}

/// Returns whether a pattern, in which `*` stands for any characters, fits all of a name.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((begin, mut rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(begin) else {
        return false;
    };
    while let Some((part, behind)) = rest.split_once('*') {
        let Some((_, after)) = left.split_once(part) else {
            return false;
        };
        (left, rest) = (after, behind);
    }
    left.ends_with(rest)
}

impl Repository {
    /// Returns what is protected here: always some, what `loki.protected` in the repository's own
    /// configuration adds, and the default branch of each remote, as far as it is known here.
    ///
    /// # Errors
    /// When git fails.
    pub fn protected(&self) -> Result<Protected, GitError> {
        let mut patterns: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
        let call = self.place.reading("config");
        let added = call
            .args(["--get-all", "-z", SETTING])
            .accept(&[0, 1])
            .run()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        patterns.extend(added.records().map(text).filter(|one| !one.is_empty()));
        let call = self.place.reading("for-each-ref");
        let heads = call
            .args(["--format=%(symref:lstrip=3)", "--", "refs/remotes/*/HEAD"])
            .run()?;
        let heads = String::from_utf8_lossy(&heads.stdout).into_owned();
        patterns.extend(
            heads
                .lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
        Ok(Protected(patterns))
    }
}

#[cfg(test)]
mod tests {
    use super::fits;
    use crate::git::{GitError, world::World};

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "mainly", false),
            ("release/*", "release/1/2", true),
            ("release/*", "release", false),
            ("*-stable", "v1-stable", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "anything", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_repository_protects_more_and_never_less() {
        let world = World::new();
        world.git(&["config", "--add", "loki.protected", "loki/r9"]);
        world.git(&["config", "--add", "loki.protected", " hot*fix "]);
        world.git(&["update-ref", "refs/remotes/origin/next", "HEAD"]);
        world.git(&[
            "symbolic-ref",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/next",
        ]);
        let protected = world.open().protected().unwrap();
        for branch in [
            "main",
            "MASTER",
            "release/2",
            "next",
            "hot-a-fix",
            "loki/r9",
        ] {
            assert!(protected.of(branch).is_some(), "{branch}");
        }
        for branch in ["loki/r1", "feature/x"] {
            assert_eq!(protected.of(branch), None, "{branch}");
        }
    }

    #[test]
    fn attack_g06_no_ref_but_lokis_own_is_ever_written() {
        let world = World::new();
        let repository = world.open();
        let (head, main) = (repository.head(), world.git(&["rev-parse", "main"]));
        for name in [
            "refs/heads/main",
            "refs/heads/loki",
            "HEAD",
            "refs/heads/loki/../main",
            "refs/heads/loki/a\x1b[2J",
            "refs/heads/loki/a\nb",
            "--stdin",
            "refs/tags/v1",
            "refs/remotes/origin/main",
        ] {
            let refused = repository.move_ref(name, Some(head), head).unwrap_err();
            assert!(
                matches!(refused, GitError::ForeignRef { .. }),
                "{name}: {refused}"
            );
            let refused = repository.delete_refs(&[name.to_owned()]).unwrap_err();
            assert!(
                matches!(refused, GitError::ForeignRef { .. }),
                "{name}: {refused}"
            );
        }
        assert_eq!(world.git(&["rev-parse", "main"]), main);
    }

    #[test]
    fn attack_g06_a_branch_of_the_run_that_points_elsewhere_leads_nowhere() {
        let world = World::new();
        let repository = world.open();
        let base = repository.head().clone();
        world.file("src/more", "1\n");
        world.git(&["checkout", "-q", "-b", "work"]);
        world.save("more");
        let more = repository.resolve("work").unwrap();
        world.git(&["symbolic-ref", "refs/heads/loki/r1", "refs/heads/main"]);
        repository.advance(&world.run, &base, &more).ok();
        assert_eq!(world.git(&["rev-parse", "main"]), base.as_str());
    }

    #[test]
    fn landing_on_a_protected_branch_is_refused() {
        let world = World::new();
        let repository = world.open();
        let base = repository.head().clone();
        repository.create_run_branch(&world.run, &base).unwrap();
        world.git(&["config", "loki.protected", "loki/*"]);
        let refused = repository.advance(&world.run, &base, &base).unwrap_err();
        assert!(refused.to_string().contains("`loki/*`"), "{refused}");
    }
}
