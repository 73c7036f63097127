//! How many sandboxes stand, of all runs of a process: each run has a pool of its own, and memory and
//! `max_total` are the machine's.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::memory::Memory;

/// What a slot costs that waits: its guest, the engine's programs beside it, its files.
const SLOT: u64 = 32 << 20;
/// This part of all memory is left to those who work.
const RESERVE: u64 = 4;

/// What the pools of a process share.
#[derive(Clone)]
pub struct Crowd {
    count: Arc<watch::Sender<Count>>,
    memory: Arc<dyn Fn() -> Option<Memory> + Send + Sync>,
}

/// How many sandboxes there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that stand: idle, being made ready, or somebody's.
    pub(super) all: usize,
    /// Those of them that are being made ready, and have not used their memory yet.
    pub(super) preparing: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            count: Arc::new(watch::Sender::new(Count::default())),
            memory: Arc::new(Memory::read),
        }
    }
}

impl Crowd {
    /// Measures memory in another way.
    #[cfg(test)]
    pub(super) fn measured(memory: impl Fn() -> Option<Memory> + Send + Sync + 'static) -> Self {
        Self {
            memory: Arc::new(memory),
            ..Self::default()
        }
    }

    /// Returns how many slots there is room for, those included that are being made ready. Where
    /// nothing can be read there is room for none.
    pub(super) fn room(&self) -> u64 {
        (self.memory)().map_or(0, |memory| memory.room((SLOT, RESERVE)))
    }

    /// Tells of every change of the count, by whichever pool.
    pub(super) fn changes(&self) -> watch::Receiver<Count> {
        self.count.subscribe()
    }

    /// Begins the part of one pool.
    pub(super) fn part(&self) -> Part {
        Part {
            crowd: self.clone(),
            told: Count::default(),
        }
    }
}

/// What one pool has of it, for as long as there is that pool.
pub(super) struct Part {
    crowd: Crowd,
    told: Count,
}

impl Part {
    /// Says how many the pool has now.
    pub(super) fn is(&mut self, now: Count) {
        let before = std::mem::replace(&mut self.told, now);
        self.crowd.count.send_if_modified(|count| {
            count.all = (count.all + now.all).saturating_sub(before.all);
            count.preparing = (count.preparing + now.preparing).saturating_sub(before.preparing);
            now != before
        });
    }

    /// Takes note of one more that is being made ready, unless so many stand, or there is no room.
    pub(super) fn grows(&mut self, (most, room): (usize, u64)) -> Result<(), Full> {
        let mut full = None;
        self.crowd.count.send_if_modified(|count| {
            if count.all >= most {
                full = Some(Full::Places);
            } else if room <= count.preparing as u64 {
                full = Some(Full::Memory);
            } else {
                count.all += 1;
                count.preparing += 1;
            }
            full.is_none()
        });
        match full {
            Some(full) => Err(full),
            None => {
                self.told.all += 1;
                self.told.preparing += 1;
                Ok(())
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.is(Count::default());
    }
}

/// Why no other slot is made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// So many stand already: it is told when one is gone.
    Places,
    /// There is no memory for it.
    Memory,
}
