//! What is kept of refused work, and that no value of a secret is.

use super::*;
use crate::{git::hand_over::report::LISTED, policy::Globs, redact::Values};

const VALUE: &str = "kept-value-of-a-test";

fn secrets() -> Redactor {
    Redactor::new(&Values::from_iter([(
        "KEY".to_owned(),
        VALUE.to_owned().into(),
    )]))
}

fn handed(repository: &Repository, slot: &Slot) -> crate::git::HandOver {
    let all = || -> Globs { globs(&["**"]) };
    let files = Files {
        read: all(),
        write: all(),
    };
    let handed = repository.hand_over(slot, &files, &Caps::default(), &secrets());
    handed.unwrap()
}

#[test]
fn attack_s01_no_value_is_among_what_is_kept_of_work_that_git_must_not_read() {
    let encoded = {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD
            .encode(format!("{}{VALUE}", "A".repeat(50)))
            .into_bytes()
    };
    let wrapped = encoded.chunks(76).collect::<Vec<_>>().join(&b'\n');
    let (world, repository, slot) = filled(|work| {
        write(work, "src/x/.git/HEAD", "ref: refs/heads/x\n");
        write(work, "src/plain.txt", VALUE);
        write(
            work,
            "src/wrapped.txt",
            std::str::from_utf8(&wrapped).unwrap(),
        );
        write(work, "target/.env.local", &format!("KEY={VALUE}\n"));
        write(work, &format!("src/{VALUE}"), "x");
        write(work, "src/kept.txt", "kept\n");
        symlink(VALUE, work.join("src/link")).unwrap();
        symlink("kept.txt", work.join("src/other")).unwrap();
        mknodat(CWD, &work.join("src/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    });
    let work = handed(&repository, &slot);
    assert!(
        work.tree.is_none() && !work.holds_secret(),
        "it was not looked for"
    );
    let tar = world.dir.path().join("kept.tar");
    let mut left_out = slot.keep(&tar, 1 << 20, &secrets()).unwrap();
    left_out.sort_by(|one, other| one.path.cmp(&other.path));
    let left_out: Vec<&str> = left_out.iter().map(|one| one.path.as_str()).collect();
    let missing = [
        ".",
        "src/link",
        "src/plain.txt",
        "src/wrapped.txt",
        "target/.env.local",
    ];
    assert_eq!(left_out, missing);
    assert!(!secrets().finds(&fs::read(&tar).unwrap()));
    let mut archive = tar::Archive::new(fs::File::open(&tar).unwrap());
    let names = archive.entries().unwrap().map(|entry| {
        let path = entry.unwrap().path().unwrap().into_owned();
        path.to_string_lossy().into_owned()
    });
    let names: Vec<String> = names.collect();
    for name in [
        "work/src/kept.txt",
        "work/src/other",
        "work/src/x/.git/HEAD",
        "left-out",
    ] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
    }
}

#[test]
fn attack_s01_breaches_without_number_hide_no_value() {
    let (_world, repository, slot) = filled(|work| {
        for at in 0..=LISTED {
            let path = work.join(format!("src/{at:04}"));
            write(work, &format!("src/{at:04}"), "x");
            fs::set_permissions(path, PermissionsExt::from_mode(0o6755)).unwrap();
        }
        write(work, "src/z.txt", VALUE);
    });
    let work = handed(&repository, &slot);
    let listed = work.breaches.iter().any(|one| one.rule == "secret-value");
    assert!(!listed && work.holds_secret());
}
