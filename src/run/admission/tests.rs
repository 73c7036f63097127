//! Tables for each thing that holds, and properties for what must hold in any order.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};

use super::*;

fn run(n: usize) -> RunId {
    format!("r{n}").parse().unwrap()
}

fn role(name: &str) -> Role {
    name.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// An admission whose clock a test sets, and whose memory never ends.
fn admission(slots: usize) -> (Arc<Admission>, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&time);
    let admission = Admission::new(slots, Arc::new(move || at(clock.load(Ordering::SeqCst))));
    (Arc::new(admission.measured(Arc::new(|_| None))), time)
}

fn want(role: &Role) -> Want<'_> {
    Want {
        role,
        provider: "claude",
        memory: 1 << 30,
    }
}

#[test]
fn one_run_gets_its_slots_and_gets_them_again() {
    let (admission, _) = admission(2);
    let (seat, role) = (admission.join(&run(1), 9), role("eng-a"));
    let first = seat.ask(&want(&role)).ok().unwrap();
    let _second = seat.ask(&want(&role)).ok().unwrap();
    assert_eq!(seat.ask(&want(&role)).err(), Some(Hold::Slots));
    drop(first);
    assert!(seat.ask(&want(&role)).is_ok());
}

#[test]
fn runs_share_as_many_slots_as_the_one_wants_that_wants_most() {
    let (admission, _) = admission(9);
    let role = role("eng-a");
    let (a, b) = (admission.join(&run(1), 1), admission.join(&run(2), 2));
    let _one = a.ask(&want(&role)).ok().unwrap();
    let other = b.ask(&want(&role)).ok().unwrap();
    assert_eq!(b.ask(&want(&role)).err(), Some(Hold::Slots));
    let more = admission.join(&run(3), 3);
    let _third = more.ask(&want(&role)).ok().unwrap();
    assert_eq!(b.ask(&want(&role)).err(), Some(Hold::Slots));
    drop((b, other));
    assert!(a.ask(&want(&role)).is_ok());
}

#[tokio::test]
async fn whoever_waits_is_told_when_a_run_brings_more_slots() {
    let (admission, _) = admission(9);
    let (mut a, role) = (admission.join(&run(1), 1), role("eng-a"));
    let _one = a.ask(&want(&role)).ok().unwrap();
    assert_eq!(a.ask(&want(&role)).err(), Some(Hold::Slots));
    let _more = admission.join(&run(2), 2);
    a.changed().await;
    assert!(a.ask(&want(&role)).is_ok());
}

#[test]
fn what_is_held_for_a_provider_or_a_role_is_held_in_every_run_and_until_then() {
    let (admission, time) = admission(9);
    let (a, b) = (admission.join(&run(1), 9), admission.join(&run(2), 9));
    let (one, other) = (role("eng-a"), role("eng-b"));
    a.spare("claude", at(60));
    a.spare("claude", at(30));
    assert_eq!(b.ask(&want(&one)).err(), Some(Hold::Provider(at(60))));
    let elsewhere = Want {
        provider: "replay",
        ..want(&one)
    };
    assert!(b.ask(&elsewhere).is_ok());
    time.store(60, Ordering::SeqCst);
    assert!(b.ask(&want(&one)).is_ok());
    a.trip((&one, "claude"), Some(at(90)));
    let held = b.ask(&want(&one)).err().unwrap();
    assert_eq!(held, Hold::Breaker(at(90)));
    assert!(held.is_of_role());
    assert_eq!(b.again(&held), Some(at(90)));
    assert!(b.ask(&want(&other)).is_ok());
    a.trip((&one, "claude"), None);
    assert!(b.ask(&want(&one)).is_ok());
}

#[test]
fn memory_that_was_promised_a_moment_ago_is_not_promised_again() {
    let time = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&time);
    let admission = Admission::new(9, Arc::new(move || at(clock.load(Ordering::SeqCst))));
    // Half as much again as one wants.
    let admission = Arc::new(admission.measured(Arc::new(|_| Some(3 << 29))));
    let (seat, role) = (admission.join(&run(1), 9), role("eng-a"));
    let given: Vec<Ticket> = (0..3)
        .map(|_| seat.ask(&want(&role)).ok().unwrap())
        .collect();
    let held = seat.ask(&want(&role)).err().unwrap();
    assert_eq!((given.len(), &held), (3, &Hold::Memory(3 << 29)));
    assert!(
        !held.is_of_role(),
        "a larger one is not passed over for ever"
    );
    assert_eq!(seat.again(&held), Some(at(1)));
    time.store(1, Ordering::SeqCst);
    assert!(seat.ask(&want(&role)).is_ok());
}

#[test]
fn what_is_larger_than_the_machine_is_tried_alone() {
    let admission = Admission::new(9, Arc::new(|| at(0))).measured(Arc::new(|_| Some(1)));
    let admission = Arc::new(admission);
    let (seat, role) = (admission.join(&run(1), 9), role("eng-a"));
    let alone = seat.ask(&want(&role)).ok().unwrap();
    assert_eq!(seat.ask(&want(&role)).err(), Some(Hold::Memory(1)));
    drop(alone);
    assert!(seat.ask(&want(&role)).is_ok());
}

#[test]
fn who_wants_much_memory_is_not_passed_for_ever_by_those_who_want_little() {
    let free = Arc::new(AtomicI64::new(3));
    let measured = Arc::clone(&free);
    let time = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&time);
    let admission = Admission::new(
        9,
        Arc::new(move || at(clock.fetch_add(9, Ordering::SeqCst))),
    );
    let admission = Arc::new(admission.measured(Arc::new(move |_| {
        let free = u64::try_from(measured.load(Ordering::SeqCst)).unwrap();
        Some(free << 30)
    })));
    let (small, large) = (admission.join(&run(1), 9), admission.join(&run(2), 9));
    let role = role("eng-a");
    let want = |memory: u64| Want {
        memory: memory << 30,
        ..want(&role)
    };
    let working = small.ask(&want(1)).ok().unwrap();
    free.store(2, Ordering::SeqCst);
    let held = large.ask(&want(3)).err().unwrap();
    assert_eq!(held, Hold::Memory(2 << 30));
    assert_eq!(small.ask(&want(1)).err(), Some(Hold::Turn));
    drop(working);
    free.store(3, Ordering::SeqCst);
    assert_eq!(small.ask(&want(1)).err(), Some(Hold::Turn));
    assert!(large.ask(&want(3)).is_ok());
    // Who gives it up holds nobody up.
    free.store(2, Ordering::SeqCst);
    let working = small.ask(&want(1)).ok().unwrap();
    assert!(large.ask(&want(3)).is_err());
    large.rest();
    assert!(small.ask(&want(1)).is_ok());
    drop(working);
}

#[tokio::test]
async fn whoever_waits_is_told_when_something_is_given_back() {
    let (admission, _) = admission(1);
    let (a, mut b) = (admission.join(&run(1), 9), admission.join(&run(2), 9));
    let role = role("eng-a");
    let ticket = a.ask(&want(&role)).ok().unwrap();
    assert_eq!(b.ask(&want(&role)).err(), Some(Hold::Slots));
    drop(ticket);
    b.changed().await;
    assert_eq!(
        a.ask(&want(&role)).err(),
        Some(Hold::Turn),
        "it is the other's turn"
    );
    assert!(b.ask(&want(&role)).is_ok());
    drop(b);
    assert!(a.ask(&want(&role)).is_ok(), "who is gone has no turn");
}

#[test]
fn who_no_longer_wants_anything_holds_nobody_up() {
    let (admission, _) = admission(1);
    let (a, b) = (admission.join(&run(1), 9), admission.join(&run(2), 9));
    let role = role("eng-a");
    drop(a.ask(&want(&role)).ok().unwrap());
    let ticket = a.ask(&want(&role)).ok().unwrap();
    assert_eq!(b.ask(&want(&role)).err(), Some(Hold::Slots));
    drop(ticket);
    b.rest();
    assert!(a.ask(&want(&role)).is_ok());
}

/// Which run asks next, and whether one of the attempts under way ends before.
fn steps() -> impl Strategy<Value = Vec<(usize, bool, prop::sample::Index)>> {
    prop::collection::vec(
        (0..5_usize, any::<bool>(), any::<prop::sample::Index>()),
        1..400,
    )
}

proptest! {
    #[test]
    fn no_more_is_given_than_there_is_and_no_run_is_served_twice_before_one_that_waits(
        slots in 1..8_usize,
        // What there is of memory, and how much an attempt of each run wants and uses.
        machine in 1..12_u64,
        wants in prop::array::uniform5(0..12_u64),
        steps in steps(),
    ) {
        let mut ledger = Ledger::new(slots);
        let mut held: Vec<usize> = Vec::new();
        (0..5).for_each(|n| ledger.join(&run(n), slots));
        let role = role("eng-a");
        // How often others were served while a run waited that had nothing.
        let mut waits: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
        let mut time = 0;
        for (who, ends, which) in steps {
            if ends && !held.is_empty() {
                let ended = held.swap_remove(which.index(held.len()));
                ledger.give_back(&run(ended));
            }
            // Everybody who waits was told, and asks first.
            let waiting: Vec<usize> = waits.keys().copied().collect();
            for asks in waiting.into_iter().chain([who]) {
                time += 1;
                let used: u64 = held.iter().map(|one| wants[*one]).sum();
                let (wanted, free) = (wants[asks], machine.saturating_sub(used));
                let want = Want { memory: wanted, ..want(&role) };
                if ledger.ask(&run(asks), &want, (at(time), Some(free))).is_ok() {
                    prop_assert!(held.is_empty() || wanted <= free);
                    held.push(asks);
                    waits.remove(&asks);
                    for served in waits.values_mut() {
                        *served.entry(asks).or_default() += 1;
                    }
                } else {
                    waits.entry(asks).or_default();
                }
            }
            prop_assert!(held.len() <= slots);
            // Where nothing runs, whoever comes first may go.
            prop_assert!(waits.is_empty() || !held.is_empty());
            for (waiting, served) in &mut waits {
                if held.contains(waiting) {
                    // It has its part, and others that have less go first.
                    served.clear();
                }
                prop_assert!(served.values().all(|times| *times <= 1), "{waiting} waits: {served:?}");
            }
        }
    }

    #[test]
    fn runs_that_always_want_share_the_slots_evenly(slots in 1..8_usize, rounds in 50..200_usize) {
        let mut ledger = Ledger::new(slots);
        (0..3).for_each(|n| ledger.join(&run(n), slots));
        let role = role("eng-a");
        let mut held: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
        let mut served = [0_usize; 3];
        for _ in 0..rounds {
            loop {
                let mut gave = false;
                for (who, count) in served.iter_mut().enumerate() {
                    if ledger.ask(&run(who), &want(&role), (at(0), None)).is_ok() {
                        held.push_back(who);
                        *count += 1;
                        gave = true;
                    }
                }
                if !gave {
                    break;
                }
            }
            let ended = held.pop_front().unwrap();
            ledger.give_back(&run(ended));
        }
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        prop_assert!(most - least <= 1 + slots.div_ceil(3), "{served:?}");
    }
}
