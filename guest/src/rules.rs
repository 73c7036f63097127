//! Landlock: path rules become a ruleset.
//!
//! Every right of the kernel's ABI (up to 6) is handled, so what no rule allows is denied. Network
//! rights are not handled: the sandbox has no network, and servers on its loopback must work.

use std::{
    collections::{HashMap, hash_map::Entry},
    error::Error,
    io,
    os::fd::OwnedFd,
    path::Path,
};

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

/// Most descriptors that [`Image`] keeps: an engine may allow a guest no more than 1024 in all.
const KEPT: usize = 600;

/// What this sandbox gives for rules.
#[derive(Debug)]
pub(crate) struct Landlock {
    /// The kernel's ABI, 0 when it has none.
    pub(crate) abi: u32,
    /// What was opened so far.
    pub(crate) image: Image,
}

/// A file, and its kind.
type Target = (OwnedFd, FileType);

/// What the image holds, opened at its first use: a role may run hundreds of programs, and looking
/// each up in every directory for each exec takes many times as long as the exec itself. Nothing
/// outside of the trees that agents write can be replaced in a sandbox, so what a path led to once
/// it leads to always.
#[derive(Debug, Default)]
pub(crate) struct Image {
    found: HashMap<String, Vec<Target>>,
    kept: usize,
}

impl Image {
    /// Adds what a rule means to a ruleset.
    fn add(
        &mut self,
        created: RulesetCreated,
        rule: &PathRule,
        abi: ABI,
    ) -> Result<RulesetCreated, Errno> {
        let fixed = !AGENT_TREES
            .iter()
            .any(|tree| Path::new(&rule.path).starts_with(tree));
        match self.found.entry(rule.path.clone()) {
            Entry::Occupied(known) => add(created, rule, known.get(), abi),
            Entry::Vacant(vacant) if fixed && self.kept < KEPT => {
                let found = vacant.insert(targets(rule)?);
                self.kept += found.len();
                add(created, rule, found, abi)
            }
            Entry::Vacant(_) => add(created, rule, &targets(rule)?, abi),
        }
    }
}

fn add(
    mut created: RulesetCreated,
    rule: &PathRule,
    targets: &[Target],
    abi: ABI,
) -> Result<RulesetCreated, Errno> {
    for (target, kind) in targets {
        let access = access(rule, *kind, abi);
        if !access.is_empty() {
            created = created
                .add_rule(PathBeneath::new(target, access))
                .map_err(errno_of)?;
        }
    }
    Ok(created)
}

/// Returns the ruleset of these rules on a kernel of this Landlock ABI.
///
/// # Errors
/// `ENOSYS` without Landlock, else what the kernel said. A path that does not exist is skipped.
pub(crate) fn ruleset(abi: u32, rules: &[PathRule], image: &mut Image) -> Result<OwnedFd, Errno> {
    if abi == 0 {
        return Err(Errno::NOSYS);
    }
    let version = ABI::from(abi.min(NEWEST_LANDLOCK).cast_signed());
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(version))
        .map_err(errno_of)?;
    if abi >= SCOPED {
        ruleset = ruleset.scope(Scope::from_all(version)).map_err(errno_of)?;
    }
    let mut created = ruleset.create().map_err(errno_of)?;
    for rule in rules {
        created = image.add(created, rule, version)?;
    }
    Option::<OwnedFd>::from(created).ok_or(Errno::NOSYS)
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

fn targets(rule: &PathRule) -> Result<Vec<Target>, Errno> {
    let path = Path::new(&rule.path);
    if !path.is_absolute() {
        return programs(&rule.path);
    }
    let opened = if AGENT_TREES.iter().any(|tree| path.starts_with(tree)) {
        open_without_symlinks(&rule.path)
    } else {
        openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    };
    let found = present(opened)?;
    Ok(found
        .into_iter()
        .filter(|(_, kind)| *kind != FileType::Symlink)
        .collect())
}

/// Finds a program by its bare name; only regular files are programs. One that several directories
/// lead to is found once.
fn programs(name: &str) -> Result<Vec<Target>, Errno> {
    if name.is_empty() || name.contains('/') {
        return Err(Errno::INVAL);
    }
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for directory in PROGRAM_DIRECTORIES {
        let path = format!("{directory}/{name}");
        let opened = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let Some((file, kind)) = present(opened)? else {
            continue;
        };
        let stat = fstat(&file)?;
        let id = (stat.st_dev, stat.st_ino);
        if kind == FileType::RegularFile && !seen.contains(&id) {
            seen.push(id);
            found.push((file, kind));
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
            let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
            Ok(Some((file, kind)))
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
        let refused = ruleset(0, &[], &mut Image::default());
        assert_eq!(refused.unwrap_err(), Errno::NOSYS);
    }

    #[test]
    fn what_the_image_holds_is_opened_once_and_an_agents_file_each_time() {
        let rules = [rule("sh", "rx"), rule("/usr", "r"), rule("/tmp", "rw")];
        let mut image = Image::default();
        for _ in 0..2 {
            drop(ruleset(1, &rules, &mut image).unwrap());
            let mut kept: Vec<_> = image.found.keys().map(String::as_str).collect();
            kept.sort_unstable();
            assert_eq!(kept, ["/usr", "sh"]);
            assert_eq!(image.kept, 1 + programs("sh").unwrap().len());
        }
    }

    #[test]
    fn an_agents_symbolic_link_leads_nowhere() {
        let directory = std::env::temp_dir().join(format!("loki-rules-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let link = directory.join("link");
        std::os::unix::fs::symlink("/usr/bin", &link).unwrap();
        let through = [link.clone(), link.join("env")].map(|path| path.display().to_string());
        let found = through.map(|path| targets(&rule(&path, "rwx")).unwrap().len());
        let control = targets(&rule(&directory.display().to_string(), "rwx"))
            .unwrap()
            .len();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((found, control), ([0, 0], 1));
    }
}
