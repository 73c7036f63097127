//! Landlock: path rules become a ruleset.
//!
//! Every right of the kernel's ABI (up to 6) is handled, so what no rule allows is denied. Network
//! rights are not handled: the sandbox has no network, and servers on its loopback must work.

use std::{error::Error, io, os::fd::OwnedFd, path::Path, rc::Rc};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use loki_guest::{AGENT_TREES, NEWEST_LANDLOCK, PathRule};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
};

/// Where a bare program name is looked up.
const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];
/// The first ABI that knows scopes.
const SCOPED: u32 = 6;

/// Most rulesets kept: one for the agent, and a few for what else runs beside it.
const KEPT: usize = 4;

/// What this sandbox gives for rules.
pub(crate) struct Landlock {
    /// The kernel's ABI, 0 when it has none.
    pub(crate) abi: u32,
    /// What was made so far, the newest last: a role may run hundreds of programs, and looking them
    /// up and adding their rules for each exec takes longer than the exec itself.
    made: Vec<Made>,
    /// What the first exec of a role finds ready, so that it does not wait for that.
    ahead: Option<Ahead>,
}

/// A ruleset with rules on the image, to which an exec adds its other rules.
struct Ahead {
    abi: u32,
    rules: Vec<PathRule>,
    ruleset: RulesetCreated,
}

/// A ruleset, and what it was made of.
#[derive(Debug)]
struct Made {
    abi: u32,
    rules: Vec<PathRule>,
    /// What the rules on trees that agents write led to. Nothing else can be replaced in a sandbox:
    /// what another rule led to once it leads to always.
    own: Vec<Vec<Id>>,
    ruleset: Rc<OwnedFd>,
}

/// Device and inode. A ruleset holds on to the files of its rules, so none of them is used anew.
type Id = (u64, u64);

/// A file that a rule leads to.
#[derive(Debug)]
struct Target {
    file: OwnedFd,
    kind: FileType,
    id: Id,
}

impl Landlock {
    pub(crate) fn new(abi: u32) -> Self {
        let (made, ahead) = (Vec::new(), None);
        Self { abi, made, ahead }
    }

    /// Makes a ruleset ready with those of the rules that are about the image. What an agent may
    /// write is looked up by the exec itself: until then it may be replaced.
    pub(crate) fn prepare(&mut self, newest: u32, rules: &[PathRule]) {
        let abi = self.abi.min(newest).min(NEWEST_LANDLOCK);
        let image = |rule: &&PathRule| !is_own(rule);
        let rules: Vec<PathRule> = rules.iter().filter(image).cloned().collect();
        // What fails here fails once more for the exec, which says so.
        self.ahead = empty(abi)
            .and_then(|fresh| filled(fresh, abi, rules.iter().map(|rule| (rule, None))))
            .ok()
            .map(|ruleset| Ahead {
                abi,
                rules,
                ruleset,
            });
    }

    /// Takes the ruleset that is ready if every rule in it is among these, and says which of them
    /// it lacks.
    fn begun(
        &mut self,
        abi: u32,
        rules: &[PathRule],
    ) -> Result<(RulesetCreated, Vec<bool>), Errno> {
        let fits = self.ahead.as_ref().filter(|ahead| ahead.abi == abi);
        if let Some(lacking) = fits.and_then(|ahead| lacking(rules, &ahead.rules))
            && let Some(ahead) = self.ahead.take()
        {
            return Ok((ahead.ruleset, lacking));
        }
        Ok((empty(abi)?, vec![true; rules.len()]))
    }

    /// Returns the ruleset of these rules, with no right of an ABI newer than `newest`.
    ///
    /// # Errors
    /// `ENOSYS` without Landlock, else what the kernel said. A path that does not exist is skipped.
    pub(crate) fn ruleset(
        &mut self,
        newest: u32,
        rules: &[PathRule],
    ) -> Result<Rc<OwnedFd>, Errno> {
        let abi = self.abi.min(newest).min(NEWEST_LANDLOCK);
        let opened: Vec<_> = rules.iter().map(own).collect::<Result<_, _>>()?;
        let ids = |targets: &Vec<Target>| targets.iter().map(|target| target.id).collect();
        let own: Vec<Vec<Id>> = opened.iter().flatten().map(ids).collect();
        let same = |made: &&Made| made.abi == abi && made.own == own && made.rules == rules;
        if let Some(made) = self.made.iter().find(same) {
            return Ok(Rc::clone(&made.ruleset));
        }
        let (begun, lacking) = self.begun(abi, rules)?;
        let rest = rules.iter().zip(opened).zip(lacking);
        let rest = rest.filter_map(|(rule, lacks)| lacks.then_some(rule));
        let complete = filled(begun, abi, rest)?;
        let ruleset = Option::<OwnedFd>::from(complete).ok_or(Errno::NOSYS)?;
        let ruleset = Rc::new(ruleset);
        if self.made.len() == KEPT {
            self.made.remove(0);
        }
        self.made.push(Made {
            abi,
            rules: rules.to_vec(),
            own,
            ruleset: Rc::clone(&ruleset),
        });
        Ok(ruleset)
    }
}

/// Says of each rule whether it is missing in `part`; none where `part` is no part of them, in
/// their order.
fn lacking(rules: &[PathRule], part: &[PathRule]) -> Option<Vec<bool>> {
    let mut rest = part.iter().peekable();
    let lacks = |rule| rest.next_if(|next| *next == rule).is_none();
    let lacking = rules.iter().map(lacks).collect();
    rest.next().is_none().then_some(lacking)
}

/// Whether a rule is on a tree that agents write.
fn is_own(rule: &PathRule) -> bool {
    AGENT_TREES
        .iter()
        .any(|tree| Path::new(&rule.path).starts_with(tree))
}

/// Opens what a rule on a tree that agents write leads to; none for another rule.
fn own(rule: &PathRule) -> Result<Option<Vec<Target>>, Errno> {
    is_own(rule)
        .then(|| beneath(open_without_symlinks(&rule.path)))
        .transpose()
}

/// Makes a ruleset that allows nothing.
fn empty(abi: u32) -> Result<RulesetCreated, Errno> {
    if abi == 0 {
        return Err(Errno::NOSYS);
    }
    let version = ABI::from(abi.cast_signed());
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(version))
        .map_err(errno_of)?;
    if abi >= SCOPED {
        ruleset = ruleset.scope(Scope::from_all(version)).map_err(errno_of)?;
    }
    ruleset.create().map_err(errno_of)
}

/// Adds rules, some of whose targets are open already.
fn filled<'r>(
    mut created: RulesetCreated,
    abi: u32,
    rules: impl Iterator<Item = (&'r PathRule, Option<Vec<Target>>)>,
) -> Result<RulesetCreated, Errno> {
    let version = ABI::from(abi.cast_signed());
    let mut programs = false;
    for (rule, opened) in rules {
        programs |= !rule.path.starts_with('/');
        let targets = opened.map_or_else(|| targets(rule), Ok)?;
        created = add(created, rule, &targets, version)?;
    }
    if programs {
        listed(created)
    } else {
        Ok(created)
    }
}

/// Lets the names in the directories of programs be listed, though nothing there be read by that:
/// some programs, such as pip, look at what lies beside them and end when they may not.
fn listed(mut created: RulesetCreated) -> Result<RulesetCreated, Errno> {
    for directory in PROGRAM_DIRECTORIES {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Some(target) = present(openat(CWD, directory, flags, Mode::empty()))? {
            created = created
                .add_rule(PathBeneath::new(&target.file, AccessFs::ReadDir))
                .map_err(errno_of)?;
        }
    }
    Ok(created)
}

fn add(
    mut created: RulesetCreated,
    rule: &PathRule,
    targets: &[Target],
    abi: ABI,
) -> Result<RulesetCreated, Errno> {
    for Target { file, kind, .. } in targets {
        let access = access(rule, *kind, abi);
        if !access.is_empty() {
            created = created
                .add_rule(PathBeneath::new(file, access))
                .map_err(errno_of)?;
        }
    }
    Ok(created)
}

/// What a rule means for a file of this kind.
///
/// Device nodes are in no right to write: a sandbox has no business making them.
fn access(rule: &PathRule, kind: FileType, abi: ABI) -> BitFlags<AccessFs> {
    let mut access = BitFlags::empty();
    if rule.read {
        access |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if rule.write {
        access |= AccessFs::from_write(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    }
    if rule.execute {
        access |= AccessFs::Execute;
    }
    if kind != FileType::Directory {
        access &= AccessFs::from_file(abi);
    }
    access
}

/// Opens what a rule on the image leads to.
fn targets(rule: &PathRule) -> Result<Vec<Target>, Errno> {
    let path = Path::new(&rule.path);
    if !path.is_absolute() {
        return programs(&rule.path);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    beneath(openat(CWD, path, flags, Mode::empty()))
}

fn beneath(opened: Result<OwnedFd, Errno>) -> Result<Vec<Target>, Errno> {
    let found = present(opened)?;
    let found = found.filter(|target| target.kind != FileType::Symlink);
    Ok(found.into_iter().collect())
}

/// Finds a program by its bare name; only regular files are programs. One that several directories
/// lead to is found once.
fn programs(name: &str) -> Result<Vec<Target>, Errno> {
    if name.is_empty() || name.contains('/') {
        return Err(Errno::INVAL);
    }
    let mut found: Vec<Target> = Vec::new();
    for directory in PROGRAM_DIRECTORIES {
        let path = format!("{directory}/{name}");
        let opened = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let Some(target) = present(opened)? else {
            continue;
        };
        let known = found.iter().any(|other| other.id == target.id);
        if target.kind == FileType::RegularFile && !known {
            found.push(target);
        }
    }
    Ok(found)
}

/// Opens a path of a tree that agents write, one component at a time.
fn open_without_symlinks(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opened = openat(CWD, "/", flags, Mode::empty())?;
    for component in path.split('/').filter(|component| !component.is_empty()) {
        if component == "." || component == ".." {
            return Err(Errno::INVAL);
        }
        opened = openat(&opened, component, flags, Mode::empty())?;
    }
    Ok(opened)
}

fn present(opened: Result<OwnedFd, Errno>) -> Result<Option<Target>, Errno> {
    match opened {
        Ok(file) => {
            let stat = fstat(&file)?;
            Ok(Some(Target {
                file,
                kind: FileType::from_raw_mode(stat.st_mode),
                id: (stat.st_dev, stat.st_ino),
            }))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The operating system's error somewhere in the causes of an error.
fn errno_of(error: RulesetError) -> Errno {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(os) = current
            .downcast_ref::<io::Error>()
            .and_then(Errno::from_io_error)
        {
            return os;
        }
        cause = current.source();
    }
    Errno::NOSYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &str, rights: &str) -> PathRule {
        let has = |right: char| rights.contains(right);
        PathRule {
            path: path.to_owned(),
            read: has('r'),
            write: has('w'),
            execute: has('x'),
        }
    }

    /// Makes a directory in a tree that agents write.
    fn tempdir(name: &str) -> std::path::PathBuf {
        let name = format!("loki-rules-{name}-{}", std::process::id());
        let directory = Path::new("/tmp").join(name);
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn writing_is_not_executing_and_makes_no_devices() {
        let granted = access(&rule("/x", "rw"), FileType::Directory, ABI::V6);
        let denied = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock;
        assert!(!granted.intersects(denied));
        assert!(granted.contains(AccessFs::Refer | AccessFs::Truncate | AccessFs::MakeReg));
    }

    #[test]
    fn a_file_gets_only_rights_of_files() {
        let granted = access(&rule("/x", "rwx"), FileType::RegularFile, ABI::V3);
        let files = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Execute;
        assert_eq!(granted, files | AccessFs::Truncate);
    }

    #[test]
    fn reading_never_changes_anything() {
        for abi in [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6] {
            let granted = access(&rule("/x", "r"), FileType::Directory, abi);
            assert_eq!(granted, AccessFs::ReadFile | AccessFs::ReadDir);
        }
    }

    #[test]
    fn a_program_is_a_regular_file_found_by_its_bare_name() {
        assert!(!programs("sh").unwrap().is_empty());
        assert!(programs("no-such-program").unwrap().is_empty());
        assert!(programs("..").unwrap().is_empty());
        assert_eq!(programs("../bin/sh").unwrap_err(), Errno::INVAL);
        assert_eq!(programs("").unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn a_kernel_without_landlock_is_refused() {
        let refused = Landlock::new(0).ruleset(6, &[]);
        assert_eq!(refused.unwrap_err(), Errno::NOSYS);
    }

    #[test]
    fn a_ruleset_is_made_anew_only_when_rules_or_an_agents_files_changed() {
        let directory = tempdir("made");
        let own = directory.join("own");
        std::fs::create_dir(&own).unwrap();
        let rules = [rule("sh", "rx"), rule(&own.display().to_string(), "rw")];
        let mut landlock = Landlock::new(1);
        let mut made = |rules: &[PathRule]| landlock.ruleset(6, rules).unwrap();
        let first = made(&rules);
        assert!(Rc::ptr_eq(&first, &made(&rules)));
        let fewer = made(&rules[..1]);
        assert!(!Rc::ptr_eq(&first, &fewer));
        assert!(Rc::ptr_eq(&first, &made(&rules)));
        std::fs::rename(&own, directory.join("other")).unwrap();
        let without = made(&rules);
        assert!(!Rc::ptr_eq(&first, &without));
        std::os::unix::fs::symlink(directory.join("other"), &own).unwrap();
        assert!(Rc::ptr_eq(&without, &made(&rules)), "a link leads nowhere");
        std::fs::remove_file(&own).unwrap();
        std::fs::create_dir(&own).unwrap();
        let anew = made(&rules);
        assert!(!Rc::ptr_eq(&first, &anew) && !Rc::ptr_eq(&without, &anew));
        for n in 0..2 * KEPT {
            drop(made(&[rule(&format!("no-such-{n}"), "x")]));
        }
        assert!(landlock.made.len() <= KEPT);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_ready_is_taken_once_and_only_by_rules_that_hold_all_of_it() {
        let directory = tempdir("ready");
        let own = rule(&directory.display().to_string(), "rw");
        let rules = [rule("sh", "rx"), own.clone(), rule("/etc", "r")];
        let mut landlock = Landlock::new(1);
        landlock.prepare(6, &rules);
        let ready = landlock.ahead.as_ref().unwrap();
        assert_eq!(ready.rules, [rules[0].clone(), rules[2].clone()]);
        for other in [
            &rules[..2],
            &rules[1..],
            &[rule("sh", "r"), rules[2].clone()],
        ] {
            landlock.ruleset(6, other).unwrap();
            assert!(landlock.ahead.is_some(), "{other:?}");
        }
        let more = [rules[0].clone(), own, rules[2].clone(), rule("cat", "rx")];
        landlock.ruleset(6, &more).unwrap();
        assert!(landlock.ahead.is_none());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn an_exec_adds_what_the_ready_rules_lack() {
        let all = ["a", "b", "c", "d"].map(|name| rule(name, "r"));
        let part = [all[1].clone(), all[3].clone()];
        assert_eq!(lacking(&all, &part), Some(vec![true, false, true, false]));
        assert_eq!(lacking(&all, &[]), Some(vec![true; 4]));
        assert_eq!(lacking(&part, &all), None);
        assert_eq!(lacking(&all, &[all[3].clone(), all[1].clone()]), None);
    }

    #[test]
    fn an_agents_symbolic_link_leads_nowhere() {
        let directory = tempdir("link");
        let link = directory.join("link");
        std::os::unix::fs::symlink("/usr/bin", &link).unwrap();
        let through = [link.clone(), link.join("env")].map(|path| path.display().to_string());
        let opened = |path: &str| own(&rule(path, "rwx")).unwrap().unwrap().len();
        let found = through.map(|path| opened(&path));
        let control = opened(&directory.display().to_string());
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((found, control), ([0, 0], 1));
    }
}
