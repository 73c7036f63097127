//! What a Podman service said of itself, kept for as long as the same process serves.
//!
//! Podman asks the distribution's database six times which packages its programs are from before it
//! answers: 0.7 s of processor time, measured with Podman 4.3 on Debian 12. A service reads its
//! settings when it starts, so the answer stands until another process serves the socket, one of the
//! programs in it is replaced, or an hour has passed. A socket that a service manager opened is not
//! known by its process: there, and where nothing can be kept, the service is asked each time.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, process, whole};

use super::libpod::Description;

/// How long an answer stands at most.
const STANDS: Duration = Duration::from_secs(60 * 60);
/// What the kernel calls Podman's process.
const PODMAN: &str = "podman";

/// The process that serves a socket, as no other process of this machine is called again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    boot: String,
    pid: u32,
    started: String,
}

impl Server {
    /// Names the process with this id; none when it is not a Podman.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        (program.trim_end() == PODMAN).then_some(Self {
            boot: boot.trim_end().to_owned(),
            pid,
            started: process::started(pid)?,
        })
    }
}

/// A program as it was: what the kernel says of its file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    path: PathBuf,
    facts: [u64; 5],
}

impl Program {
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            facts: [
                facts.dev(),
                facts.ino(),
                facts.size(),
                facts.ctime().cast_unsigned(),
                facts.ctime_nsec().cast_unsigned(),
            ],
        })
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    server: Server,
    programs: Vec<Program>,
    answer: Description,
}

/// Where the answer of one socket's service is kept.
#[derive(Debug)]
pub(super) struct Shelf {
    place: PathBuf,
    server: Server,
}

impl Shelf {
    /// Names it, below the user's cache.
    pub(super) fn of(cache: &Path, socket: &Path, server: Server) -> Self {
        let name = Digest::of(socket.as_os_str().as_encoded_bytes());
        let place = cache.join("engines").join(format!("{name:.16}.json"));
        Self { place, server }
    }

    /// Returns what was said, if it still stands.
    pub(super) fn read(&self) -> Option<Description> {
        let age = fs::metadata(&self.place).ok()?.modified().ok()?.elapsed();
        let kept: Kept = serde_json::from_slice(&fs::read(&self.place).ok()?).ok()?;
        let as_it_was = |program: &Program| Program::of(&program.path).as_ref() == Some(program);
        let stands = kept.server == self.server
            // None from a clock that was put back.
            && age.is_ok_and(|age| age < STANDS)
            && kept.programs.iter().all(as_it_was);
        stands.then_some(kept.answer)
    }

    /// Keeps what was said. Where that fails the service is asked again, so nobody is told.
    pub(super) fn keep(&self, answer: &Description) {
        let programs: Option<Vec<_>> = answer.programs().map(Program::of).into_iter().collect();
        let Some(programs) = programs else { return };
        let kept = Kept {
            server: self.server.clone(),
            programs,
            answer: answer.clone(),
        };
        let folder = self.place.parent().unwrap_or(Path::new("."));
        if let Ok(text) = serde_json::to_vec(&kept)
            && fs::create_dir_all(folder).is_ok()
        {
            whole::replace(&self.place, 0o600, &text).ok();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write plain files")]
mod tests {
    use super::*;
    use crate::engine::recorded;

    fn server(pid: u32) -> Server {
        Server {
            boot: "one".to_owned(),
            pid,
            started: "7".to_owned(),
        }
    }

    /// An answer that names these programs.
    fn answer(of: &Path) -> Description {
        let mut said = recorded::answers("podman-4.3-rootful")["libpod"].take();
        for (pointer, name) in [
            ("/host/conmon/path", "conmon"),
            ("/host/ociRuntime/path", "runc"),
        ] {
            *said.pointer_mut(pointer).unwrap() = of.join(name).to_str().unwrap().into();
            fs::write(of.join(name), name).unwrap();
        }
        serde_json::from_value(said).unwrap()
    }

    #[test]
    fn an_answer_stands_for_the_process_that_gave_it() {
        let place = tempfile::tempdir().unwrap();
        let said = answer(place.path());
        let socket = Path::new("/run/podman/podman.sock");
        let shelf = |socket, pid| Shelf::of(place.path(), socket, server(pid));
        assert!(shelf(socket, 1).read().is_none());
        shelf(socket, 1).keep(&said);
        let read = shelf(socket, 1).read().unwrap();
        assert_eq!(format!("{read:?}"), format!("{said:?}"));
        assert!(shelf(socket, 2).read().is_none());
        assert!(shelf(Path::new("/run/other.sock"), 1).read().is_none());
    }

    #[test]
    fn an_answer_falls_with_a_program_that_is_replaced_and_after_an_hour() {
        let place = tempfile::tempdir().unwrap();
        let said = answer(place.path());
        let shelf = Shelf::of(place.path(), Path::new("/run/podman.sock"), server(1));
        shelf.keep(&said);
        assert!(shelf.read().is_some());
        fs::write(place.path().join("new"), "runc").unwrap();
        fs::rename(place.path().join("new"), place.path().join("runc")).unwrap();
        assert!(shelf.read().is_none());

        shelf.keep(&said);
        let file = fs::File::options().write(true).open(&shelf.place).unwrap();
        let kept = file.metadata().unwrap().modified().unwrap();
        for (asked, stands) in [
            (kept - STANDS, false),
            (kept + STANDS, false),
            (kept - STANDS / 2, true),
        ] {
            file.set_modified(asked).unwrap();
            assert_eq!(shelf.read().is_some(), stands);
        }
        fs::write(&shelf.place, "{").unwrap();
        assert!(shelf.read().is_none());
    }

    #[test]
    fn only_a_podman_is_known_by_its_process() {
        assert_eq!(Server::of(std::process::id()), None);
        assert_eq!(Server::of(u32::MAX), None);
    }
}
