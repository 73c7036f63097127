//! Programs given as files: what they are and what they need.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use super::ProviderError;

/// Whether a symbolic link may stand for the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    Refuse,
}

/// Reads a regular file of at most `max` bytes. Never waits on a pipe or a device.
pub(super) fn read_file(path: &Path, max: usize, links: Links) -> Result<Vec<u8>, ProviderError> {
    let failed = |source| ProviderError::Read {
        path: path.to_owned(),
        source,
    };
    let not_a_file = || ProviderError::NotAFile {
        path: path.to_owned(),
    };
    let held = match links {
        Links::Follow => fs::metadata(path),
        Links::Refuse => fs::symlink_metadata(path),
    };
    if !held.map_err(failed)?.is_file() {
        return Err(not_a_file());
    }
    let mut flags = OFlags::NONBLOCK;
    if links == Links::Refuse {
        flags |= OFlags::NOFOLLOW;
    }
    let flags = i32::try_from(flags.bits()).expect("open flags fit the kernel's int");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(not_a_file());
    }
    read_capped(file, max)
        .map_err(failed)?
        .ok_or_else(|| ProviderError::TooLarge {
            path: path.to_owned(),
            max,
        })
}

/// Reads to the end; none when more than `max` bytes are there.
fn read_capped(file: impl Read, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let cap = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(cap).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then_some(bytes))
}

/// Returns the programs of the image that a program file needs to start: those of its `#!` line,
/// none for a binary. Returns `None` when the file is no program.
pub(super) fn needs(contents: &[u8]) -> Option<Vec<String>> {
    if contents.starts_with(b"\x7fELF") {
        return Some(Vec::new());
    }
    let line = contents
        .strip_prefix(b"#!")?
        .split(|b| *b == b'\n')
        .next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let interpreter = words.next().filter(|word| word.starts_with('/'))?;
    let mut needs = vec![interpreter.to_owned()];
    if interpreter.rsplit('/').next() == Some("env") {
        let is_option = |word: &&str| word.starts_with('-') || word.contains('=');
        needs.push(words.find(|word| !is_option(word))?.to_owned());
    }
    Some(needs)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test lays out files of its own"
    )]

    use super::*;

    #[test]
    fn the_interpreter_line_says_what_a_script_needs() {
        let table: [(&[u8], Option<&[&str]>); 8] = [
            (b"#!/bin/sh\n", Some(&["/bin/sh"])),
            (b"#! /bin/sh -eu", Some(&["/bin/sh"])),
            (
                b"#!/usr/bin/env python3\n",
                Some(&["/usr/bin/env", "python3"]),
            ),
            (
                b"#!/usr/bin/env -S A=1 node\n",
                Some(&["/usr/bin/env", "node"]),
            ),
            (b"\x7fELF\x02", Some(&[])),
            (b"#!sh\n", None),
            (b"#!/usr/bin/env\n", None),
            (b"echo hello\n", None),
        ];
        for (contents, expected) in table {
            let expected =
                expected.map(|words| words.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(needs(contents), expected);
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let held = tempfile::tempdir().expect("a temporary directory");
        let file = held.path().join("file");
        fs::write(&file, b"12345").expect("written");
        assert_eq!(
            read_file(&file, 5, Links::Refuse).expect("it fits"),
            b"12345"
        );
        assert!(matches!(
            read_file(&file, 4, Links::Refuse),
            Err(ProviderError::TooLarge { max: 4, .. })
        ));
        assert!(matches!(
            read_file(held.path(), 4, Links::Follow),
            Err(ProviderError::NotAFile { .. })
        ));
        let link = held.path().join("link");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        assert_eq!(
            read_file(&link, 5, Links::Follow).expect("followed"),
            b"12345"
        );
        assert!(matches!(
            read_file(&link, 5, Links::Refuse),
            Err(ProviderError::NotAFile { .. })
        ));
        let pipe = held.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .expect("a pipe");
        assert!(matches!(
            read_file(&pipe, 5, Links::Follow),
            Err(ProviderError::NotAFile { .. })
        ));
        let gone = held.path().join("gone");
        assert!(matches!(
            read_file(&gone, 5, Links::Follow),
            Err(ProviderError::Read { .. })
        ));
    }
}
