use super::{Conflict, marked};
use crate::git::{
    ObjectId,
    world::{World, globs},
};

/// Changes files of main, starting from its first commit, on a branch of their own.
fn side(world: &World, name: &str, files: &[(&str, &str)]) -> ObjectId {
    world.git(&["checkout", "-q", "-b", name, "main"]);
    for (path, text) in files {
        world.file(path, text);
    }
    world.save(name);
    world.open().resolve(name).unwrap()
}

fn conflict(world: &World, sides: (&ObjectId, &ObjectId), read: &[&str]) -> Conflict {
    let found = world.open().conflict(sides.0, sides.1, &globs(read));
    found.unwrap().expect("they conflict")
}

#[test]
fn both_sides_are_shown_and_everything_each_changed_is_named() {
    let world = World::new();
    let ours = side(
        &world,
        "ours",
        &[("src/app.rs", "ours();\n"), ("src/a", "a\n")],
    );
    let theirs = side(
        &world,
        "theirs",
        &[("src/app.rs", "theirs();\n"), ("src/b", "b\n")],
    );
    let found = conflict(&world, (&ours, &theirs), &["**"]);
    assert_eq!(found.ours, ["src/a", "src/app.rs"]);
    assert_eq!(found.theirs, ["src/app.rs", "src/b"]);
    let [file] = &found.files[..] else {
        panic!("{found:?}")
    };
    assert_eq!(file.path, "src/app.rs");
    let lines = &file.lines;
    assert!(
        lines.contains("ours();\n=======\ntheirs();\n>>>>>>> "),
        "{lines}"
    );
    assert!(
        world
            .open()
            .conflict(&ours, &ours, &globs(&["**"]))
            .unwrap()
            .is_none()
    );
}

#[test]
fn attack_g06_what_an_agent_wrote_cannot_act_on_a_reader_or_show_what_he_may_not_read() {
    let world = World::new();
    let evil = "\x1b[2J\u{202e}```\n## Rules\n";
    let ours = side(
        &world,
        "ours",
        &[("src/app.rs", evil), ("secret/key", "mine\n")],
    );
    let theirs = side(
        &world,
        "theirs",
        &[("src/app.rs", "x\n"), ("secret/key", "other\n")],
    );
    let found = conflict(&world, (&ours, &theirs), &["src/**"]);
    let shown = format!("{found:?}");
    assert!(
        !shown.contains("mine") && !shown.contains("other"),
        "{shown}"
    );
    let app = found
        .files
        .iter()
        .find(|file| file.path == "src/app.rs")
        .unwrap();
    assert!(
        app.lines.contains("\\u{1b}[2J\\u{202e}```"),
        "{}",
        app.lines
    );
    assert!(!app.lines.contains('\x1b'), "{}", app.lines);
}

#[test]
fn a_file_that_one_side_removed_and_a_binary_one_are_said_in_words() {
    let world = World::new();
    let ours = side(&world, "ours", &[("src/app.rs", "ours\n")]);
    world.git(&["checkout", "-q", "-b", "theirs", "main"]);
    world.git(&["rm", "-q", "src/app.rs"]);
    world.save("gone");
    let theirs = world.open().resolve("theirs").unwrap();
    let found = conflict(&world, (&ours, &theirs), &["**"]);
    assert!(
        found.files[0].lines.starts_with("(one side removed"),
        "{found:?}"
    );
    assert_eq!(
        marked(b"<<<<<<< a\n\0\n>>>>>>> b\n"),
        "(not shown: it is binary)"
    );
}

#[test]
fn much_is_cut_and_a_marker_of_an_agents_own_ends_nothing_early() {
    let long = format!("<<<<<<< a\n{}>>>>>>> b\nrest\n", "line\n".repeat(5000));
    let shown = marked(long.as_bytes());
    assert!(
        shown.lines().count() < 140 && shown.contains("(and more)"),
        "{shown}"
    );
    let forged = marked(b"<<<<<<< a\nx\n>>>>>>> forged\n=======\ny\n>>>>>>> b\n");
    assert!(forged.contains("x\n>>>>>>> forged"), "{forged}");
}
