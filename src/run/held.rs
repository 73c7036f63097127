//! The runs that one process holds, and what is asked of each.
//!
//! ```text
//!          sit              begins(run)                 dropped
//!  closed ◀── empty ──▶ seat ──────────▶ seat of a run ────────▶ gone
//!     ▲          ▲
//!     │          └── ends: who sits goes on, nobody sits down any more
//!     └── close: only while nobody sits
//! ```
//!
//! A seat is taken before anything of a run is made and given back after the last of it is gone, so
//! that a process that closes holds nothing. It does not run anything, and does not know who asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};

use crate::{name::RunId, task::TaskRequest};

use super::driver::{Answer, Control};

/// What may be asked of a run before it has looked: more is not taken.
const ASKED: usize = 64;

/// All runs of a process.
#[derive(Debug)]
pub struct Held {
    seats: Mutex<Seats>,
    /// How many sit. Told, too, when one of them begins a run.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Seats {
    closed: bool,
    /// Numbers are given in the order of time, and never twice.
    next: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    run: Option<RunId>,
    controls: mpsc::Sender<Control>,
}

/// The right to hold a run, for as long as it lives.
#[derive(Debug)]
pub struct Berth {
    held: Arc<Held>,
    number: u64,
}

/// A run is held already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {run} goes on already; `loki attach {run}` follows it")]
pub struct HeldAlready {
    /// Which.
    pub run: RunId,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            seats: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Held {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat for a run to come, and returns what is asked of it; none once nobody may sit
    /// down any more.
    #[must_use]
    pub fn sit(self: &Arc<Self>) -> Option<(Arc<Berth>, mpsc::Receiver<Control>)> {
        let mut seats = self.seats();
        if seats.closed {
            return None;
        }
        let number = seats.next;
        seats.next += 1;
        let (controls, asked) = mpsc::channel(ASKED);
        let run = None;
        seats.taken.insert(number, Taken { run, controls });
        self.count.send_replace(seats.taken.len());
        let held = Arc::clone(self);
        Some((Arc::new(Berth { held, number }), asked))
    }

    /// Closes this for good when nobody sits; returns whether nobody does.
    #[must_use]
    pub fn close(&self) -> bool {
        let mut seats = self.seats();
        let empty = seats.taken.is_empty();
        seats.closed = seats.closed || empty;
        empty
    }

    /// Asks all runs to end, and lets nobody sit down any more.
    pub fn ends(&self, control: &Control) {
        let mut seats = self.seats();
        seats.closed = true;
        for one in seats.taken.values() {
            // A run that does not look at what it was asked 64 times hears no 65th.
            one.controls.try_send(control.clone()).ok();
        }
    }

    /// Waits until nobody sits. Somebody may sit down again until this is closed.
    pub async fn emptied(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as this does.
        count.wait_for(|count| *count == 0).await.ok();
    }

    /// Waits until a run that has a seat now has it no more; one without a seat is not waited for.
    pub async fn left(&self, run: &RunId) {
        let mut changes = self.count.subscribe();
        let mut seated = self.seated().into_iter();
        let Some((seat, _)) = seated.find(|(_, one)| one == run) else {
            return;
        };
        while self.seats().taken.contains_key(&seat) {
            // The sender lives as long as this does.
            changes.changed().await.ok();
        }
    }

    /// Returns the runs that have begun, in the order in which they came.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        let seats = self.seats();
        let runs = seats.taken.values().filter_map(|one| one.run.clone());
        runs.collect()
    }

    /// Returns them with the numbers of their seats: a run that is gone on with has another.
    #[must_use]
    pub fn seated(&self) -> Vec<(u64, RunId)> {
        let seats = self.seats();
        let runs = seats.taken.iter();
        runs.filter_map(|(number, one)| Some((*number, one.run.clone()?)))
            .collect()
    }

    /// Returns whether no run that came after this one is held.
    #[must_use]
    pub fn is_newest(&self, run: &RunId) -> bool {
        let seats = self.seats();
        let newest = seats.taken.values().rev().find_map(|one| one.run.as_ref());
        newest.is_none_or(|newest| newest == run)
    }

    /// Asks something of a run; returns whether it is held and may hear it.
    pub fn tell(&self, run: &RunId, control: Control) -> bool {
        let seats = self.seats();
        for one in seats.taken.values() {
            if one.run.as_ref() == Some(run) && one.controls.try_send(control.clone()).is_ok() {
                return true;
            }
        }
        false
    }

    /// Has a run change its tasks, and returns what became of that; none when it is not held, or ends
    /// before it has looked.
    pub async fn change(&self, run: &RunId, change: TaskRequest) -> Option<Result<(), String>> {
        let (answer, mut told) = Answer::new();
        let way = self.way_to(run)?;
        let control = Control::Change(Box::new(change), answer);
        way.send(control).await.ok()?;
        told.recv().await
    }

    fn way_to(&self, run: &RunId) -> Option<mpsc::Sender<Control>> {
        let seats = self.seats();
        let mut taken = seats.taken.values();
        let of_run = taken.find(|one| one.run.as_ref() == Some(run))?;
        Some(of_run.controls.clone())
    }

    /// Tells when somebody sits down, begins or stands up.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Asks something of the run in a seat, begun or not; returns whether it may hear it.
    pub fn tell_seat(&self, number: u64, control: Control) -> bool {
        let seats = self.seats();
        let seat = seats.taken.get(&number);
        seat.is_some_and(|one| one.controls.try_send(control).is_ok())
    }
}

impl Berth {
    /// Returns its number, by which [`Held::tell_seat`] finds it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Says which run this is the seat of.
    ///
    /// # Errors
    /// When another seat is that run's.
    pub fn begins(&self, run: &RunId) -> Result<(), HeldAlready> {
        let mut seats = self.held.seats();
        let is_others =
            |(at, one): (&u64, &Taken)| *at != self.number && one.run.as_ref() == Some(run);
        if seats.taken.iter().any(is_others) {
            return Err(HeldAlready { run: run.clone() });
        }
        if let Some(own) = seats.taken.get_mut(&self.number) {
            own.run = Some(run.clone());
        }
        self.held.count.send_modify(|_| {});
        Ok(())
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let mut seats = self.held.seats();
        seats.taken.remove(&self.number);
        self.held.count.send_replace(seats.taken.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Change;

    fn run(name: &str) -> RunId {
        name.parse().unwrap()
    }

    fn drain(by: &str) -> Control {
        Control::Drain(by.to_owned())
    }

    #[test]
    fn what_is_asked_of_one_run_is_not_asked_of_another() {
        let held = Arc::new(Held::default());
        let ((one, mut a), (two, mut b)) = (held.sit().unwrap(), held.sit().unwrap());
        one.begins(&run("a")).unwrap();
        two.begins(&run("b")).unwrap();
        assert!(held.tell(&run("b"), drain("b")));
        assert!(!held.tell(&run("c"), drain("c")));
        assert!(held.tell_seat(one.number(), drain("a")));
        assert_eq!(a.try_recv(), Ok(drain("a")));
        assert_eq!(b.try_recv(), Ok(drain("b")));
        assert!(a.try_recv().is_err() && b.try_recv().is_err());
    }

    #[test]
    fn what_ends_is_told_to_all_and_nobody_sits_down_any_more() {
        let held = Arc::new(Held::default());
        let ((_one, mut a), (_two, mut b)) = (held.sit().unwrap(), held.sit().unwrap());
        held.ends(&drain("TERM"));
        assert_eq!(a.try_recv(), Ok(drain("TERM")));
        assert_eq!(b.try_recv(), Ok(drain("TERM")));
        assert!(held.sit().is_none());
        assert!(!held.close(), "two sit still");
    }

    #[test]
    fn a_run_that_never_looks_holds_nobody_up() {
        let held = Arc::new(Held::default());
        let (seat, _asked) = held.sit().unwrap();
        seat.begins(&run("a")).unwrap();
        let heard = (0..1000).filter(|_| held.tell(&run("a"), drain("x")));
        assert_eq!(heard.count(), ASKED);
    }

    #[test]
    fn a_run_is_held_once_and_again_when_it_was_given_back() {
        let held = Arc::new(Held::default());
        let ((one, _a), (two, _b)) = (held.sit().unwrap(), held.sit().unwrap());
        one.begins(&run("a")).unwrap();
        assert_eq!(two.begins(&run("a")), Err(HeldAlready { run: run("a") }));
        two.begins(&run("b")).unwrap();
        assert_eq!(held.runs(), [run("a"), run("b")]);
        assert!(held.is_newest(&run("b")) && !held.is_newest(&run("a")));
        drop(two);
        assert!(held.is_newest(&run("a")));
        drop(one);
        held.sit().unwrap().0.begins(&run("a")).unwrap();
    }

    #[tokio::test]
    async fn it_closes_only_when_nobody_sits_and_then_nobody_may() {
        let held = Arc::new(Held::default());
        let seat = held.sit().unwrap();
        assert!(!held.close());
        drop(seat);
        held.emptied().await;
        assert!(held.close());
        assert!(held.sit().is_none());
        assert!(held.close());
    }

    #[tokio::test]
    async fn a_run_is_waited_for_until_its_seat_is_given_back_and_another_seat_of_it_is_not() {
        let held = Arc::new(Held::default());
        held.left(&run("a")).await;
        let ((one, _a), (two, _b)) = (held.sit().unwrap(), held.sit().unwrap());
        one.begins(&run("a")).unwrap();
        let a = run("a");
        let mut waits = std::pin::pin!(held.left(&a));
        let pause = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(pause, &mut waits).await.is_err());
        drop(two);
        assert!(tokio::time::timeout(pause, &mut waits).await.is_err());
        drop(one);
        let again = held.sit().unwrap();
        again.0.begins(&a).unwrap();
        waits.await;
    }

    #[tokio::test]
    async fn a_change_that_its_run_does_not_live_to_hear_was_not_made() {
        let held = Arc::new(Held::default());
        let (seat, mut asked) = held.sit().unwrap();
        seat.begins(&run("a")).unwrap();
        let change = || TaskRequest {
            run: Some(run("a")),
            by: "x".to_owned(),
            change: Change::Retry {
                task: "t".parse().unwrap(),
            },
        };
        assert_eq!(held.change(&run("b"), change()).await, None);
        let heard = async {
            let control = asked.recv().await;
            drop(asked);
            control.map(drop)
        };
        let of = run("a");
        let (made, heard) = tokio::join!(held.change(&of, change()), heard);
        assert_eq!((made, heard), (None, Some(())));
        assert_eq!(held.change(&of, change()).await, None);
    }
}
