//! Whatever the order of events, and whatever becomes of the tasks.

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

/// Plans without cycles: a task depends only on earlier ones, then the order is reversed or not.
fn plans() -> impl Strategy<Value = Vec<Task>> {
    let edges = prop::collection::vec(
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        1..8,
    );
    (edges, any::<bool>()).prop_map(|(edges, reverse)| {
        let depends = |(at, on): (usize, &Vec<prop::sample::Index>)| {
            let on: Vec<usize> = on.iter().filter(|_| at > 0).map(|i| i.index(at)).collect();
            task(at, &on)
        };
        let mut tasks: Vec<Task> = edges.iter().enumerate().map(depends).collect();
        if reverse {
            tasks.reverse();
        }
        tasks
    })
}

/// Any event about tasks, most of them impossible when they come.
fn events() -> impl Strategy<Value = Event> {
    let about = || (0..8_usize, 1..4_u64, 1..4_u32);
    prop_oneof![
        6 => about().prop_map(|(at, version, attempt)| claimed(at, version, attempt)),
        4 => about().prop_map(|(at, version, attempt)| done(at, version, attempt)),
        2 => (about(), any::<bool>())
            .prop_map(|((at, version, attempt), retry)| failed(at, version, attempt, retry)),
        2 => about().prop_map(|(at, version, attempt)| conflicted(at, version, attempt)),
        1 => plans().prop_map(|tasks| Event::Planned { tasks }),
        1 => any::<bool>()
            .prop_map(|drain| Event::StopRequested { by: "test".to_owned(), drain }),
        1 => prop_oneof![
            Just(Outcome::Done),
            Just(Outcome::Failed),
        ].prop_map(|outcome| Event::RunEnded { outcome, reason: None }),
    ]
}

/// What must hold after every event, seen from outside.
fn assert_sound(queue: &Queue, before: &Queue, event: &Event) {
    for standing in queue.tasks() {
        let is_done = |id: &TaskId| queue.get(id).unwrap().state == State::Done;
        if matches!(standing.state, State::Claimed | State::Done | State::Failed) {
            assert!(standing.task.depends_on.iter().all(is_done), "{event:?}");
        }
        assert!(standing.attempts <= queue.max_attempts());
        let Some(earlier) = before.get(&standing.task.id) else {
            continue;
        };
        assert!(standing.version >= earlier.version && standing.attempts >= earlier.attempts);
        if matches!(earlier.state, State::Done | State::Failed | State::Blocked) {
            assert_eq!(earlier.state, standing.state);
        }
    }
    for action in queue.next(usize::MAX) {
        let Action::Claim {
            task,
            version,
            attempt,
        } = action
        else {
            continue;
        };
        assert_eq!(queue.stopping(), Stopping::No);
        let mut copy = queue.clone();
        copy.apply(&Event::TaskClaimed {
            task,
            version,
            attempt,
        })
        .unwrap();
    }
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_the_queue_sound(
        plan in plans(),
        events in prop::collection::vec(events(), 0..200),
    ) {
        let mut queue = Queue::with_max_attempts(3);
        let mut taken: Vec<Event> = Vec::new();
        let mut holders: HashMap<TaskId, u32> = HashMap::new();
        for event in std::iter::once(Event::Planned { tasks: plan }).chain(events) {
            let before = queue.clone();
            if queue.apply(&event).is_err() {
                prop_assert_eq!(&queue, &before);
                continue;
            }
            match &event {
                Event::TaskClaimed { task, .. } => {
                    prop_assert_eq!(before.stopping(), Stopping::No);
                    prop_assert_eq!(*holders.entry(task.clone()).and_modify(|n| *n += 1).or_insert(1), 1);
                }
                Event::TaskDone { task, .. }
                | Event::TaskFailed { task, .. }
                | Event::TaskConflicted { task, .. } => {
                    holders.entry(task.clone()).and_modify(|n| *n -= 1);
                }
                _ => {}
            }
            assert_sound(&queue, &before, &event);
            taken.push(event);
        }
        let mut replayed = Queue::with_max_attempts(3);
        apply_all(&mut replayed, &taken);
        prop_assert_eq!(replayed, queue);
    }

    #[test]
    fn a_driven_queue_ends_with_every_task_done_failed_or_blocked(
        plan in plans(),
        free in 1..4_usize,
        fates in prop::collection::vec((0..10_u8, any::<prop::sample::Index>()), 1..50),
    ) {
        let mut queue = planned(plan);
        let mut running: Vec<(TaskId, u64, u32)> = Vec::new();
        let mut fates = fates.into_iter().cycle();
        let outcome = loop {
            let actions = queue.next(free - running.len());
            if let [Action::Finish(outcome)] = actions[..] {
                break outcome;
            }
            for action in actions {
                let Action::Claim { task, version, attempt } = action else { panic!("claim and end") };
                queue.apply(&Event::TaskClaimed { task: task.clone(), version, attempt }).unwrap();
                running.push((task, version, attempt));
            }
            prop_assert!(!running.is_empty(), "nothing runs, nothing is claimed, nothing ends");
            let (fate, which) = fates.next().unwrap();
            let (task, version, attempt) = running.remove(which.index(running.len()));
            let event = match fate {
                0..=5 => Event::TaskDone { task, version, attempt, commit: None },
                6 => Event::TaskConflicted { task, version, attempt, files: Vec::new() },
                _ => Event::TaskFailed {
                    task, version, attempt, reason: String::new(), retry: fate < 9,
                },
            };
            queue.apply(&event).unwrap();
        };
        let all_done = queue.tasks().all(|standing| standing.state == State::Done);
        prop_assert_eq!(outcome, if all_done { Outcome::Done } else { Outcome::Failed });
        for standing in queue.tasks() {
            let open = matches!(standing.state, State::Pending | State::Claimed);
            prop_assert!(!open);
        }
        prop_assert_eq!(queue.apply(&Event::RunEnded { outcome, reason: None }), Ok(()));
    }
}
