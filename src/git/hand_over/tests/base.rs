//! What the base holds already beside what an agent makes of it.

use super::*;

/// Commits these files, has an agent work on them, and returns what is found.
fn found(base: &[(&str, &str)], work: impl FnOnce(&Path)) -> Vec<String> {
    let (_world, repository, slot) = worked(base, work);
    let remarks = judge(&repository, &slot).remarks().into_iter();
    remarks
        .map(|one| format!("{} {}", one.rule, one.path))
        .collect()
}

#[test]
fn attack_g02_a_repository_whose_parts_lie_apart_is_seen() {
    let seen = breaches_of(|work| {
        write(work, "src/b/x/HEAD", "ref: refs/heads/main\n");
        write(work, "src/b/x/commondir", "../y\n");
        write(
            work,
            "src/b/x/config.worktree",
            "[core]\n\tfsmonitor = evil\n",
        );
        write(work, "src/b/y/objects/.k", "");
        write(work, "src/b/y/refs/.k", "");
        write(work, "src/b/y/config", "[core]\n");
    });
    assert_eq!(seen, ["nested-repository src/b/x"]);
}

#[test]
fn what_the_base_has_already_is_no_fault_of_who_leaves_it_alone() {
    let base = [
        ("src/fixture/HEAD", "ref: refs/heads/x\n"),
        ("src/fixture/objects/k", ""),
        ("src/fixture/refs/k", ""),
    ];
    let seen = found(&base, |work| write(work, "src/new.rs", "new\n"));
    assert_eq!(seen, Vec::<String>::new());
    let planted = "[core]\n\tfsmonitor = evil\n";
    let seen = found(&base, |work| write(work, "src/fixture/config", planted));
    assert_eq!(seen, ["nested-repository src/fixture"]);
    let seen = found(&base, |work| {
        write(work, "src/fixture/HEAD", "ref: refs/y\n");
    });
    assert_eq!(seen, ["nested-repository src/fixture"]);
    let seen = found(&base, |work| {
        write(work, "src/new.rs", "new\n");
        write(work, "src/sub/.git/HEAD", "ref: refs/heads/main\n");
    });
    assert!(
        seen.contains(&"nested-repository src/sub".to_owned()),
        "{seen:?}"
    );
}

#[test]
fn a_link_of_the_base_that_leads_out_is_blamed_on_nobody() {
    let world = World::new();
    symlink("/etc", world.root().join("src/far")).unwrap();
    symlink("far/passwd", world.root().join("src/through")).unwrap();
    world.save("links");
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    write(slot.work(), "src/new.rs", "new\n");
    assert_eq!(rules(&judge(&repository, &slot)), Vec::<String>::new());
    fs::remove_file(slot.work().join("src/through")).unwrap();
    symlink("far/shadow", slot.work().join("src/through")).unwrap();
    let seen = rules(&judge(&repository, &slot));
    assert_eq!(seen, ["symlink-escape src/through"]);
}

#[test]
fn attack_g11_a_link_on_the_way_of_another_has_its_name() {
    let world = World::new();
    symlink("src/a/b", world.root().join(".vscode")).unwrap();
    world.file("src/settings/b/tasks.json", "{}");
    world.save("a link to nothing yet");
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    symlink("settings", slot.work().join("src/a")).unwrap();
    let work = judge(&repository, &slot);
    let needs = work.needs.iter().map(|need| need.path.as_str());
    let needs: std::collections::BTreeSet<&str> = needs.collect();
    assert_eq!(needs, ["src/a"].into());
}

#[test]
fn attack_g11_nothing_hides_behind_what_was_there_before_or_comes_to_nothing() {
    use std::fmt::Write as _;

    let mut marks = String::new();
    for at in 0..300 {
        writeln!(marks, "{at} \u{200f}").unwrap();
    }
    let base = [("src/rtl.txt", marks.as_str())];
    let seen = found(&base, |work| {
        write(work, "src/rtl.txt", &format!("{marks}plain\n"));
    });
    assert_eq!(seen, Vec::<String>::new());
    let seen = found(&base, |work| {
        write(work, "src/rtl.txt", &format!("{marks}x \u{202e}y\n"));
    });
    assert_eq!(seen, ["hidden-text src/rtl.txt"]);
    let token = format!("ghp_{}", "Zk3vQ9xLm2RtY7bNc5HwPs8dFgJ4aEuV6oTi");
    let none = format!("ghp_{}\n", "a".repeat(36)).repeat(30);
    let seen = found(&[], |work| {
        write(work, "src/keys", &format!("{none}{token}\n"));
    });
    assert_eq!(seen, ["secret-pattern src/keys"]);
}

#[test]
fn attack_g11_more_odd_places_than_are_looked_at_are_never_old() {
    use std::fmt::Write as _;

    let mut marks = String::new();
    for at in 0..10_001 {
        writeln!(marks, "{at} \u{200f}").unwrap();
    }
    let seen = found(&[("src/rtl.txt", &marks)], |work| {
        write(work, "src/rtl.txt", &format!("{marks}plain\n"));
    });
    assert_eq!(seen, ["hidden-text src/rtl.txt"]);
}

#[test]
fn a_hand_over_that_takes_too_long_is_refused_and_not_read_by_git() {
    let (_world, repository, slot) = filled(|work| write(work, "src/new.rs", "new\n"));
    let files = Files {
        read: globs(&["**"]),
        write: globs(&["src/**"]),
    };
    let caps = Caps {
        time: std::time::Duration::ZERO,
        ..Caps::default()
    };
    let work = repository.hand_over(&slot, &files, &caps, &Redactor::default());
    let work = work.unwrap();
    assert_eq!(rules(&work), ["time src/new.rs"]);
    assert_eq!(work.tree, None);
}
