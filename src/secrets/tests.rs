use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;

const VALUE: &str = "canary-0123456789";

/// A store in a directory of its own, and the identity that opens it.
struct Lab {
    root: tempfile::TempDir,
    store: Store,
    own: Identities,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("own/identity.txt");
        let recipient = generate(&key).unwrap();
        let own = Identities::Usual(vec![root.path().join("none"), key]);
        let store = Store::at(root.path().join("store"));
        store.create(recipient, &own).unwrap();
        Self { root, store, own }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    fn value(&self, name: &str) -> Option<String> {
        let values = self.store.open(&self.own).unwrap().into_values();
        values.get(name).map(str::to_owned)
    }

    #[track_caller]
    fn refused(&self) -> String {
        let refused = self.store.open(&self.own).err();
        refused.expect("it was opened").to_string()
    }
}

#[test]
fn what_is_set_is_read_back_changed_and_removed() {
    let lab = Lab::new();
    lab.store.set("KEY", VALUE, &lab.own).unwrap();
    lab.store
        .set("OTHER", "two\nlines of 'it'", &lab.own)
        .unwrap();
    assert_eq!(lab.value("KEY").as_deref(), Some(VALUE));
    assert_eq!(lab.value("OTHER").as_deref(), Some("two\nlines of 'it'"));
    lab.store.set("KEY", "another value", &lab.own).unwrap();
    assert_eq!(lab.value("KEY").as_deref(), Some("another value"));
    lab.store.remove("KEY", &lab.own).unwrap();
    assert_eq!(lab.value("KEY"), None);
    let none = lab.store.remove("KEY", &lab.own).unwrap_err();
    assert!(none.to_string().contains("no secret is called `KEY`"));
}

#[test]
fn nothing_of_a_value_lies_on_the_disk_and_nobody_else_reads_the_files() {
    let lab = Lab::new();
    lab.store.set("KEY", VALUE, &lab.own).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(lab.path("store")).unwrap() {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let found = bytes.windows(VALUE.len()).any(|at| at == VALUE.as_bytes());
        assert!(!found, "{entry:?}");
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 3, "the store, its recipients, the lock");
}

#[test]
fn files_that_others_could_read_or_plant_are_refused_with_what_to_type() {
    let lab = Lab::new();
    lab.store.set("KEY", VALUE, &lab.own).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(lab.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, wrong, right, said) in [
        ("store/secrets.env.age", 0o644, 0o600, "chmod 600"),
        ("own/identity.txt", 0o640, 0o600, "chmod 600"),
        ("store", 0o777, 0o700, "chmod go-w"),
    ] {
        mode(path, wrong);
        assert!(lab.refused().contains(said), "{path}: {}", lab.refused());
        mode(path, right);
        assert_eq!(lab.value("KEY").as_deref(), Some(VALUE));
    }
    mode("store/secrets.recipients", 0o666);
    let refused = lab.store.set("KEY", VALUE, &lab.own).unwrap_err();
    assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    for path in ["store/secrets.env.age", "own/identity.txt", "store"] {
        let aside = lab.path("aside");
        fs::rename(lab.path(path), &aside).unwrap();
        std::os::unix::fs::symlink(&aside, lab.path(path)).unwrap();
        assert!(
            lab.refused().contains("is a link"),
            "{path}: {}",
            lab.refused()
        );
        fs::remove_file(lab.path(path)).unwrap();
        fs::rename(&aside, lab.path(path)).unwrap();
    }
}

#[test]
fn what_nobody_here_could_open_again_is_never_written() {
    let lab = Lab::new();
    lab.store.set("KEY", VALUE, &lab.own).unwrap();
    let own = lab
        .store
        .recipients()
        .unwrap()
        .iter()
        .next()
        .unwrap()
        .clone();
    let other = generate(&lab.path("other/identity.txt")).unwrap();
    let before = fs::read(lab.store.path()).unwrap();
    let swapped = lab.store.change_recipients(&lab.own, |recipients| {
        recipients.add(other.clone());
        recipients.remove(&own)
    });
    assert!(swapped.unwrap_err().to_string().contains("could open"));
    let emptied = lab
        .store
        .change_recipients(&lab.own, |recipients| recipients.remove(&own));
    assert!(emptied.unwrap_err().to_string().contains("could open"));
    assert_eq!(fs::read(lab.store.path()).unwrap(), before);

    lab.store
        .change_recipients(&lab.own, |recipients| {
            recipients.add(other);
            Ok(())
        })
        .unwrap();
    let theirs = Identities::Named(lab.path("other/identity.txt"));
    assert_eq!(
        lab.store.open(&theirs).unwrap().into_values().get("KEY"),
        Some(VALUE)
    );
}

/// Overwrites the store, as a failing disk would.
fn put(lab: &Lab, bytes: &[u8]) {
    let mut file = fs::File::create(lab.store.path()).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

#[test]
fn another_key_a_damaged_file_and_no_file_are_told_apart() {
    let lab = Lab::new();
    generate(&lab.path("other/identity.txt")).unwrap();
    let other = Identities::Named(lab.path("other/identity.txt"));
    let refused = lab.store.open(&other).err().unwrap().to_string();
    assert!(refused.contains("no identity here opens") && refused.contains("LOKI_AGE_IDENTITY"));
    let nowhere = Identities::Named(lab.path("nowhere"));
    let refused = lab.store.open(&nowhere).err().unwrap().to_string();
    assert!(refused.contains("there is no `"), "{refused}");

    let mut bytes = fs::read(lab.store.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    put(&lab, &bytes);
    assert!(
        lab.refused().contains("cannot be decrypted"),
        "{}",
        lab.refused()
    );
    put(&lab, b"KEY=plain text in it");
    assert!(
        lab.refused().contains("cannot be decrypted"),
        "{}",
        lab.refused()
    );
    fs::remove_file(lab.store.path()).unwrap();
    assert!(
        lab.refused().contains("loki secrets init"),
        "{}",
        lab.refused()
    );
}

#[test]
fn an_edit_is_saved_unless_the_store_changed_meanwhile_or_the_text_has_faults() {
    let lab = Lab::new();
    let draft = lab.store.open_text(&lab.own).unwrap();
    lab.store
        .put(&draft, "# mine\nKEY=12345678\n", &lab.own)
        .unwrap();
    let late = lab
        .store
        .put(&draft, "KEY=87654321\n", &lab.own)
        .unwrap_err();
    assert!(late.to_string().contains("changed meanwhile"), "{late}");
    let draft = lab.store.open_text(&lab.own).unwrap();
    assert_eq!(draft.text(), "# mine\nKEY=12345678\n");
    let faulty = lab
        .store
        .put(&draft, "KEY=1234567 8\n", &lab.own)
        .unwrap_err();
    assert!(matches!(&faulty, SecretsError::Faults { faults, .. } if faults.len() == 1));
    assert_eq!(lab.value("KEY").as_deref(), Some("12345678"));
}

#[test]
fn two_at_once_lose_nothing() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for at in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                lab.store
                    .set(&format!("KEY_{at}"), VALUE, &lab.own)
                    .unwrap();
            });
        }
    });
    let values = lab.store.open(&lab.own).unwrap().into_values();
    assert_eq!(values.names().count(), 8);
}
