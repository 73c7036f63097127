//! Exports of every shape, imported from real directories and kept in real files.

use std::{fs, os::unix::fs::symlink, path::Path};

use jiff::Timestamp;

use super::{Export, Store, StoreError};
use crate::policy::RegistryKind::Npm;

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_ref()).unwrap();
}

fn record(id: &str, name: &str) -> String {
    format!(
        r#"{{"id": "{id}", "modified": "2024-05-01T00:00:00Z", "affected": [{{"package": {{"ecosystem": "npm", "name": "{name}"}}, "versions": ["1.0.0"]}}]}}"#
    )
}

fn import(store: &Store, directory: &Path) -> Result<u64, StoreError> {
    let import = Export::find(&[directory.to_owned()])?.read(&mut |_| {})?;
    let (records, now) = (import.records, Timestamp::UNIX_EPOCH);
    store.replace(import.collection, now, Vec::new())?;
    Ok(records)
}

#[test]
fn what_is_imported_is_read_again_and_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (export, store) = (
        folder.path().join("osv"),
        Store::new(&folder.path().join("data/loki")),
    );
    assert!(store.open().unwrap().is_none());
    write(&export, "npm/A-1.json", record("A-1", "x"));
    write(&export, "A-2.json", record("A-2", "y"));
    write(&export, "README", "not a record");
    let mut seen = Vec::new();
    let found = Export::find(&[export.clone(), export.join("npm")]).unwrap();
    let read = found.read(&mut |progress| seen.push(progress)).unwrap();
    assert_eq!((read.records, read.others), (2, 1), "one file counts once");
    assert_eq!(seen.last().map(|last| (last.read, last.of)), Some((2, 2)));
    assert_eq!(import(&store, &export).unwrap(), 2);
    let known = store.open().unwrap().unwrap();
    assert_eq!(known.about(Npm, "x").unwrap()[0].id, "A-1");
    fs::remove_file(export.join("A-2.json")).unwrap();
    import(&store, &export).unwrap();
    let known = store.open().unwrap().unwrap();
    assert!(known.about(Npm, "y").unwrap().is_empty());
    assert!(store.remove().unwrap() && !store.remove().unwrap());
    assert!(store.open().unwrap().is_none());
}

#[test]
fn a_faulty_record_leaves_what_was_there_and_every_fault_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (export, store) = (
        folder.path().join("osv"),
        Store::new(&folder.path().join("data")),
    );
    write(&export, "A-1.json", record("A-1", "x"));
    import(&store, &export).unwrap();
    write(&export, "A-2.json", "{\n  \"id\": 7}");
    write(&export, "A-3.json", [0xff, 0xfe]);
    write(&export, "A-4.json", vec![b' '; (8 << 20) + 1]);
    let Err(StoreError::Faulty { faults, records }) = import(&store, &export) else {
        panic!("faulty records were imported");
    };
    let places: Vec<(String, usize)> = faults
        .iter()
        .map(|fault| {
            (
                fault
                    .file
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                fault.line,
            )
        })
        .collect();
    let expected = [("A-2.json", 2), ("A-3.json", 0), ("A-4.json", 0)];
    assert_eq!(places, expected.map(|(name, line)| (name.to_owned(), line)));
    assert_eq!(records, 4);
    let known = store.open().unwrap().unwrap();
    assert_eq!(known.about(Npm, "x").unwrap().len(), 1);
}

/// Puts something into an export, given what lies outside.
type Make = fn(&Path, &Path);

#[test]
fn links_pipes_depth_and_emptiness_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("data"));
    let outside = folder.path().join("outside");
    write(&outside, "A-1.json", record("A-1", "x"));
    let cases: [(&str, Make); 5] = [
        ("is a link", |export, outside| {
            symlink(outside.join("A-1.json"), export.join("a.json")).unwrap();
        }),
        ("is a link", |export, outside| {
            symlink(outside, export.join("deeper")).unwrap();
        }),
        ("is a link", |export, _| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                export.join("p.json"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        }),
        ("lie too deep", |export, _| {
            fs::create_dir_all(export.join("a/b/c/d/e/f/g/h/i")).unwrap();
        }),
        ("no record there", |_, _| {}),
    ];
    for (at, (said, make)) in cases.into_iter().enumerate() {
        let export = folder.path().join(format!("osv{at}"));
        fs::create_dir(&export).unwrap();
        make(&export, &outside);
        let error = import(&store, &export).unwrap_err().to_string();
        assert!(error.contains(said), "{at}: {error}");
    }
    let error = import(&store, &outside.join("A-1.json")).unwrap_err();
    assert!(error.to_string().contains("is no directory"), "{error}");
    assert!(store.open().unwrap().is_none());
}

#[test]
fn a_changed_cut_or_foreign_file_is_refused_with_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let (export, store) = (
        folder.path().join("osv"),
        Store::new(&folder.path().join("data")),
    );
    write(&export, "A-1.json", record("A-1", "x"));
    import(&store, &export).unwrap();
    let whole = fs::read(store.file()).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() = b' ';
    for bytes in [
        &changed[..],
        &whole[..whole.len() / 2],
        b"",
        b"{}",
        b"loki advisories 2\n",
    ] {
        write(folder.path(), "data/advisories.db", bytes);
        let error = store.open().unwrap_err().to_string();
        assert!(
            error.contains("type `loki advisories import DIR` again"),
            "{error}"
        );
    }
    write(folder.path(), "data/advisories.db", &whole);
    assert!(store.open().unwrap().is_some(), "the control");
}
