//! The host's side of a sandbox's files: one directory with everything that is mounted.
//!
//! ```text
//! slot/  meta/   git's metadata of the worktree (see `git`), never mounted
//!        work/   → /work          home/  → /home/agent
//!        link/   → /loki/link     etc/   → single files of /etc
//! ```

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, OFlags, Uid},
    io::Errno,
};

/// A file put into the agent's home before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Path relative to the home directory, without `..`.
    pub path: String,
    /// The bytes.
    pub contents: Vec<u8>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// The directory of one sandbox on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot(PathBuf);

impl Slot {
    /// Names the slot at a path; creates nothing.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The slot's own directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the agent sees as `/work`.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// What the agent sees as `/home/agent`.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// The directory of the link's socket.
    #[must_use]
    pub fn link(&self) -> PathBuf {
        self.0.join("link")
    }

    /// A single file that is mounted over one of `/etc`.
    #[must_use]
    pub fn etc(&self, file: &str) -> PathBuf {
        self.0.join("etc").join(file)
    }

    /// Creates everything that a container mounts and that is nobody's yet: a home with git's
    /// settings alone, link, etc, and an empty `/work` with the mount point of the private repository
    /// where no worktree was put before.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn furnish(&self, user: (u32, u32)) -> io::Result<()> {
        for part in [
            self.home(),
            self.link(),
            self.0.join("etc"),
            self.work().join(".git"),
        ] {
            directory(&part, 0o755)?;
        }
        // An agent may make set-user-id programs of a file in here, and its user may be the caller:
        // nobody else on this machine gets near them. The engine mounts from within as root.
        std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700))
            .map_err(|cause| named(&self.0, &cause))?;
        // Engines give a tmpfs the mode of the directory it covers: the agent's repository goes here.
        let mount_point = self.work().join(".git");
        std::fs::set_permissions(&mount_point, std::fs::Permissions::from_mode(0o1777))
            .map_err(|cause| named(&mount_point, &cause))?;
        let etc = [
            (
                "resolv.conf",
                "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n".to_owned(),
            ),
            (
                "passwd",
                format!(
                    "root:x:0:0::/root:/bin/sh\nagent:x:{}:{}::/home/agent:/bin/sh\n",
                    user.0, user.1
                ),
            ),
            ("group", format!("root:x:0:\nagent:x:{}:\n", user.1)),
        ];
        for (name, text) in etc {
            put(&self.etc(name), text.as_bytes(), 0o644)?;
        }
        let settings = "[user]\n\tname = agent\n\temail = agent@localhost\n[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = main\n";
        put(&self.home().join(".gitconfig"), settings.as_bytes(), 0o644)?;
        hand_to(&self.home(), user)?;
        hand_to_shallow(&self.work(), user)
    }

    /// Puts an occupant's files into the home, and creates the directories that its role may write:
    /// the kernel's rules bind to what is there.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn occupy(
        &self,
        user: (u32, u32),
        files: &[Home],
        writable: &BTreeSet<String>,
    ) -> io::Result<()> {
        for path in writable {
            beneath(&self.work(), path, user)?;
        }
        self.fill_home(files)?;
        hand_to(&self.home(), user)
    }

    fn fill_home(&self, files: &[Home]) -> io::Result<()> {
        for file in files {
            let path = self.home().join(&file.path);
            if let Some(parent) = path.parent() {
                directory(parent, 0o755)?;
            }
            put(
                &path,
                &file.contents,
                if file.executable { 0o755 } else { 0o644 },
            )?;
        }
        Ok(())
    }
}

pub(super) fn directory(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|cause| named(path, &cause))
}

/// Creates a directory in the worktree, part by part, following no link that a commit may hold:
/// where a part is something else than a directory, there is nothing to create.
pub(super) fn beneath(work: &Path, path: &str, user: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = fs::openat(fs::CWD, work, flags, Mode::empty())?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let made = fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)).is_ok();
        at = match fs::openat(&at, part, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(cause) => return Err(named(&work.join(path), &cause.into())),
        };
        if made && rustix::process::geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(user.0), Gid::from_raw(user.1));
            fs::chownat(&at, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

/// Writes a file of a fresh slot; nothing else can see the slot yet, so there is nothing to
/// replace atomically.
pub(super) fn put(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let write = || {
        io::Write::write_all(&mut std::fs::File::create(path)?, contents)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    write().map_err(|cause| named(path, &cause))
}

/// Gives a tree that the host just wrote to the agent's user. Needs root; without it the agent
/// has the caller's own user and there is nothing to give.
fn hand_to(path: &Path, user: (u32, u32)) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    hand_to_shallow(path, user)?;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            hand_to(&entry.path(), user)?;
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(user.0), Some(user.1))?;
        }
    }
    Ok(())
}

fn hand_to_shallow(path: &Path, user: (u32, u32)) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    chown(path, Some(user.0), Some(user.1)).map_err(|cause| named(path, &cause))
}

fn named(path: &Path, cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("`{}`: {cause}", path.display()))
}
