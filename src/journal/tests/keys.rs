//! One key follows another, and nobody else's does.

use super::{
    ring::{Ring, RingError, rotate},
    *,
};

#[test]
fn what_an_older_key_sealed_is_trusted_with_the_newest_and_the_first_alike() {
    let home = home();
    let settings = home.path.with_file_name("settings");
    let first = key(&home, "settings").public();
    let mut writer = sealed_writer(&home);
    writer.append(&started()).unwrap();
    let handover = rotate(&settings, clock()()).unwrap();
    assert_eq!(handover.old, first);
    // A run that goes on keeps the key it began with; opened again it has the new one.
    writer.append(&ended()).unwrap();
    drop(writer);
    let Reopened { writer, .. } = Writer::reopen(&home.path, &run(), clock()).unwrap();
    let mut writer = writer.sealed_by(&run(), sealing(&home)).unwrap();
    writer.append(&ended()).unwrap();
    drop(writer);
    let second = key(&home, "settings").public();
    assert_eq!(handover.new, second);
    let third = rotate(&settings, clock()()).unwrap().new;
    let ring = Ring::open(&settings).unwrap();
    for trusted in [first, second, third] {
        let keys = ring.around(trusted);
        assert_eq!(keys.keys(), [first, second, third]);
        let against = audit::Against {
            keys: &keys,
            anchors: None,
            anchor: None,
        };
        assert_eq!(audit::audit(&home.path, &run(), against).unwrap().sealed, 3);
    }
    let stranger = key(&home, "stranger").public();
    assert_eq!(ring.around(stranger).keys(), [stranger]);
    let names = std::fs::read_dir(&settings).unwrap().count();
    assert_eq!(
        names, 2,
        "the key and the list of changes, nothing of old keys"
    );
}

#[test]
fn a_change_of_keys_that_was_cut_short_is_finished() {
    let home = home();
    let settings = home.path.with_file_name("settings");
    let first = key(&home, "settings").public();
    let private = std::fs::read(settings.join("journal.key")).unwrap();
    let handover = rotate(&settings, clock()()).unwrap();
    // As if it had ended before the last rename.
    std::fs::rename(
        settings.join("journal.key"),
        settings.join("journal.key.next"),
    )
    .unwrap();
    let mut file = std::fs::File::create(settings.join("journal.key")).unwrap();
    file.write_all(&private).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    file.set_permissions(mode).unwrap();
    assert_eq!(key(&home, "settings").public(), first);
    assert_eq!(rotate(&settings, clock()()).unwrap(), handover);
    assert_eq!(key(&home, "settings").public(), handover.new);
    assert_eq!(Ring::open(&settings).unwrap().handovers, [handover]);
}

/// S16: with one old key alone nobody makes a key that counts, and two successors are one too many.
#[test]
fn attack_s16_a_change_of_keys_that_not_both_signed_is_refused() {
    let home = home();
    let settings = home.path.with_file_name("settings");
    let other = home.path.with_file_name("other");
    key(&home, "settings");
    key(&home, "other");
    let own = rotate(&settings, clock()()).unwrap();
    let foreign = rotate(&other, clock()()).unwrap();
    let (line, strange) = (own.to_string(), foreign.to_string());
    assert_eq!(Ring::parse(&line).unwrap().handovers.len(), 1);
    let joined = line.replace(&own.new.to_string(), &foreign.new.to_string());
    for text in [
        "x",
        "{}",
        &joined,
        &line.replace("format\":1", "format\":2"),
    ] {
        let text = format!("{strange}\n{text}");
        let refused = Ring::parse(&text);
        assert!(
            matches!(refused, Err(RingError::Line { line: 2 })),
            "{text}"
        );
    }
    let twice = format!("{line}\n{line}");
    assert!(matches!(
        Ring::parse(&twice),
        Err(RingError::Forked { line: 2 })
    ));
    // Whole, but of keys that nobody named.
    let ring = Ring::parse(&format!("{line}\n{strange}")).unwrap();
    assert!(!ring.around(own.new).holds(&foreign.new));
}
