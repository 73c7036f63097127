//! Journals that somebody destroyed, and what must not make that look like something else.

use super::{
    ring::{Ring, rotate},
    *,
};

fn stop() -> Event {
    Event::StopRequested {
        by: "a person".to_owned(),
        drain: true,
    }
}

/// S16: `verify` looks at the newest run, and a destroyed one must not become an old one.
#[test]
fn attack_s16_a_journal_whose_beginning_was_destroyed_is_still_the_newest() {
    let home = home();
    let old: RunId = "20261120-000000-0001".parse().unwrap();
    let journal = home.path.join("journal");
    write_all(&home, &[started(), said("x")]);
    let text = std::fs::read_to_string(path(&home.path, &run())).unwrap();
    std::fs::write(path(&home.path, &old), text).unwrap();
    let newest: RunId = "20270301-000000-0001".parse().unwrap();
    for destroyed in ["", "{}", "no line break", "\n\n"] {
        std::fs::write(path(&home.path, &newest), destroyed).unwrap();
        assert_eq!(
            runs(&home.path).unwrap().last(),
            Some(&newest),
            "{destroyed:?}"
        );
        assert_eq!(
            without_beginning(&home.path).unwrap(),
            std::slice::from_ref(&newest)
        );
    }
    std::fs::write(journal.join("unnamed.jsonl"), "").unwrap();
    let headless = without_beginning(&home.path).unwrap();
    assert_eq!(headless.len(), 2, "{headless:?}");
}

/// S16: what was sealed is evidence, also when nothing of the journal is left.
#[test]
fn attack_s16_a_journal_that_was_emptied_is_not_taken_for_one_that_never_began() {
    for (seals, anchor) in [(true, true), (true, false), (false, true), (false, false)] {
        let home = home();
        let mut writer = sealed_writer(&home);
        writer.append(&started()).unwrap();
        drop(writer);
        let sealed = audit::seals::path(&home.path, &run());
        let kept = outside(&home).join(audit::seals::anchor_name(&run()));
        std::fs::write(path(&home.path, &run()), "").unwrap();
        if !seals {
            std::fs::remove_file(&sealed).unwrap();
        }
        if !anchor {
            std::fs::remove_file(&kept).unwrap();
        }
        let found = forget_unbegun(&home.path, Some(&outside(&home))).unwrap();
        let known = seals || anchor;
        assert_eq!(
            found.destroyed.len(),
            usize::from(known),
            "{seals} {anchor}"
        );
        assert_eq!(found.gone.len(), usize::from(!known), "{seals} {anchor}");
        assert_eq!(path(&home.path, &run()).exists(), known);
        assert_eq!((sealed.exists(), kept.exists()), (seals, anchor));
    }
    // Killed before its first record: the file of its seals is there and empty.
    let home = home();
    drop(Writer::create(&home.path, &run(), clock()).unwrap());
    std::fs::write(audit::seals::path(&home.path, &run()), "").unwrap();
    let found = forget_unbegun(&home.path, Some(&outside(&home))).unwrap();
    assert_eq!((found.gone.len(), found.destroyed.len()), (1, 0));
}

#[test]
fn keys_that_are_changed_many_times_at_once_follow_one_another() {
    let home = home();
    let settings = home.path.with_file_name("settings");
    let first = key(&home, "settings").public();
    let turn = || rotate(&settings, Timestamp::UNIX_EPOCH).unwrap();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(turn)).collect();
        for one in all {
            assert!(one.join().is_ok());
        }
    });
    let ring = Ring::open(&settings).unwrap();
    let keys = ring.around(first);
    assert_eq!(keys.keys().len(), 9);
    assert_eq!(keys.keys().last(), Some(&key(&home, "settings").public()));
}

/// S16: one that says that records were sealed too late is no less missed than any other.
#[test]
fn attack_s16_a_seal_in_the_middle_that_was_removed_is_missed() {
    let home = home();
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    for attempt in 0..4 {
        writer.append(&claimed(attempt)).unwrap();
        writer.append(&stop()).unwrap();
    }
    drop(writer);
    let path = audit::seals::path(&home.path, &run());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(audited(&home, None).unwrap().loose, 0);
    for gone in 0..4 {
        let mut left = lines.clone();
        left.remove(gone);
        std::fs::write(&path, left.concat()).unwrap();
        let found = audited(&home, None).unwrap_err();
        let line = gone as u64 + 1;
        let missed = matches!(&found, audit::AuditError::Journal(JournalError::Seal {
            line: at,
            fault: SealFault::Chain,
            ..
        }) if *at == line);
        assert!(missed, "{found}");
    }
    // The last one is what the seal outside is for.
    std::fs::write(&path, lines[..4].concat()).unwrap();
    audited(&home, None).unwrap();
    let found = audited(&home, Some(&outside(&home))).unwrap_err();
    assert!(
        matches!(found, audit::AuditError::SealsCut { .. }),
        "{found}"
    );
}

#[test]
fn seals_of_the_older_form_count_and_are_gone_on_from_but_do_not_come_later() {
    let home = home();
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    writer.append(&stop()).unwrap();
    drop(writer);
    let path = audit::seals::path(&home.path, &run());
    let text = std::fs::read_to_string(&path).unwrap();
    let own = key(&home, "settings");
    let older = text.lines().map(|line| {
        let seal: Seal = line.parse().unwrap();
        let facts = Facts {
            link: None,
            ..seal.facts
        };
        format!("{}\n", Seal::sign(facts, &own))
    });
    let older: Vec<String> = older.collect();
    assert!(older.iter().all(|line| line.contains("\"format\":1,")));
    std::fs::write(&path, older.concat()).unwrap();
    let found = audited(&home, Some(&outside(&home))).unwrap();
    assert_eq!((found.sealed, found.loose), (2, 2));
    let Reopened { writer, .. } = Writer::reopen(&home.path, &run(), clock()).unwrap();
    let mut writer = writer.sealed_by(&run(), sealing(&home)).unwrap();
    writer.append(&ended()).unwrap();
    drop(writer);
    let found = audited(&home, Some(&outside(&home))).unwrap();
    assert_eq!((found.sealed, found.loose, found.seals), (3, 2, 3));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let fault = |lines: &[&str]| {
        std::fs::write(&path, lines.concat()).unwrap();
        match audited(&home, None).unwrap_err() {
            audit::AuditError::Journal(JournalError::Seal { fault, .. }) => fault,
            other => panic!("{other}"),
        }
    };
    assert_eq!(fault(&[lines[0], lines[2]]), SealFault::Chain);
    assert_eq!(fault(&[lines[2], lines[1]]), SealFault::Chain);
}

/// S16: a key that was changed, because somebody may have it, seals no later run.
#[test]
fn attack_s16_an_older_key_seals_no_run_that_began_after_it() {
    let home = home();
    let settings = home.path.with_file_name("settings");
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    drop(writer);
    for (when, counts) in [
        ("2026-11-21T07:33:01Z", true),
        ("2026-11-21T07:32:59Z", false),
    ] {
        rotate(&settings, when.parse().unwrap()).unwrap();
        let ring = Ring::open(&settings).unwrap();
        let keys = ring.around(key(&home, "settings").public());
        let against = audit::Against {
            keys: &keys,
            anchors: None,
            anchor: None,
        };
        assert_eq!(audit::audit(&home.path, &run(), against).is_ok(), counts);
        // The next is sealed by the key in use, which is then followed by another.
        for name in ["jsonl", "seals"] {
            let name = format!("journal/{}.{name}", run());
            std::fs::remove_file(home.path.join(name)).unwrap();
        }
        std::fs::remove_dir_all(outside(&home)).unwrap();
        let mut writer = sealed_writer(&home);
        writer.append(&started()).unwrap();
    }
}
