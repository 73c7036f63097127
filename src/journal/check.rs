//! Checking a whole journal, on all processors and in constant memory.
//!
//! The file is read in blocks of whole lines. Each block is checked by itself from its first line
//! on; joining the blocks in order then says whether each follows the one before. What is called
//! wrong is the record that reading one by one would have stopped at.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
};

use super::{
    error::{Fault, JournalError},
    line::{self, FORMAT, LONGEST},
    place,
};
use crate::{digest::Digest, event::Record};

/// How much is read at once; a block is this and the rest of its last line.
const BLOCK: usize = 1 << 20;

/// A sound journal.
pub(super) struct Checked {
    /// What its first record says.
    pub(super) format: u64,
    /// Complete records.
    pub(super) records: u64,
    /// The hash of the last, zeros before the first.
    pub(super) last_hash: Digest,
    /// Bytes after the last complete record.
    pub(super) torn: u64,
    /// The hash of each record that was asked for and is there.
    pub(super) hashes: BTreeMap<u64, Digest>,
    /// The first record.
    pub(super) first: Option<Record>,
    /// The last record.
    pub(super) last: Option<Record>,
}

/// Checks a journal and returns the hashes of the records in `wanted`, which is sorted.
pub(super) fn check(path: &Path, wanted: &[u64]) -> Result<Checked, JournalError> {
    check_by(path, wanted, BLOCK)
}

/// The same, `size` bytes at a time.
pub(super) fn check_by(path: &Path, wanted: &[u64], size: usize) -> Result<Checked, JournalError> {
    let file = place::open_to_read(path)?;
    let io = |source| JournalError::io("read", path, source);
    let mut blocks = Blocks::new(file, size);
    let mut joined = Joined::new(path);
    let Some(first) = blocks.next().map_err(io)? else {
        return joined.end(blocks.rest);
    };
    joined.take_format(&first)?;
    joined.take(judge(&first, wanted))?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (give, take) = mpsc::sync_channel::<(usize, Vec<u8>)>(2 * workers);
    let take = &Mutex::new(take);
    let read = std::thread::scope(|scope| {
        let (answer, answers) = mpsc::channel();
        for _ in 0..workers {
            let answer = answer.clone();
            scope.spawn(move || {
                while let Some((at, block)) = next(take) {
                    // Nobody waits for an answer once something was found.
                    answer.send((at, judge(&block, wanted))).ok();
                }
            });
        }
        drop(answer);
        let read = feed(&mut blocks, &give, &mut |wait| {
            joined.gather(&answers, wait)
        });
        drop(give);
        read.and_then(|()| {
            joined
                .gather(&answers, Wait::ForAll)
                .map_err(Stopped::Broken)
        })
    });
    match read {
        Ok(()) => joined.end(blocks.rest),
        Err(Stopped::Broken(error)) => Err(error),
        Err(Stopped::Unread(source)) => Err(io(source)),
    }
}

/// Why reading ended early.
enum Stopped {
    Broken(JournalError),
    Unread(std::io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForNone,
    ForAll,
}

fn next(take: &Mutex<mpsc::Receiver<(usize, Vec<u8>)>>) -> Option<(usize, Vec<u8>)> {
    take.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

fn feed(
    blocks: &mut Blocks,
    give: &mpsc::SyncSender<(usize, Vec<u8>)>,
    gather: &mut dyn FnMut(Wait) -> Result<(), JournalError>,
) -> Result<(), Stopped> {
    let mut at = 1;
    while let Some(block) = blocks.next().map_err(Stopped::Unread)? {
        if give.send((at, block)).is_err() {
            break;
        }
        at += 1;
        gather(Wait::ForNone).map_err(Stopped::Broken)?;
    }
    Ok(())
}

/// The file as blocks of whole lines.
struct Blocks {
    file: File,
    /// What was read after the last line break.
    rest: Vec<u8>,
    ended: bool,
    size: usize,
}

impl Blocks {
    fn new(file: File, size: usize) -> Self {
        Self {
            file,
            size,
            rest: Vec::new(),
            ended: false,
        }
    }

    /// Returns the next whole lines; none at the end, or where a line is longer than one may be.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        while !self.ended && self.rest.len() < LONGEST {
            let before = self.rest.len();
            self.rest.reserve(self.size);
            let most = self.size.min(LONGEST - before) as u64;
            let read = (&self.file).take(most).read_to_end(&mut self.rest)?;
            self.ended = (read as u64) < most;
            if let Some(end) = self.rest[before..].iter().rposition(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(before + end + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
        }
        Ok(None)
    }
}

/// What one block says of itself.
#[derive(Default)]
struct Judged {
    /// Its first line, of which only the joining knows where it should stand.
    first: Option<line::Read>,
    /// Sound lines, that one included.
    lines: u64,
    last: Option<Record>,
    hashes: Vec<(u64, Digest)>,
    /// What is wrong with the line after them.
    fault: Option<Fault>,
}

fn judge(block: &[u8], wanted: &[u64]) -> Judged {
    let mut judged = Judged::default();
    let (mut seq, mut hash) = (0_u64, Digest::default());
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let read = match line::read(line) {
            Ok(read) => read,
            Err(fault) => {
                judged.fault = Some(fault);
                break;
            }
        };
        if judged.lines == 0 {
            (seq, hash) = (read.record.seq, read.record.hash);
            judged.first = Some(read);
        } else {
            seq = seq.wrapping_add(1);
            match read.placed(seq, hash) {
                Ok(record) => {
                    hash = record.hash;
                    judged.last = Some(record);
                }
                Err(fault) => {
                    judged.fault = Some(fault);
                    break;
                }
            }
        }
        judged.lines += 1;
        if wanted.binary_search(&seq).is_ok() {
            judged.hashes.push((seq, hash));
        }
    }
    judged
}

/// The blocks so far, in order.
struct Joined<'a> {
    path: &'a Path,
    checked: Checked,
    /// Answers that came before those of earlier blocks.
    early: BTreeMap<usize, Judged>,
    /// Blocks taken.
    taken: usize,
}

impl<'a> Joined<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            checked: Checked {
                format: FORMAT,
                records: 0,
                last_hash: Digest::default(),
                torn: 0,
                hashes: BTreeMap::new(),
                first: None,
                last: None,
            },
            early: BTreeMap::new(),
            taken: 0,
        }
    }

    fn take_format(&mut self, block: &[u8]) -> Result<(), JournalError> {
        let line = block.split(|byte| *byte == b'\n').next().unwrap_or(block);
        match line::format(line).map_err(|fault| self.broken(fault))? {
            0 => Err(self.broken(Fault::Format)),
            found if found > FORMAT => Err(JournalError::Newer {
                path: self.path.to_owned(),
                found,
            }),
            found => {
                self.checked.format = found;
                Ok(())
            }
        }
    }

    fn gather(
        &mut self,
        answers: &mpsc::Receiver<(usize, Judged)>,
        wait: Wait,
    ) -> Result<(), JournalError> {
        loop {
            let answer = match wait {
                Wait::ForNone => answers.try_recv().ok(),
                Wait::ForAll => answers.recv().ok(),
            };
            let Some((at, judged)) = answer else {
                return Ok(());
            };
            self.early.insert(at, judged);
            while let Some(judged) = self.early.remove(&self.taken) {
                self.take(judged)?;
            }
        }
    }

    /// Takes the next block.
    fn take(&mut self, judged: Judged) -> Result<(), JournalError> {
        self.taken += 1;
        if let Some(first) = judged.first {
            let (seq, prev) = (self.checked.records + 1, self.checked.last_hash);
            let record = first
                .placed(seq, prev)
                .map_err(|fault| self.broken(fault))?;
            self.checked.records = seq;
            self.checked.last_hash = record.hash;
            if self.checked.first.is_none() {
                self.checked.first = Some(record.clone());
            }
            self.checked.last = Some(record);
        }
        self.checked.records += judged.lines.saturating_sub(1);
        if let Some(last) = judged.last {
            self.checked.last_hash = last.hash;
            self.checked.last = Some(last);
        }
        self.checked.hashes.extend(judged.hashes);
        judged.fault.map_or(Ok(()), |fault| Err(self.broken(fault)))
    }

    fn end(mut self, rest: Vec<u8>) -> Result<Checked, JournalError> {
        if rest.len() >= LONGEST {
            return Err(self.broken(Fault::TooLong));
        }
        self.checked.torn = rest.len() as u64;
        Ok(self.checked)
    }

    fn broken(&self, fault: Fault) -> JournalError {
        JournalError::Broken {
            path: self.path.to_owned(),
            record: self.checked.records + 1,
            fault,
        }
    }
}
