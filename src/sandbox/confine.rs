//! From a role's rights to what the kernel holds its programs to. One pure function.
//!
//! Landlock knows directories and files, not globs: a glob is widened to the nearest directory that
//! it names, and the hand-over gate makes it exact again. Reading is granted on the worktree as a
//! whole, because files that the role may not read are not in it. What no rule names is denied:
//! above all, a program of the image that may not run may not be read either, or the dynamic loader
//! would run it.

use std::collections::BTreeSet;

use loki_guest::{Confinement, NEWEST_LANDLOCK, PathRule};

use super::{companions, delivery, syscalls};
use crate::policy::{Program, Rights};

/// Where the worktree is mounted.
const WORKTREE: &str = "/work";
/// The agent's own repository, on tmpfs, read by nobody else.
const REPOSITORY: &str = "/work/.git";
/// What the agent may fill as it likes. Run from as well, when the role runs its own programs.
const OWN: [&str; 2] = ["/tmp", "/home/agent"];

/// What programs of any kind read: libraries, data, settings, and what tells them about themselves.
const READ: [&str; 15] = [
    "/etc",
    "/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/lib64",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/locale",
    // What /etc/os-release leads to, which pip does not start without.
    "/usr/lib/os-release",
    "/usr/lib/ssl",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/local/share",
    "/usr/share",
];
/// What starts every program that is not static.
const LOADERS: [&str; 2] = ["/lib/ld-linux-aarch64.so.1", "/lib64/ld-linux-x86-64.so.2"];
/// Devices that are no device of the machine.
const DEVICES: [&str; 8] = [
    "/dev/full",
    "/dev/null",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Linux's numbers of the limits, the same on every machine we build for.
const LIMIT_FILE_SIZE: u32 = 1;
const LIMIT_CORE: u32 = 4;
const LIMIT_OPEN_FILES: u32 = 7;
/// Open files an agent may hold; hosts give ordinary users at least as many.
pub(super) const OPEN_FILES: u64 = 4096;

/// What a caller gives or takes beyond the role's rights, for one kind of sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Rules on top, such as a provider's program under `/home/agent`.
    pub extra: Vec<PathRule>,
    /// The worktree is not written, whatever the role may: for reviews and checks.
    pub read_only: bool,
}

/// Returns what the kernel holds a role's programs to.
#[must_use]
pub fn confinement(rights: &Rights, grant: &Grant) -> Confinement {
    let mut paths = system();
    paths.extend(programs(rights));
    paths.extend(worktree(rights, grant));
    paths.extend(delivery::rules(rights));
    paths.extend(grant.extra.iter().cloned());
    Confinement {
        paths,
        filters: vec![syscalls::filter()],
        meter: None,
        limits: vec![
            (LIMIT_FILE_SIZE, rights.resources.disk),
            (LIMIT_CORE, 0),
            (LIMIT_OPEN_FILES, OPEN_FILES),
        ],
        landlock: NEWEST_LANDLOCK,
    }
}

/// Returns the directories, relative to the worktree, that the role's write globs are widened to;
/// empty is the worktree itself. They must exist before a program starts: a rule binds to what is
/// there, and the kernel skips what is not.
#[must_use]
pub fn writable_directories(rights: &Rights) -> BTreeSet<String> {
    rights
        .files
        .write
        .0
        .iter()
        .map(|glob| glob.directory().to_owned())
        .collect()
}

fn system() -> Vec<PathRule> {
    let read = READ.iter().map(|path| rule(path, Right::Read));
    let run = LOADERS.iter().map(|path| rule(path, Right::Run));
    read.chain(run)
        .chain(DEVICES.iter().map(|path| rule(path, Right::Write)))
        .collect()
}

fn programs(rights: &Rights) -> Vec<PathRule> {
    let names = rights.programs.iter().filter_map(|program| match program {
        Program::Image(name) => Some(name.as_str()),
        Program::Worktree(_) => None,
    });
    let mut rules = Vec::new();
    for name in names {
        rules.push(rule(name, Right::Run));
        for companions in companions::of(name) {
            rules.extend(companions.reads.iter().map(|path| rule(path, Right::Read)));
            rules.extend(companions.runs.iter().map(|path| rule(path, Right::Run)));
        }
    }
    rules
}

fn worktree(rights: &Rights, grant: &Grant) -> Vec<PathRule> {
    let built: BTreeSet<&str> = rights.programs.iter().filter_map(own_programs).collect();
    let mut rules = vec![rule(WORKTREE, Right::Read), rule(REPOSITORY, Right::Write)];
    if !grant.read_only {
        let directories = writable_directories(rights);
        rules.extend(
            directories
                .iter()
                .map(|directory| rule(&at(directory), Right::Write)),
        );
    }
    let own = OWN.iter().map(|path| rule(path, Right::Write));
    rules.extend(own.map(|own| PathRule {
        execute: !built.is_empty(),
        ..own
    }));
    rules.extend(
        built
            .into_iter()
            .map(|directory| rule(&at(directory), Right::Run)),
    );
    rules
}

fn own_programs(program: &Program) -> Option<&str> {
    match program {
        Program::Worktree(glob) => Some(glob.directory()),
        Program::Image(_) => None,
    }
}

fn at(directory: &str) -> String {
    if directory.is_empty() {
        WORKTREE.to_owned()
    } else {
        format!("{WORKTREE}/{directory}")
    }
}

enum Right {
    Read,
    /// Reading and writing.
    Write,
    /// Reading and executing.
    Run,
}

fn rule(path: &str, right: Right) -> PathRule {
    let (write, execute) = match right {
        Right::Read => (false, false),
        Right::Write => (true, false),
        Right::Run => (false, true),
    };
    PathRule {
        path: path.to_owned(),
        read: true,
        write,
        execute,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use proptest::prelude::{Strategy, prop, proptest};

    use super::*;
    use crate::policy::{Egress, Files, Glob, Globs, Minimum, Rates, Resources};

    fn glob(text: &str) -> Glob {
        Glob {
            text: text.to_owned(),
            origin: crate::policy::Origin::default(),
            except: Vec::new(),
        }
    }

    fn rights(write: &[&str], programs: Vec<Program>) -> Rights {
        Rights {
            role: "eng-backend".parse().unwrap(),
            description: String::new(),
            image: "base".to_owned(),
            files: Files {
                read: Globs(vec![glob("**")]),
                write: Globs(write.iter().map(|text| glob(text)).collect()),
            },
            programs,
            host_executable: Vec::new(),
            program_origins: std::collections::BTreeMap::new(),
            egress: Egress::default(),
            resources: Resources {
                cpus: 1.0,
                memory: 1 << 30,
                pids: 64,
                disk: 1 << 20,
                timeout: Duration::from_secs(60),
                idle_timeout: Duration::from_secs(60),
                log: 1 << 20,
            },
            rates: Rates::default(),
            minimum: Minimum::default(),
            secrets: Vec::new(),
            deliveries: Vec::new(),
            origins: std::collections::BTreeMap::new(),
        }
    }

    fn under(rules: &[PathRule], path: &str, has: fn(&PathRule) -> bool) -> bool {
        rules
            .iter()
            .any(|rule| has(rule) && Path::new(path).starts_with(&rule.path))
    }

    fn rules(write: &[&str], programs: Vec<Program>) -> Vec<PathRule> {
        confinement(&rights(write, programs), &Grant::default()).paths
    }

    #[test]
    fn no_rights_write_nowhere_in_the_worktree_and_run_nothing() {
        let rules = rules(&[], Vec::new());
        assert!(!under(&rules, "/work/src/x", |rule| rule.write));
        assert!(under(&rules, "/work/src/x", |rule| rule.read));
        let executed: Vec<_> = rules.iter().filter(|rule| rule.execute).collect();
        assert!(
            executed
                .iter()
                .all(|rule| LOADERS.contains(&rule.path.as_str()))
        );
    }

    #[test]
    fn programs_of_the_image_are_not_readable_unless_allowed() {
        let rules = rules(&["**"], vec![Program::Image("node".to_owned())]);
        for path in [
            "/usr/bin/curl",
            "/bin/sh",
            "/usr/local/bin/x",
            "/usr/lib/git-core/git",
        ] {
            assert!(!under(&rules, path, |rule| rule.read), "{path}");
        }
        assert!(
            rules
                .iter()
                .any(|rule| rule.path == "node" && rule.execute && !rule.write)
        );
        assert!(under(
            &rules,
            "/usr/lib/node_modules/npm/bin/npm-cli.js",
            |rule| rule.execute
        ));
    }

    #[test]
    fn nothing_of_the_system_is_written_and_nothing_of_the_host_is_read() {
        let rules = rules(&["**"], vec![Program::Image("git".to_owned())]);
        for path in [
            "/",
            "/usr",
            "/etc/passwd",
            "/proc/1/mem",
            "/dev/kmsg",
            "/loki/guest",
        ] {
            assert!(!under(&rules, path, |rule| rule.write), "{path}");
        }
        for path in [
            "/root",
            "/loki/guest",
            "/loki/link",
            "/dev/mem",
            "/var",
            "/home/other",
        ] {
            assert!(!under(&rules, path, |rule| rule.read), "{path}");
        }
    }

    #[test]
    fn own_programs_run_where_the_glob_says_and_in_scratch_space() {
        let rules = rules(&["src/**"], vec![Program::Worktree(glob("target/**"))]);
        assert!(under(&rules, "/work/target/debug/app", |rule| rule.execute));
        assert!(under(&rules, "/tmp/x", |rule| rule.execute));
        assert!(!under(&rules, "/work/src/x", |rule| rule.execute));
    }

    #[test]
    fn a_read_only_sandbox_writes_only_scratch_space() {
        let grant = Grant {
            read_only: true,
            extra: Vec::new(),
        };
        let rules = confinement(&rights(&["**"], Vec::new()), &grant).paths;
        assert!(!under(&rules, "/work/x", |rule| rule.write));
        assert!(under(&rules, "/work/.git/index", |rule| rule.write));
        assert!(under(&rules, "/tmp/x", |rule| rule.write));
    }

    #[test]
    fn limits_hold_files_and_cores_and_never_count_processes() {
        let limits = confinement(&rights(&[], Vec::new()), &Grant::default()).limits;
        assert_eq!(limits, [(1, 1 << 20), (4, 0), (7, OPEN_FILES)]);
    }

    fn component() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "src", "a", "docs", "*", "**", "x*", "?b", "[ab]c", "{d,e}",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn what_a_glob_allows_lies_under_its_rule_and_nothing_else_is_written(
            globs in prop::collection::vec(prop::collection::vec(component(), 1..5), 1..4),
        ) {
            let texts: Vec<String> = globs.iter().map(|parts| parts.join("/")).collect();
            let rules = rules(&texts.iter().map(String::as_str).collect::<Vec<_>>(), Vec::new());
            for text in &texts {
                let matching = text
                    .replace("**", "deep/er").replace("x*", "xyz").replace('*', "any")
                    .replace('?', "q").replace("[ab]", "a").replace("{d,e}", "e");
                let matcher = globset::Glob::new(text).unwrap().compile_matcher();
                assert!(matcher.is_match(&matching), "{text} {matching}");
                assert!(under(&rules, &format!("/work/{matching}"), |rule| rule.write));
            }
            let allowed: Vec<String> = texts.iter().map(|text| at(glob(text).directory())).collect();
            for rule in rules.iter().filter(|rule| rule.write && rule.path != REPOSITORY) {
                let elsewhere = OWN.contains(&&*rule.path) || DEVICES.contains(&&*rule.path);
                assert!(elsewhere || allowed.contains(&rule.path), "{}", rule.path);
            }
        }
    }
}
