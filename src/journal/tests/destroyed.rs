//! Journals that somebody destroyed, and what must not make that look like something else.

use super::{
    ring::{Ring, rotate},
    *,
};

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
        assert_eq!(without_beginning(&home.path).unwrap(), [newest.clone()]);
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
        all.into_iter().for_each(|one| drop(one.join().unwrap()));
    });
    let ring = Ring::open(&settings).unwrap();
    let keys = ring.around(first);
    assert_eq!(keys.keys().len(), 9);
    assert_eq!(keys.keys().last(), Some(&key(&home, "settings").public()));
}
