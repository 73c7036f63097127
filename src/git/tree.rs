//! Directories that an agent may have filled: walked, handed over and removed without ever
//! following a link in them.
//!
//! Every step opens one name below an open directory with `O_NOFOLLOW`. What is read here is
//! names, kinds, sizes and link targets; the contents of files are not opened.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmod, openat, readlinkat, renameat,
        statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use super::{GitError, error::At};

/// How deep a worktree may be; a hostile one must not use up our descriptors.
pub(super) const DEPTH: usize = 100;
/// How many names a walk looks at, ignored build output included.
const NAMES: usize = 2_000_000;
/// How many bytes of paths a walk keeps. Names below deep directories with long names would cost
/// 25 kB each: [`NAMES`] of them would take the memory of this machine.
const PATHS: usize = 256 << 20;
/// How often a removal begins anew because another one removes the same.
const RACES: u32 = 1000;

/// One name in a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the worktree, `/` between components.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission, set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// How many names the file has, and which file it is.
    pub(super) links: u64,
    pub(super) inode: (u64, u64),
    /// The host could not look into it.
    pub(super) unreadable: bool,
}

impl Entry {
    /// A name of a tree, which has no owner, time or place on a disk.
    pub(super) fn listed(path: &[u8], kind: Kind) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            mode: 0o644,
            size: 0,
            links: 1,
            inode: (0, 0),
            unreadable: false,
        }
    }
}

/// What stands behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A symbolic link and its target.
    Link(Vec<u8>),
    /// A pipe, socket or device.
    Special(&'static str),
}

/// Everything below a worktree, except the mount point `.git` at its top.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) entries: Vec<Entry>,
    /// Directories deeper than is looked at.
    pub(super) too_deep: Vec<Vec<u8>>,
    /// There were more names, or longer ones, than are looked at.
    pub(super) too_many: bool,
}

/// Who owns the files of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user id on the host.
    pub uid: u32,
    /// The group id on the host.
    pub gid: u32,
}

/// Looks at every name below `root`.
pub(super) fn walk(root: &Path) -> Result<Walk, GitError> {
    let mut walk = Walk::default();
    let top = open_dir(CWD, root).at("open", root)?;
    descend(top, Vec::new(), &mut walk).at("read", root)?;
    Ok(walk)
}

fn descend(top: OwnedFd, prefix: Vec<u8>, walk: &mut Walk) -> Result<(), Errno> {
    let mut open = vec![(Dir::new(top)?, prefix)];
    let mut kept = 0;
    while let Some((dir, prefix)) = open.last_mut() {
        let Some(next) = dir.read() else {
            open.pop();
            continue;
        };
        let next = next?;
        let name = next.file_name();
        if is_dot(name) || (prefix.is_empty() && name == c".git") {
            continue;
        }
        kept += prefix.len() + name.count_bytes();
        if walk.entries.len() >= NAMES || kept > PATHS {
            walk.too_many = true;
            return Ok(());
        }
        let path = [prefix.as_slice(), name.to_bytes()].concat();
        let mut entry = look(dir.fd()?, name, path)?;
        let mut inside = None;
        if entry.kind == Kind::Directory {
            match open_dir(dir.fd()?, name) {
                Ok(below) => inside = Some(below),
                Err(_) => entry.unreadable = true,
            }
        }
        let path = entry.path.clone();
        walk.entries.push(entry);
        match inside {
            Some(_) if open.len() >= DEPTH => walk.too_deep.push(path),
            Some(below) => open.push((Dir::new(below)?, [path.as_slice(), b"/"].concat())),
            None => {}
        }
    }
    Ok(())
}

fn look(dir: BorrowedFd<'_>, name: &CStr, path: Vec<u8>) -> Result<Entry, Errno> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = match kind_of(&stat) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link(readlinkat(dir, name, Vec::new())?.into_bytes()),
        FileType::Fifo => Kind::Special("pipe"),
        FileType::Socket => Kind::Special("socket"),
        FileType::BlockDevice | FileType::CharacterDevice => Kind::Special("device"),
        FileType::Unknown => Kind::Special("file of an unknown kind"),
    };
    let mode = stat.st_mode & 0o7777;
    let unreadable = kind == Kind::File && !geteuid().is_root() && mode & 0o400 == 0;
    Ok(Entry {
        path,
        kind,
        mode,
        size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
        // Of another width on other processors.
        links: stat.st_nlink as _,
        inode: (stat.st_dev, stat.st_ino),
        unreadable,
    })
}

/// Removes `root` and everything below it; one that is not there is what is wanted.
///
/// Directories below the second level are moved up before they are emptied, so a tree of any depth
/// needs three descriptors and no recursion. Directories without permissions are given them first.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove(root: &Path) -> Result<(), GitError> {
    // Two that sweep the same place take things from under each other: then it is looked at anew.
    for _ in 1..RACES {
        match remove_once(root) {
            Err(Errno::NOENT | Errno::NOTEMPTY) => {}
            done => return done.at("remove", root),
        }
    }
    remove_once(root).at("remove", root)
}

fn remove_once(root: &Path) -> Result<(), Errno> {
    match open_for_removal(CWD, root) {
        Ok(top) => {
            flatten(top.as_fd())?;
            unlinkat(CWD, root, AtFlags::REMOVEDIR)
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => unlinkat(CWD, root, AtFlags::empty()),
        Err(other) => Err(other),
    }
}

fn flatten(top: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut count = 0_u64;
    loop {
        let below = clear(top, top, &mut None)?;
        if below.is_empty() {
            return Ok(());
        }
        for name in below {
            let dir = open_for_removal(top, &name)?;
            clear(dir.as_fd(), top, &mut Some(&mut count))?;
            unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Unlinks the files of `dir`. Its directories are moved into `top` under fresh names when there
/// is a counter for these, else returned.
fn clear(
    dir: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    count: &mut Option<&mut u64>,
) -> Result<Vec<CString>, Errno> {
    let mut kept = Vec::new();
    let names: Vec<CString> = Dir::read_from(dir)?
        .map(|next| next.map(|next| next.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for name in names.into_iter().filter(|name| !is_dot(name)) {
        let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind_of(&stat) != FileType::Directory {
            unlinkat(dir, &name, AtFlags::empty())?;
        } else if let Some(count) = count {
            // Moving a directory to another parent needs write permission on it.
            drop(open_for_removal(dir, &name)?);
            move_up(dir, &name, top, count)?;
        } else {
            kept.push(name);
        }
    }
    Ok(kept)
}

fn move_up(
    dir: BorrowedFd<'_>,
    name: &CStr,
    top: BorrowedFd<'_>,
    count: &mut u64,
) -> Result<(), Errno> {
    loop {
        *count += 1;
        let fresh = CString::new(format!(".loki-gone-{count}")).expect("digits hold no NUL");
        match statat(top, &fresh, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return renameat(dir, name, top, &fresh),
            Ok(_) => {}
            Err(other) => return Err(other),
        }
    }
}

/// Opens a directory; when its permissions forbid that, gives them to its owner first, through the
/// descriptor of the very directory that was looked at.
fn open_for_removal<P: rustix::path::Arg + Copy>(
    dir: impl AsFd,
    name: P,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let seen = openat(&dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&seen)?;
    if stat.st_mode & 0o700 != 0o700 {
        use std::os::fd::AsRawFd as _;
        chmod(format!("/proc/self/fd/{}", seen.as_raw_fd()), Mode::RWXU)?;
    }
    open_dir(&seen, c".")
}

fn open_dir(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an agent's write, not Loki's")]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
        sync::atomic::{AtomicU32, Ordering::Relaxed},
    };

    use rustix::fs::{CWD, Mode, OFlags, RenameFlags, mkdirat, openat, renameat_with};

    use super::{Kind, Walk, remove, walk};

    fn paths(walk: &Walk) -> Vec<String> {
        let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
        let mut paths: Vec<_> = walk.entries.iter().map(|entry| text(&entry.path)).collect();
        paths.sort();
        paths
    }

    /// Makes directories below each other, deeper than a path may be long.
    fn dig(root: &Path, levels: usize) {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let mut dir = openat(CWD, root, flags, Mode::empty()).unwrap();
        for _ in 0..levels {
            mkdirat(&dir, "deeper", Mode::RWXU).unwrap();
            dir = openat(&dir, "deeper", flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_walk_sees_links_but_not_behind_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir_all(root.join("a/.git")).unwrap();
        fs::create_dir_all(root.join(".git/hooks")).unwrap();
        fs::create_dir_all(dir.path().join("outside/secret")).unwrap();
        symlink("../outside", root.join("link")).unwrap();
        let seen = walk(&root).unwrap();
        assert_eq!(paths(&seen), ["a", "a/.git", "link"]);
        let link = seen
            .entries
            .iter()
            .find(|entry| entry.path == b"link")
            .unwrap();
        assert_eq!(link.kind, Kind::Link(b"../outside".to_vec()));
    }

    #[test]
    fn a_walk_ends_before_long_paths_fill_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir(&root).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let mut at = openat(CWD, &root, flags, Mode::empty()).unwrap();
        for _ in 0..98 {
            let name = "d".repeat(255);
            mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, flags, Mode::empty()).unwrap();
        }
        let few = walk(&root).unwrap();
        assert!(!few.too_many);
        let file = OFlags::CREATE | OFlags::WRONLY;
        for number in 0..super::PATHS / (98 * 256) {
            openat(&at, format!("{number}"), file, Mode::RUSR).unwrap();
        }
        let seen = walk(&root).unwrap();
        assert!(seen.too_many);
        let bytes: usize = seen.entries.iter().map(|entry| entry.path.len()).sum();
        assert!(bytes <= super::PATHS, "{bytes}");
        remove(&root).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_seen_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("work");
        fs::create_dir(&root).unwrap();
        dig(&root, 3000);
        let seen = walk(&root).unwrap();
        assert_eq!((seen.entries.len(), seen.too_deep.len()), (100, 1));
        remove(&root).unwrap();
        assert!(!root.exists());
    }

    /// An agent that swaps a directory and a link to another all the time, while the host looks.
    #[test]
    fn attack_g09_a_hundred_thousand_swaps_lead_no_walk_and_no_removal_outside() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("work"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/d/inside")).unwrap();
        fs::create_dir_all(outside.join("secret/deeper")).unwrap();
        symlink(&outside, root.join("a/l")).unwrap();
        let at = fs::File::open(root.join("a")).unwrap();
        let swapped = AtomicU32::new(0);
        let swap = |times: u32| {
            for _ in 0..times {
                // Ends early once the removal below has won.
                if renameat_with(&at, "d", &at, "l", RenameFlags::EXCHANGE).is_err() {
                    break;
                }
                swapped.fetch_add(1, Relaxed);
            }
        };
        let mut walks = (0, 0);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| swap(100_000));
            while !swapper.is_finished() {
                // A walk may give up when what it looks at is swapped under it.
                let Ok(seen) = walk(&root) else { continue };
                let seen = paths(&seen);
                let led = seen.iter().find(|path| path.contains("secret"));
                assert_eq!(led, None, "a walk was led outside");
                walks.0 += 1;
                walks.1 += u32::from(seen.iter().any(|path| path.ends_with("/inside")));
            }
        });
        assert_eq!(swapped.load(Relaxed), 100_000);
        assert!(walks.1 > 0, "of {} walks none saw the directory", walks.0);
        std::thread::scope(|scope| {
            scope.spawn(|| swap(u32::MAX));
            // It may lose to the swaps, and says so; what it must not do is follow one.
            while remove(&root).is_err() {}
        });
        assert!(
            outside.join("secret/deeper").is_dir(),
            "a removal was led outside"
        );
    }

    #[test]
    fn removal_follows_no_link_and_is_repeatable() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "kept").unwrap();
        let root = dir.path().join("work");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir_all(root.join(".loki-gone-1/x/y")).unwrap();
        symlink(&outside, root.join("a/link")).unwrap();
        fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(&root).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        let link = dir.path().join("link");
        symlink(&outside, &link).unwrap();
        remove(&link).unwrap();
        assert!(outside.join("kept").exists() && !link.is_symlink());
    }

    #[test]
    fn two_may_remove_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let root = dir.path().join("work");
            for name in ["a/b/c", "a/d/e", "f/g/h", "i"] {
                fs::create_dir_all(root.join(name)).unwrap();
                fs::write(root.join(name).join("file"), "").unwrap();
            }
            std::thread::scope(|scope| {
                let both = [0, 1].map(|_| scope.spawn(|| remove(&root)));
                both.into_iter()
                    .for_each(|one| one.join().unwrap().unwrap());
            });
            assert!(!root.exists());
        }
    }
}
