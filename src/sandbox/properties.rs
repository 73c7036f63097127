//! What the rules of a role are for any globs at all: everything that a glob allows is covered,
//! and nothing outside the directories that the globs are widened to.

use std::{path::Path, sync::LazyLock};

use loki_guest::PathRule;
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, proptest};

use super::{Grant, confinement, sample::shipped};
use crate::policy::{Glob, Globs, Origin, Program, Rights};

/// What literal components are made of, in globs and in paths.
const NAMES: [&str; 6] = ["src", "a", "docs", "x.ts", ".env", "ü"];
const PATTERNS: [&str; 7] = ["*", "**", "x*", "?", "{src,a}", "*.ts", "d{ocs,}*"];
/// What is no place of the agent's at all.
const FOREIGN: [&str; 12] = [
    "/", "/bin", "/boot", "/home", "/loki", "/mnt", "/opt", "/root", "/run", "/usr", "/usr/bin",
    "/var",
];

fn glob() -> impl Strategy<Value = Glob> {
    let part = prop::sample::select([&NAMES[..], &PATTERNS].concat());
    prop::collection::vec(part, 1..5).prop_filter_map("a glob that policies take", |parts| {
        Glob::parse(&parts.join("/"), Origin::default()).ok()
    })
}

fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select([&NAMES[..], &["xyz", "q", "deep.ts"]].concat());
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.join("/"))
}

/// A path that a glob may well match: its patterns replaced by something that they match.
fn matching(glob: &Glob) -> String {
    let text = glob.text.replace("{src,a}", "a").replace("{ocs,}", "ocs");
    text.replace("**", "src/q")
        .replace('*', "y")
        .replace('?', "q")
}

/// The policy is read once: that takes longer than all that is tried on it.
static BUILDER: LazyLock<Rights> = LazyLock::new(|| shipped("eng-backend"));

fn rights(write: Vec<Glob>, run: Vec<Glob>) -> Rights {
    let mut rights = BUILDER.clone();
    rights.files.write = Globs(write);
    rights.programs = run.into_iter().map(Program::Worktree).collect();
    rights
}

fn covered(rules: &[PathRule], path: &str, has: fn(&PathRule) -> bool) -> bool {
    let path = Path::new("/work").join(path);
    rules
        .iter()
        .any(|rule| has(rule) && path.starts_with(&rule.path))
}

/// Whether a path lies in the directory that a glob is widened to: told apart from the code under
/// test by going through it part by part.
fn is_below(glob: &Glob, path: &str) -> bool {
    let literal = |part: &&str| !part.contains(['*', '?', '{']);
    let mut directory: Vec<&str> = glob.text.split('/').take_while(literal).collect();
    if directory.len() == glob.text.split('/').count() {
        directory.pop();
    }
    let parts: Vec<&str> = path.split('/').collect();
    parts.starts_with(&directory)
}

proptest! {
    #[test]
    fn rules_cover_what_globs_allow_and_nothing_outside_their_directories(
        write in prop::collection::vec(glob(), 0..5),
        run in prop::collection::vec(glob(), 0..3),
        paths in prop::collection::vec(path(), 1..40),
    ) {
        let rights = rights(write.clone(), run.clone());
        let rules = confinement(&rights, &Grant::default()).paths;
        let runs = Globs(run.clone());
        let all = write.iter().chain(&run).map(matching).chain(paths);
        for path in all {
            let (may_write, may_run) = (rights.files.write.matches(&path), runs.matches(&path));
            let (writes, executes) = (covered(&rules, &path, |rule| rule.write), covered(&rules, &path, |rule| rule.execute));
            prop_assert!(may_write.is_none() || writes, "{path} may be written and cannot");
            prop_assert!(may_run.is_none() || executes, "{path} may run and cannot");
            prop_assert_eq!(writes, write.iter().any(|glob| is_below(glob, &path)), "write {}", path);
            prop_assert_eq!(executes, run.iter().any(|glob| is_below(glob, &path)), "run {}", path);
            prop_assert!(covered(&rules, &path, |rule| rule.read), "{path} is there and cannot be read");
        }
    }

    #[test]
    fn a_glob_matches_nothing_that_its_rule_does_not_cover(one in glob()) {
        let path = matching(&one);
        let globs = Globs(vec![one]);
        prop_assert!(globs.matches(&path).is_some(), "{path} shows nothing");
    }

    #[test]
    fn no_rule_is_on_the_root_on_a_parent_or_on_what_is_not_the_agents(
        write in prop::collection::vec(glob(), 0..5),
        run in prop::collection::vec(glob(), 0..3),
    ) {
        let rules = confinement(&rights(write, run), &Grant::default()).paths;
        for rule in &rules {
            prop_assert!(rule.path.split('/').all(|part| !matches!(part, "." | "..")), "{}", rule.path);
            prop_assert!(!FOREIGN.contains(&rule.path.as_str()), "{}", rule.path);
            let own = ["/work", "/tmp", "/home/agent"].iter().any(|own| Path::new(&rule.path).starts_with(own));
            prop_assert!(own || !rule.write || rule.path.starts_with("/dev/"), "{}", rule.path);
            prop_assert!(!(rule.write && rule.execute) || rule.path == "/tmp" || rule.path == "/home/agent", "{}", rule.path);
        }
    }

    #[test]
    fn a_read_only_grant_leaves_no_glob_a_rule_to_write(write in prop::collection::vec(glob(), 1..5)) {
        let grant = Grant { read_only: true, extra: Vec::new() };
        let rules = confinement(&rights(write, Vec::new()), &grant).paths;
        let written = rules.iter().filter(|rule| rule.write && rule.path.starts_with("/work"));
        let written: Vec<&str> = written.map(|rule| rule.path.as_str()).collect();
        prop_assert_eq!(written, ["/work/.git"]);
    }
}
