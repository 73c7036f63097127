//! What an agent could fill memory, disk or time with.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::*;

impl World {
    /// Keeps `work` within limits of the caller's own.
    pub(super) fn keep_within(&self, caps: Caps) -> Result<Head, CheckpointError> {
        let path = self.path("work");
        let name = "work";
        let asked = Asked {
            sources: &[Source { name, path: &path }],
            origin: Origin::default(),
            secrets: &self.secrets,
            caps,
            quota: self.quota,
            workers: 2,
        };
        create(&self.store, &asked, Quiet::Ended, TOOLS)
    }

    /// Keeps an archive within limits of the caller's own.
    pub(super) fn import_within(
        &self,
        from: &mut dyn std::io::Read,
        caps: Caps,
    ) -> Result<Head, CheckpointError> {
        let (name, path) = ("files", Path::new("archive.tar"));
        let asked = Asked {
            sources: &[Source { name, path }],
            origin: Origin::default(),
            secrets: &self.secrets,
            caps,
            quota: self.quota,
            workers: 1,
        };
        import(&self.store, &asked, from, TOOLS)
    }
}

/// A tar of empty files of these names.
pub(super) fn tar_of(names: impl Iterator<Item = String>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(0);
        tar.append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// Makes directories whose names take five bytes in a listing for each of their own.
fn expensive(world: &World, depth: usize) -> PathBuf {
    let name = [0xff; 200];
    let mut at = world.path("work");
    for _ in 0..depth {
        at.push(OsStr::from_bytes(&name));
    }
    fs::create_dir_all(&at).unwrap();
    at
}

#[test]
fn attack_c5_names_together_are_capped_as_they_are_written() {
    let world = World::new();
    let at = expensive(&world, 10);
    for file in 0..20 {
        fs::File::create(at.join(file.to_string())).unwrap();
    }
    // Twenty files of two thousand bytes, five times as long when written.
    let capped = |paths| {
        let caps = Caps {
            paths,
            ..Caps::default()
        };
        world.keep_within(caps)
    };
    let refused = capped(200_000).unwrap_err().to_string();
    assert!(refused.contains("longer than may be"), "{refused}");
    assert!(world.store.ids().unwrap().is_empty());
    capped(300_000).unwrap();
}

#[test]
fn attack_c5_names_of_an_archive_are_capped_before_they_fill_memory() {
    let long = "x".repeat(90);
    let bytes = tar_of((0..50).map(|at| format!("{long}{at}")));
    let caps = Caps {
        paths: 3_000,
        ..Caps::default()
    };
    let world = World::new();
    let refused = world
        .import_within(&mut bytes.as_slice(), caps)
        .unwrap_err();
    assert!(
        refused.to_string().contains("longer than may be"),
        "{refused}"
    );
}

#[test]
fn a_listing_is_cut_where_it_was_while_it_was_written_as_a_whole() {
    use std::io::Write as _;
    let bytes = noise(5, 3 << 20);
    let cut = |step: usize| {
        let mut chunks = Vec::new();
        let mut give = |chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok(())
        };
        let mut listed = cut::Listed::new(&mut give);
        bytes
            .chunks(step)
            .for_each(|part| listed.write_all(part).unwrap());
        listed.finish().unwrap();
        chunks
    };
    let whole = cut(bytes.len());
    assert_eq!(whole.concat(), bytes);
    assert!(whole.iter().all(|chunk| chunk.len() <= 16 << 10));
    let at_once: Vec<Vec<u8>> = fastcdc::v2020::FastCDC::new(&bytes, 1 << 10, 4 << 10, 16 << 10)
        .map(|chunk| bytes[chunk.offset..chunk.offset + chunk.length].to_vec())
        .collect();
    assert_eq!(whole, at_once);
    assert_eq!(cut(777), whole);
}

/// An archive that never ends, and takes note of who could have had the store meanwhile.
struct Endless<'a> {
    begin: &'a [u8],
    store: &'a Store,
    was_free: bool,
    given: u64,
}

impl std::io::Read for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.was_free &= self.store.turn().is_ok();
        if !self.begin.is_empty() {
            return self.begin.read(into);
        }
        into.fill(0);
        self.given += into.len() as u64;
        assert!(self.given < 1 << 30, "it is read for ever");
        Ok(into.len())
    }
}

#[test]
fn attack_c5_an_archive_that_never_ends_is_refused_and_locks_nobody_out() {
    let world = World::new();
    let whole = tar_of(["a".to_owned()].into_iter());
    let mut endless = Endless {
        begin: &whole,
        store: &world.store,
        was_free: true,
        given: 0,
    };
    let refused = world.import_within(&mut endless, Caps::default());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("behind its end"), "{refused}");
    assert!(endless.was_free, "nobody else could write meanwhile");
    assert!(world.files_of("packs").is_empty());
    // What programs do fill up to is taken.
    let padded = [whole, vec![0; 20 * 512]].concat();
    let head = world.import_within(&mut padded.as_slice(), Caps::default());
    assert_eq!(head.unwrap().entries, 2);
}

#[test]
fn a_sandbox_is_let_go_on_also_where_keeping_it_panics() {
    let world = World::new();
    let path = world.path("work");
    let asked = Asked {
        sources: &[Source {
            name: "work",
            path: &path,
        }],
        origin: Origin::default(),
        secrets: &world.secrets,
        caps: Caps::default(),
        quota: u64::MAX,
        workers: 1,
    };
    let is_paused = AtomicBool::new(false);
    let now = || {
        assert!(!is_paused.load(Ordering::Relaxed), "a bug of ours");
        Timestamp::now()
    };
    let mut hold = |hold: Hold| {
        is_paused.store(hold == Hold::Pause, Ordering::Relaxed);
        Ok(())
    };
    let tools = Tools { now: &now, ..TOOLS };
    let kept = || create(&world.store, &asked, Quiet::Paused(&mut hold), tools);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(kept)).unwrap_err();
    assert!(!is_paused.load(Ordering::Relaxed));
}
