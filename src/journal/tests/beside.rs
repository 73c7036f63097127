//! What stands beside a journal: the list of runs, who follows one, the lock, signals and views.

use super::*;

#[test]
fn runs_are_listed_newest_last() {
    let home = home();
    assert_eq!(runs(&home.path).unwrap(), Vec::<RunId>::new());
    let at = |second| move || Timestamp::from_second(second).unwrap();
    for (name, second) in [("b", 100), ("c", 300), ("a", 200)] {
        let run: RunId = name.parse().unwrap();
        let event = match started() {
            Event::RunStarted {
                loki, spec, title, ..
            } => Event::RunStarted {
                run: run.clone(),
                loki,
                spec,
                title,
                spec_sha256: String::new(),
                provider: String::new(),
                base: String::new(),
                branch: String::new(),
                engine: String::new(),
                policy_sha256: String::new(),
                asked: None,
            },
            other => other,
        };
        Writer::create(&home.path, &run, at(second))
            .unwrap()
            .append(&event)
            .unwrap();
    }
    std::fs::write(home.path.join("journal/not a run.jsonl"), "").unwrap();
    std::fs::write(home.path.join("journal/empty.jsonl"), "").unwrap();
    let names: Vec<String> = runs(&home.path)
        .unwrap()
        .into_iter()
        .map(String::from)
        .collect();
    assert_eq!(names, ["empty", "b", "a", "c"]);
}

#[tokio::test]
async fn following_gives_every_record_once_and_ends_with_the_run() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    writer.append(&started()).unwrap();
    let mut all = Follow::open(writer.path(), From::Start).unwrap();
    let mut new = Follow::open(writer.path(), From::End).unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().seq, 1);
    assert_eq!(new.ready().unwrap(), None);
    let thread = std::thread::spawn(move || {
        for i in 0..500 {
            writer.append(&said(&i.to_string())).unwrap();
        }
        writer.append(&ended()).unwrap();
    });
    for follow in [&mut all, &mut new] {
        for seq in 2..=502 {
            assert_eq!(soon(follow.next()).await.unwrap().unwrap().seq, seq);
        }
        assert!(soon(follow.next()).await.is_none());
    }
    thread.join().unwrap();
}

#[tokio::test]
async fn following_goes_on_with_a_run_that_was_gone_on_with() {
    let home = home();
    let mut writer = Writer::create(&home.path, &run(), clock()).unwrap();
    for event in [started(), ended()] {
        writer.append(&event).unwrap();
    }
    let mut new = Follow::open(writer.path(), From::End).unwrap();
    for event in [said("again"), ended()] {
        writer.append(&event).unwrap();
    }
    let mut all = Follow::open(writer.path(), From::Start).unwrap();
    for (follow, first) in [(&mut all, 1), (&mut new, 3)] {
        for seq in first..=4 {
            assert_eq!(soon(follow.next()).await.unwrap().unwrap().seq, seq);
        }
        assert!(soon(follow.next()).await.is_none());
    }
}

#[tokio::test]
async fn half_a_line_is_waited_for() {
    let (_home, path, lines) = twelve();
    std::fs::write(&path, &lines[0]).unwrap();
    let mut follow = Follow::open(&path, From::End).unwrap();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(&lines[1][..50]).unwrap();
    assert_eq!(follow.ready().unwrap(), None);
    file.write_all(&lines[1][50..]).unwrap();
    assert_eq!(soon(follow.next()).await.unwrap().unwrap().seq, 2);
}

#[test]
fn a_repository_has_one_owner_and_a_dead_one_holds_nothing() {
    let home = home();
    assert_eq!(Lock::holder(&home.path).unwrap(), None);
    let now = Timestamp::UNIX_EPOCH;
    let lock = Lock::acquire(&home.path, &run(), now).unwrap();
    assert_eq!(lock.abandoned(), None);
    let error = Lock::acquire(&home.path, &"second".parse().unwrap(), now).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!(
            "run 20261121-073300-1f3a (pid {pid}) is working on this repository; \
         `loki status` shows it, `loki stop` ends it"
        )
    );
    let holder = Holder {
        pid,
        started: now,
        run: run(),
        others: Vec::new(),
    };
    assert_eq!(Lock::holder(&home.path).unwrap(), Some(holder.clone()));
    drop(lock);
    assert_eq!(Lock::holder(&home.path).unwrap(), None);
    assert_eq!(
        Lock::acquire(&home.path, &run(), now).unwrap().abandoned(),
        None
    );
    std::fs::write(home.path.join("lock"), serde_json::to_vec(&holder).unwrap()).unwrap();
    let lock = Lock::acquire(&home.path, &"second".parse().unwrap(), now).unwrap();
    assert_eq!(lock.abandoned(), Some(&holder));
}

#[tokio::test]
async fn signal_files_are_told_as_they_come_and_go() {
    let home = home();
    Signal::Pause.raise(&home.path).unwrap();
    let mut signals = Signals::watch(&home.path).unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Pause));
    std::fs::write(home.path.join("STATUS.txt"), "unrelated").unwrap();
    Signal::Resume.raise(&home.path).unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Resume));
    std::fs::write(home.path.join("STOP"), "").unwrap();
    assert_eq!(soon(signals.next()).await, Some(Signal::Stop));
    for _ in 0..50 {
        Signal::clear(&home.path).unwrap();
        Signal::Stop.raise(&home.path).unwrap();
        assert_eq!(soon(signals.next()).await, Some(Signal::Stop));
    }
}

#[test]
fn views_hold_each_task_once_under_the_names_other_tools_know() {
    let home = home();
    let tasks = ["store", "api"].map(task).to_vec();
    let mut events = vec![started(), Event::Planned { tasks }];
    for attempt in 1..=5 {
        events.push(claimed(attempt));
        let mut event = said("2 tests failed\u{9b}");
        if let Event::TaskFailed {
            version,
            attempt: number,
            ..
        } = &mut event
        {
            (*version, *number) = (u64::from(attempt), attempt);
        }
        events.push(event);
    }
    let (_, records) = write_all(&home, &events);
    views::write(&home.path, &Status::fold(&records)).unwrap();
    let file = |name: &str| std::fs::read_to_string(home.path.join(name)).unwrap();
    let list = |name: &str| serde_json::from_str::<serde_json::Value>(&file(name)).unwrap();
    for empty in [
        "queue/in-progress.json",
        "queue/completed.json",
        "queue/failed.json",
    ] {
        assert_eq!(list(empty), serde_json::json!([]), "{empty}");
    }
    assert_eq!(list("queue/current-task.json"), serde_json::json!({}));
    assert!(file("STATUS.txt").contains("  Failed:      1\n"));
    assert_eq!(list("session.json")["status"], "running");
    assert_eq!(list("session.json")["pid"], std::process::id());
    assert_eq!(list("state/orchestrator.json")["metrics"]["retries"], 4);
    insta::assert_snapshot!(file("queue/dead-letter.json") + &file("queue/pending.json"));
}

#[test]
fn an_unchanged_view_is_left_alone_and_a_half_written_one_is_replaced() {
    use std::os::unix::fs::MetadataExt;
    let home = home();
    views::write(&home.path, &Status::default()).unwrap();
    let status = home.path.join("STATUS.txt");
    let inode = || status.metadata().unwrap().ino();
    let before = inode();
    std::fs::write(home.path.join(".session.json.new"), "{\"half").unwrap();
    std::fs::write(home.path.join("session.json"), "{\"half").unwrap();
    views::write(&home.path, &Status::default()).unwrap();
    assert_eq!(inode(), before);
    let session = std::fs::read(home.path.join("session.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&session).unwrap();
    assert!(!home.path.join(".session.json.new").exists());
}
