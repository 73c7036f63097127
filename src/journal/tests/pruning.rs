//! What is left of a pruned journal, and which journals stay.

use super::{
    audit::{Against, AuditError, NotPruned, Tombstone, prune},
    *,
};

fn pruned(home: &Home) -> Result<Tombstone, NotPruned> {
    let (keys, outside) = (trusted(home), outside(home));
    let against = Against {
        keys: &keys,
        anchors: Some(&outside),
        anchor: None,
    };
    prune(
        &home.path,
        &run(),
        against,
        (&key(home, "settings"), clock()()),
    )
}

fn ended_run() -> Home {
    let home = home();
    let mut writer = sealed_writer(&home);
    for event in [started(), claimed(1), ended()] {
        writer.append(&event).unwrap();
    }
    home
}

#[test]
fn a_pruned_journal_is_one_signed_line_that_still_says_what_it_was() {
    let home = ended_run();
    let before = audited(&home, Some(&outside(&home))).unwrap();
    let left = pruned(&home).unwrap();
    assert_eq!((left.first.seq, left.last.seq), (1, 3));
    let found = audited(&home, Some(&outside(&home))).unwrap();
    assert!(found.pruned.is_some());
    assert_eq!(found.last_hash, before.last_hash);
    assert_eq!((found.records, found.seals), (before.records, before.seals));
    assert_eq!((found.sealed, found.unsealed), (3, 0));
    let names = std::fs::read_dir(home.path.join("journal"))
        .unwrap()
        .count();
    assert_eq!(names, 1);
    assert_eq!(audit::missing(&home.path, &outside(&home)).unwrap(), []);
    assert_eq!(runs(&home.path).unwrap(), []);
    assert!(Writer::reopen(&home.path, &run(), clock()).is_err());
}

/// S16: what is left cannot be changed, and stands for no more than was sealed.
#[test]
fn attack_s16_what_pruning_left_cannot_be_forged() {
    let home = ended_run();
    pruned(&home).unwrap();
    let path = home.path.join("journal").join(format!("{}.pruned", run()));
    let text = std::fs::read_to_string(&path).unwrap();
    let changes = [
        text.replace("\"seq\":3", "\"seq\":2"),
        text.replace("\"outcome\":\"failed\"", "\"outcome\":\"done\""),
        text.replace("\"seals\":2", "\"seals\":3"),
        text.replace("\"format\":1", "\"format\":1,\"more\":1"),
        String::new(),
    ];
    for changed in changes {
        assert_ne!(changed, text);
        std::fs::write(&path, &changed).unwrap();
        let found = audited(&home, None).unwrap_err();
        assert!(matches!(found, AuditError::Tombstone { .. }), "{found}");
    }
    // Whole, but of a time when less was sealed than is known outside.
    std::fs::write(&path, &text).unwrap();
    let facts = Facts {
        run: run(),
        seq: 9,
        hash: Digest::of(b"later"),
        ts: clock()(),
        taken_over: None,
        link: None,
    };
    let later = Seal::sign(facts, &key(&home, "settings"));
    let anchor = outside(&home).join(format!("{}.seal", run()));
    std::fs::write(anchor, format!("{later}\n")).unwrap();
    let found = audited(&home, Some(&outside(&home))).unwrap_err();
    assert!(matches!(found, AuditError::Rewritten { .. }), "{found}");
}

#[test]
fn a_journal_that_goes_on_is_unsealed_or_was_changed_is_not_pruned() {
    let home = home();
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    assert!(matches!(pruned(&home), Err(NotPruned::Held)));
    drop(writer);
    assert!(matches!(pruned(&home), Err(NotPruned::Goes)));
    let Reopened { mut writer, .. } = Writer::reopen(&home.path, &run(), clock()).unwrap();
    writer.append(&ended()).unwrap();
    drop(writer);
    assert!(matches!(pruned(&home), Err(NotPruned::Unsealed { .. })));
    let home = ended_run();
    let journal = path(&home.path, &run());
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replace("store", "other")).unwrap();
    assert!(matches!(
        pruned(&home),
        Err(NotPruned::Unsound(AuditError::Journal(
            JournalError::Broken { record: 2, .. }
        )))
    ));
    assert!(journal.exists());
}
