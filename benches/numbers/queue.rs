//! Claims: a hundred claimers ask for tasks of one run, and each claim is in the journal before its
//! claimer hears of it. Beside it a queue as it is commonly kept: one JSON file behind a lock.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::mpsc,
    thread,
    time::Instant,
};

use loki::{
    event::Event,
    journal::{Key, Sealing, Writer},
    name::TaskId,
    task::{Action, Priority, Queue, Task},
};
use serde_json::{Value, json};

use crate::{
    Effort,
    first::{run, started},
    group::Group,
};

const CLAIMERS: usize = 100;
/// Tasks of a run that is claimed from by Loki alone.
const MANY: usize = 10_000;
/// Tasks of each side where both are measured: the file is read and written whole for each claim.
const FEW: usize = 500;

pub(crate) fn task(at: usize) -> Task {
    Task {
        id: format!("task-{at}").parse().expect("a task's name"),
        role: "eng-backend".parse().expect("a role"),
        title: format!("Do the part {at}"),
        description: String::new(),
        depends_on: Vec::new(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: Priority::Normal,
    }
}

/// The one owner of a run's queue and its journal, as the driver of a run is.
pub(crate) struct Owner {
    writer: Writer,
    pub(crate) queue: Queue,
}

impl Owner {
    /// A run of so many tasks, planned and journalled.
    pub(crate) fn of(dir: &Path, tasks: usize) -> Self {
        let sealing = Sealing {
            key: Key::open_or_make(&dir.join("settings")).expect("a key"),
            anchors: dir.join("anchors"),
            clock: Box::new(jiff::Timestamp::now),
            every: Sealing::EVERY,
        };
        let writer = Writer::create(&dir.join(".loki"), &run(), jiff::Timestamp::now);
        let writer = writer.and_then(|writer| writer.sealed_by(&run(), sealing));
        let mut owner = Self {
            writer: writer.expect("a journal"),
            queue: Queue::default(),
        };
        owner.write(&started());
        let tasks = (0..tasks).map(task).collect();
        owner.write(&Event::Planned { tasks });
        owner
    }

    fn write(&mut self, event: &Event) {
        self.writer.append(event).expect("it is written");
        self.queue.apply(event).expect("it may follow");
    }

    /// Claims the next task.
    pub(crate) fn claim(&mut self) -> Option<TaskId> {
        let Some(Action::Claim {
            task,
            version,
            attempt,
        }) = self.queue.next(1).into_iter().next()
        else {
            return None;
        };
        self.write(&Event::TaskClaimed {
            task: task.clone(),
            version,
            attempt,
        });
        Some(task)
    }

    pub(crate) fn sync(&mut self) {
        self.writer.sync().expect("the disk takes it");
    }
}

/// Claims a second, of a run with so many tasks, until none is left.
fn claims(tasks: usize) -> f64 {
    let dir = tempfile::tempdir().expect("a directory");
    let mut owner = Owner::of(dir.path(), tasks);
    let (give, take) = mpsc::sync_channel::<mpsc::Sender<Option<TaskId>>>(CLAIMERS);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLAIMERS {
            let give = give.clone();
            scope.spawn(move || {
                let (told, hear) = mpsc::channel();
                while give.send(told.clone()).is_ok() && matches!(hear.recv(), Ok(Some(_))) {}
            });
        }
        drop(give);
        for told in take {
            told.send(owner.claim()).expect("it waits");
        }
    });
    owner.sync();
    tasks as f64 / begun.elapsed().as_secs_f64()
}

/// The file of tasks, and the one that is locked.
struct Locked<'a>(&'a Path);

impl Locked<'_> {
    fn write(&self, queue: &Value) {
        let new = tempfile::NamedTempFile::new_in(self.0).expect("a file");
        serde_json::to_writer(new.as_file(), queue).expect("it is written");
        new.as_file().flush().expect("it is written");
        new.persist(self.0.join("queue.json")).expect("it is moved");
    }

    /// Locks, reads all, marks the first task that is pending, writes all, unlocks. Nothing of it is
    /// put on the disk.
    fn claim(&self, claimer: usize) -> bool {
        let lock = File::create(self.0.join("lock")).expect("a lock");
        lock.lock().expect("it is locked");
        let text = fs::read(self.0.join("queue.json")).expect("it is there");
        let mut queue: Value = serde_json::from_slice(&text).expect("it is JSON");
        let tasks = queue["tasks"].as_array_mut().expect("there are tasks");
        let next = tasks.iter_mut().find(|task| task["status"] == "pending");
        let Some(next) = next else {
            return false;
        };
        next["status"] = "in-progress".into();
        next["claimedBy"] = format!("agent-{claimer}").into();
        self.write(&queue);
        true
    }
}

fn locked_claims(tasks: usize) -> f64 {
    let dir = tempfile::tempdir().expect("a directory");
    let locked = Locked(dir.path());
    let each = |at| json!({ "id": format!("task-{at}"), "type": "eng-backend", "status": "pending", "title": format!("Do the part {at}") });
    locked.write(&json!({ "tasks": (0..tasks).map(each).collect::<Vec<_>>() }));
    let begun = Instant::now();
    thread::scope(|scope| {
        for claimer in 0..CLAIMERS {
            let locked = &locked;
            scope.spawn(move || while locked.claim(claimer) {});
        }
    });
    tasks as f64 / begun.elapsed().as_secs_f64()
}

pub(crate) fn measure(effort: Effort) -> Group {
    let mut group = Group::default();
    let (mut many, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds.div_ceil(4) {
        many.push(claims(MANY));
        ours.push(claims(FEW));
        theirs.push(locked_claims(FEW));
    }
    group.alone("queue/claims", &many);
    group.note(
        "queue/claims",
        format!("of a run with {MANY} tasks, each claimed once"),
    );
    let id = "queue/claims-of-locked-json";
    group.beside(id, &ours, ("a locked JSON file", &theirs));
    group.note(
        id,
        format!("{FEW} tasks on both sides; theirs is never synced to the disk"),
    );
    group
}
