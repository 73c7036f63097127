//! Keeps refused work that git must not even read, as an archive: data that no program runs by
//! being near it, unlike a repository that an agent made.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{
    super::{
        Slot,
        inspect::{Remark, contents},
        tree::{self, Entry, Kind},
    },
    report::breaches,
};
use crate::{event::Breach, redact::Redactor, text::visible, whole};

/// What is said of what is not kept.
const LEFT_OUT: &str = "holds the value of a secret, and is not among what is kept of the work";
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

impl Slot {
    /// Writes what is in the worktree into the tar `to`, in place of an older one, and returns what
    /// is left out of it, because it holds a value of a secret. Links are kept as links and followed
    /// nowhere; what is neither file, link nor directory is not kept. For a slot whose container is
    /// gone.
    ///
    /// # Errors
    /// The operating system's, or that the work is larger than `cap` bytes; then nothing is kept.
    pub fn keep(&self, to: &Path, cap: u64, secrets: &Redactor) -> io::Result<Vec<Breach>> {
        let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
        let part = to.with_extension("part");
        let kept = self.archive(&part, cap, secrets).and_then(|left_out| {
            whole::settle(&part, to)?;
            Ok(left_out)
        });
        if kept.is_err() {
            // There is nothing to do about a part that cannot be removed either.
            fs::remove_file(&part).ok();
        }
        kept
    }

    fn archive(&self, part: &Path, cap: u64, secrets: &Redactor) -> io::Result<Vec<Breach>> {
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(part)?;
        let walk = tree::walk(self.work()).map_err(io::Error::other)?;
        if walk.too_many {
            return Err(io::Error::other("the work has too many names to be kept"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut archive = Archive {
            tar: tar::Builder::new(Capped { file, left: cap }),
            work: openat(CWD, self.work(), flags, Mode::empty())?,
            secrets,
            left_out: Vec::new(),
        };
        walk.entries
            .iter()
            .try_for_each(|entry| archive.take(entry))?;
        archive.finish()
    }
}

/// An archive that is being written.
struct Archive<'a> {
    tar: tar::Builder<Capped>,
    work: OwnedFd,
    secrets: &'a Redactor,
    left_out: Vec<Remark>,
}

impl Archive<'_> {
    fn take(&mut self, entry: &Entry) -> io::Result<()> {
        if self.secrets.finds(&entry.path) {
            // The name itself must not be told.
            self.leave_out(b".");
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        let path = Path::new("work").join(OsStr::from_bytes(&entry.path));
        match &entry.kind {
            Kind::Link(target) if self.secrets.finds(target) => self.leave_out(&entry.path),
            Kind::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                let target = OsStr::from_bytes(target);
                self.tar.append_link(&mut header, path, target)?;
            }
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                self.tar.append_data(&mut header, path, io::empty())?;
            }
            Kind::File if !entry.unreadable => {
                let file = contents::open(self.work.as_fd(), &entry.path)?;
                let mut file = File::from(file);
                if self.holds_value(&mut file)? {
                    self.leave_out(&entry.path);
                    return Ok(());
                }
                file.rewind()?;
                let size = file.metadata()?.size();
                header.set_size(size);
                self.tar.append_data(&mut header, path, file.take(size))?;
            }
            Kind::File | Kind::Special(_) => {}
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &[u8]) {
        self.left_out
            .push(Remark::new(contents::VALUE, path, LEFT_OUT));
    }

    fn holds_value(&self, file: &mut File) -> io::Result<bool> {
        if self.secrets.is_blind() {
            return Ok(false);
        }
        let mut search = self.secrets.search();
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece)?;
            let fresh = piece.get(..read).unwrap_or_default();
            if search.finds(fresh) {
                return Ok(true);
            }
            if read == 0 {
                return Ok(false);
            }
        }
    }

    /// Adds the list of what is missing, where anything is.
    fn finish(mut self) -> io::Result<Vec<Breach>> {
        if !self.left_out.is_empty() {
            let names = self.left_out.iter();
            let names = names.map(|one| visible(&String::from_utf8_lossy(&one.path)) + "\n");
            let list: String = names.collect();
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_size(list.len() as u64);
            self.tar
                .append_data(&mut header, "left-out", list.as_bytes())?;
        }
        self.tar.into_inner()?;
        Ok(breaches(&self.left_out))
    }
}

/// A file that takes so many bytes and no more.
struct Capped {
    file: File,
    left: u64,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let left = self.left.checked_sub(written as u64);
        self.left = left.ok_or_else(|| io::Error::other("the work is too large to be kept"))?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
