//! Where a held call writes, read from its caller. Attribution only: the caller can change the path
//! meanwhile, or lead it elsewhere by a symbolic link, so what is found here only saves time that
//! honest programs would lose.

use loki_guest::notify::{Notice, peek};
use rustix::fs::readlink;

use super::calls::{Named, changed};
use crate::policy::Matcher;

/// Longest path looked at; longer ones count.
const PATH_MAX: usize = 4096;
/// The worktree, as `canonical` writes it.
const WORKTREE: &str = "work/";
/// What never counts, in the same form: nothing is kept there.
const NOWHERE: [&str; 6] = [
    "dev/full",
    "dev/null",
    "dev/stderr",
    "dev/stdout",
    "dev/tty",
    "dev/zero",
];

/// Returns whether everything that a call changes is covered by these globs over the worktree, or
/// is nowhere. False where the caller's memory cannot be read.
pub(super) fn is_exempt(notice: &Notice, exempt: &Matcher<'_>) -> bool {
    changed(notice).is_some_and(|names| {
        let mut paths = names.iter().map(|named| path_of(notice.pid, named));
        paths.all(|path| path.is_some_and(|path| covers(exempt, &path)))
    })
}

fn covers(exempt: &Matcher<'_>, path: &[u8]) -> bool {
    let Some(path) = canonical(path) else {
        return false;
    };
    match path.strip_prefix(WORKTREE) {
        Some(relative) => exempt.matches(relative).is_some(),
        None => NOWHERE.contains(&path.as_str()),
    }
}

/// Returns the absolute path that a call names, as its caller wrote it.
fn path_of(pid: u32, named: &Named) -> Option<Vec<u8>> {
    let path = text_at(pid, named.address)?;
    if path.first() == Some(&b'/') {
        return Some(path);
    }
    let from = match named.directory {
        None => format!("/proc/{pid}/cwd"),
        Some(descriptor) => format!("/proc/{pid}/fd/{descriptor}"),
    };
    let mut whole = readlink(from, Vec::new()).ok()?.into_bytes();
    whole.push(b'/');
    whole.extend(path);
    Some(whole)
}

fn text_at(pid: u32, address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut part = [0; 256];
    while text.len() < PATH_MAX {
        let from = address.checked_add(u64::try_from(text.len()).ok()?)?;
        let read = peek(pid, from, &mut part).ok().filter(|read| *read > 0)?;
        let read = part.get(..read)?;
        match read.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(read.get(..end)?);
                return Some(text);
            }
            None => text.extend_from_slice(read),
        }
    }
    None
}

/// Writes an absolute path without its first `/` and without what means nothing; none for one that
/// climbs, or that no glob could name.
fn canonical(path: &[u8]) -> Option<String> {
    let mut canonical = String::new();
    for part in std::str::from_utf8(path).ok()?.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => {
                if !canonical.is_empty() {
                    canonical.push('/');
                }
                canonical.push_str(part);
            }
        }
    }
    Some(canonical)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use crate::policy::{Glob, Globs, Origin};

    fn globs(texts: &[&str]) -> Globs {
        let glob = |text: &&str| Glob::parse(text, Origin::default()).unwrap();
        Globs(texts.iter().map(glob).collect())
    }

    fn here(call: i64, argument: u64) -> Notice {
        Notice {
            id: 1,
            pid: std::process::id(),
            call: i32::try_from(call).unwrap(),
            arguments: [argument; 6],
        }
    }

    #[test]
    fn a_path_is_read_from_its_caller_and_held_against_the_directories() {
        let globs = globs(&["target/**", "**/node_modules/**"]);
        let exempt = globs.matcher();
        for (path, expected) in [
            ("/work/target/a", true),
            ("/work//target/./a/b", true),
            ("/work/a/node_modules/b/c", true),
            ("/target/a", false),
            ("/dev/null", true),
            ("/work/targets/a", false),
            ("/work/target/../src/a", false),
            ("/dev/shm/a", false),
            ("a", false),
        ] {
            let text = CString::new(path).unwrap();
            let notice = here(libc::SYS_truncate, text.as_ptr() as u64);
            assert_eq!(is_exempt(&notice, &exempt), expected, "{path}");
        }
        assert!(!is_exempt(&here(libc::SYS_truncate, 0), &exempt));
    }

    #[test]
    fn a_relative_path_begins_where_its_caller_stands() {
        let text = CString::new("x/y").unwrap();
        let named = Named {
            directory: None,
            address: text.as_ptr() as u64,
        };
        let whole = std::env::current_dir().unwrap().join("x/y");
        let path = path_of(std::process::id(), &named).unwrap();
        assert_eq!(path, whole.as_os_str().as_encoded_bytes());
        let root = std::fs::File::open("/").unwrap();
        let directory = Some(std::os::fd::AsRawFd::as_raw_fd(&root));
        let path = path_of(std::process::id(), &Named { directory, ..named });
        assert_eq!(canonical(&path.unwrap()).unwrap(), "x/y");
    }

    #[test]
    fn a_long_path_is_read_over_pages_and_one_without_end_is_given_up() {
        let globs = globs(&["target/**"]);
        let long = CString::new(format!("/work/target/{}", "x".repeat(3000))).unwrap();
        let notice = here(libc::SYS_truncate, long.as_ptr() as u64);
        assert!(is_exempt(&notice, &globs.matcher()));
        let endless = CString::new("/work/target/".repeat(900)).unwrap();
        let notice = here(libc::SYS_truncate, endless.as_ptr() as u64);
        assert!(!is_exempt(&notice, &globs.matcher()));
    }
}
