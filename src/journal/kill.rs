//! Points at which a writer dies, for tests: the crash of a process cannot be asked of it otherwise
//! at a known place. Only a program built for debugging can be told to; in any other there is no
//! such thing.

use std::{fmt, fs::File, io, io::Write, str::FromStr};

/// At which of its writes a process dies, and how. As text `N`, `N:before`, `N:after`, `N:torn` or
/// `N:full`; `N` counts from 1 all records that this process appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KillPoint {
    /// Which write.
    pub write: u64,
    /// What happens there.
    pub how: Fate,
}

/// What happens at a [`KillPoint`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// The process is killed and the record is not there.
    Before,
    /// The process is killed and the record is there, but nobody was told.
    #[default]
    After,
    /// The process is killed and half of the record is there.
    Torn,
    /// The process lives, half of the record is there, and the disk is full: from here on nothing
    /// can be written any more.
    Full,
}

impl Fate {
    const ALL: [(&'static str, Self); 4] = [
        ("before", Self::Before),
        ("after", Self::After),
        ("torn", Self::Torn),
        ("full", Self::Full),
    ];
}

/// A text names no kill point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kill point is `N`, `N:before`, `N:after`, `N:torn` or `N:full`, with N from 1")]
pub struct NoKillPoint;

impl FromStr for KillPoint {
    type Err = NoKillPoint;

    fn from_str(text: &str) -> Result<Self, NoKillPoint> {
        let (number, how) = match text.split_once(':') {
            Some((number, name)) => {
                let found = Fate::ALL.iter().find(|(known, _)| *known == name);
                (number, found.ok_or(NoKillPoint)?.1)
            }
            None => (text, Fate::default()),
        };
        let write = number.parse().ok().filter(|write| *write > 0);
        Ok(Self {
            write: write.ok_or(NoKillPoint)?,
            how,
        })
    }
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Fate::ALL[self.how as usize];
        write!(f, "{}:{name}", self.write)
    }
}

/// Counts the writes of a process, and ends it at one of them.
#[derive(Debug, Default)]
pub(super) struct Countdown {
    point: Option<KillPoint>,
    written: u64,
}

impl Countdown {
    pub(super) fn to(point: Option<KillPoint>) -> Self {
        Self { point, written: 0 }
    }

    /// Writes a line, or dies in the attempt.
    pub(super) fn write(&mut self, mut file: &File, line: &[u8]) -> io::Result<()> {
        self.written += 1;
        let here = self.point.filter(|point| point.write == self.written);
        let Some(KillPoint { how, .. }) = here else {
            return file.write_all(line);
        };
        let (half, _) = line.split_at(line.len() / 2);
        match how {
            Fate::Before => {}
            Fate::After => file.write_all(line)?,
            Fate::Torn => file.write_all(half)?,
            Fate::Full => {
                file.write_all(half)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        die()
    }
}

/// Ends this process as the kernel would when it has no memory left: nothing of it runs any more.
fn die() -> io::Result<()> {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL)?;
    Err(io::Error::other("this process was killed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_point_reads_as_it_is_written() {
        for text in ["1:before", "7:after", "30:torn", "2:full"] {
            assert_eq!(text.parse::<KillPoint>().unwrap().to_string(), text);
        }
        assert_eq!("3".parse::<KillPoint>().unwrap().to_string(), "3:after");
        for text in ["", "0", "-1", "1:", "1:later", "x", "1:after:torn"] {
            assert_eq!(text.parse::<KillPoint>(), Err(NoKillPoint), "{text}");
        }
    }

    #[test]
    fn a_full_disk_leaves_half_a_line_and_says_so() {
        let held = tempfile::NamedTempFile::new().unwrap();
        let mut countdown = Countdown::to("2:full".parse().ok());
        countdown.write(held.as_file(), b"first\n").unwrap();
        let fault = countdown.write(held.as_file(), b"second\n").unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(held.path()).unwrap(), b"first\nsec");
    }
}
