//! Cuts contents where they say so themselves, so that what is inserted or removed in the middle
//! moves no later cut, and looks for secret values on the way.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;

use crate::redact::Redactor;

use super::pack::CHUNK;

/// The shortest and the usual length of a chunk of a file.
const FILE: (usize, usize) = (16 << 10, 64 << 10);
/// Those of a chunk of a listing: a changed line should cost little.
const LISTING: (usize, usize, usize) = (1 << 10, 4 << 10, 16 << 10);
/// Bytes that are read at once.
pub(super) const BUFFER: usize = 1 << 20;
/// Bytes at the end of what was read that are not given out yet: a value that ends in what comes
/// next begins in no fewer. `redact` looks for pieces of half as many.
const HELD: usize = 64;

/// What came of reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it was given out; so many bytes.
    Whole(u64),
    /// It holds a secret value. What was given out before holds no part of it.
    Secret,
}

/// Cuts files; its buffer is used again and again.
pub(super) struct Cutter {
    buffer: Vec<u8>,
    secrets: Redactor,
}

impl Cutter {
    /// Prepares cutting.
    pub(super) fn new(secrets: &Redactor) -> Self {
        Self {
            buffer: vec![0; BUFFER],
            secrets: secrets.clone(),
        }
    }

    /// Returns one without a buffer, to stand in the place of one that is at work.
    pub(super) fn idle() -> Self {
        Self {
            buffer: Vec::new(),
            secrets: Redactor::default(),
        }
    }

    /// Reads at most `most` bytes and gives out chunks in order.
    pub(super) fn cut<E: From<io::Error>>(
        &mut self,
        mut from: impl Read,
        most: u64,
        mut give: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Cut, E> {
        let mut search = self.secrets.search();
        let (mut held, mut total) = (0_usize, 0_u64);
        loop {
            let room = usize::try_from(most - total).unwrap_or(usize::MAX);
            let until = BUFFER.min(held.saturating_add(room));
            let (read, mut ended) = fill(&mut from, &mut self.buffer[held..until])?;
            total += read as u64;
            ended |= total == most;
            let (fresh, end) = (&self.buffer[held..held + read], held + read);
            if search.finds(fresh) {
                return Ok(Cut::Secret);
            }
            let given = give_out(
                &self.buffer[..end],
                if ended { Rest::None } else { Rest::Comes },
                &mut give,
            )?;
            if ended {
                return Ok(Cut::Whole(total));
            }
            self.buffer.copy_within(given..end, 0);
            held = end - given;
        }
    }
}

/// What follows the bytes at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// More of them.
    Comes,
    /// Nothing.
    None,
}

/// Gives out the chunks of a buffer whose ends are certain, and returns how many bytes they have.
fn give_out<E>(
    bytes: &[u8],
    rest: Rest,
    give: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let cutter = FastCDC::new(bytes, FILE.0, FILE.1, CHUNK);
    let mut at = 0;
    while at < bytes.len() {
        let left = bytes.len() - at;
        let end = match left <= FILE.0 {
            true => bytes.len(),
            false => cutter.cut(at, left).1,
        };
        if rest == Rest::Comes && (left < CHUNK || end + HELD > bytes.len()) {
            break;
        }
        give(&bytes[at..end])?;
        at = end;
    }
    Ok(at)
}

/// Cuts a listing while it is written, and gives out its chunks.
pub(super) struct Listed<'g> {
    buffer: Vec<u8>,
    give: &'g mut dyn FnMut(&[u8]) -> io::Result<()>,
}

impl<'g> Listed<'g> {
    /// Begins a listing.
    pub(super) fn new(give: &'g mut dyn FnMut(&[u8]) -> io::Result<()>) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { buffer, give }
    }

    /// Gives out what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.give_out(Rest::None)
    }

    /// Cuts as far as the ends of chunks are certain: as if all had been there at once.
    fn give_out(&mut self, rest: Rest) -> io::Result<()> {
        let (shortest, usual, longest) = LISTING;
        let cutter = FastCDC::new(&self.buffer, shortest, usual, longest);
        let mut at = 0;
        while at < self.buffer.len() {
            let left = self.buffer.len() - at;
            if rest == Rest::Comes && left < longest {
                break;
            }
            let end = match left <= shortest {
                true => self.buffer.len(),
                false => cutter.cut(at, left).1,
            };
            (self.give)(&self.buffer[at..end])?;
            at = end;
        }
        self.buffer.drain(..at);
        Ok(())
    }
}

impl io::Write for Listed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.give_out(Rest::Comes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until the buffer is full or nothing is left, and returns which.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut read = 0;
    while read < buffer.len() {
        match from.read(&mut buffer[read..]) {
            Ok(0) => return Ok((read, true)),
            Ok(count) => read += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok((read, false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;
    use crate::redact::Values;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).unwrap()
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn cut(bytes: &[u8], secrets: &Redactor) -> (Cut, Vec<Vec<u8>>) {
        let mut chunks = Vec::new();
        let give = |chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok::<(), io::Error>(())
        };
        let cut = Cutter::new(secrets)
            .cut(bytes, bytes.len() as u64, give)
            .unwrap();
        (cut, chunks)
    }

    #[test]
    fn an_insertion_at_the_start_leaves_nearly_every_later_chunk_as_it_was() {
        let before = noise(7, 5 << 20);
        let after = [b"inserted".as_slice(), &before].concat();
        let (old, new) = (
            cut(&before, &Redactor::default()).1,
            cut(&after, &Redactor::default()).1,
        );
        assert!(old.len() > 20);
        let changed = new.iter().filter(|chunk| !old.contains(chunk)).count();
        assert!(changed <= 2, "{changed} of {} chunks changed", new.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn chunks_are_the_file_and_none_is_too_long(seed: u64, length in 0_usize..(3 << 20)) {
            let bytes = noise(seed, length);
            let (whole, chunks) = cut(&bytes, &Redactor::default());
            prop_assert_eq!(whole, Cut::Whole(length as u64));
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK && !chunk.is_empty()));
            prop_assert!(chunks.concat() == bytes);
        }

        #[test]
        fn attack_c8_no_part_of_a_value_is_given_out_wherever_it_stands(at in 0_usize..(3 << 20), over in 0_usize..80) {
            let value = "sk-canary-0123456789abcdef0123456789abcdef0123456789";
            let values: Values = [("KEY".to_owned(), Zeroizing::new(value.to_owned()))].into_iter().collect();
            // Where buffers meet is where a search could lose its place.
            let at = if over < 60 { (BUFFER * (1 + at % 2) + 30).saturating_sub(over) } else { at };
            let mut bytes = noise(9, 3 << 20);
            bytes.splice(at..at, value.bytes());
            let (found, chunks) = cut(&bytes, &Redactor::new(&values));
            prop_assert_eq!(found, Cut::Secret);
            let given = chunks.concat();
            prop_assert!(given.len() <= at, "{} of the value were given out", given.len() - at);
        }
    }
}
