//! Small files of settings, read without trusting what stands in their place.

use std::{fs::File, io::Read as _, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{
    exit::{Exit, Fault},
    ui,
};

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// Whether the file may stand elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// A link is followed: whoever made it could as well have written the file.
    Followed,
    /// A link is refused: in a repository it may show what else there is on this machine.
    Refused,
}

/// Reads a file of settings, none where there is none. `help` says what to do about one that cannot
/// be read.
pub(super) fn text(path: &Path, links: Links, help: &str) -> Result<Option<String>, Fault> {
    let unreadable = |why: &str| {
        let shown = ui::visible(&path.to_string_lossy());
        Fault::new(Exit::Invalid, format!("`{shown}` cannot be read: {why}")).hint(help)
    };
    // A pipe must not be waited for.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, links == Links::Refused);
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::LOOP) => return Err(unreadable("it is a link, not a regular file")),
        Err(errno) => return Err(unreadable(&errno.to_string())),
    };
    let facts = file.metadata();
    if !facts
        .map_err(|cause| unreadable(&cause.to_string()))?
        .is_file()
    {
        return Err(unreadable("it is not a regular file"));
    }
    let mut text = String::new();
    match file.take(LARGEST + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= LARGEST => Ok(Some(text)),
        Ok(_) => Err(unreadable("it is larger than 1 MiB")),
        Err(cause) => Err(unreadable(&cause.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_read_and_a_link_only_where_it_may_be() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| place.path().join(name);
        let read = |name: &str, links| text(&file(name), links, "mend it");
        assert_eq!(read("none/at/all", Links::Refused).unwrap(), None);
        let real = tempfile::NamedTempFile::new_in(place.path()).unwrap();
        std::os::unix::fs::symlink(real.path(), file("link")).unwrap();
        assert_eq!(read("link", Links::Followed).unwrap().as_deref(), Some(""));
        let refused = read("link", Links::Refused).unwrap_err();
        assert_eq!(refused.exit, Exit::Invalid);
        assert!(
            refused.message.contains("not a regular file"),
            "{refused:?}"
        );
        assert_eq!(read("", Links::Followed).unwrap_err().exit, Exit::Invalid);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            file("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read("pipe", Links::Followed).is_err());
        real.as_file().set_len(LARGEST + 1).unwrap();
        assert!(read("link", Links::Followed).is_err());
    }
}
