//! Every file that is replaced is replaced by the one function that survives a power cut: no other
//! place of the program renames one, but for those below, each with its reason.

use super::harness::source::{code, files, read, without_tests};

/// What gives a file another name.
const NAMING: [&str; 7] = [
    "rename(",
    "renameat(",
    "renameat_with(",
    ".persist(",
    "persist_noclobber(",
    "fs::write(",
    "linkat(",
];

/// Who may, and why a power cut costs nothing there.
const ELSEWHERE: [(&str, &str, &str); 18] = [
    ("src/whole.rs", "rename(", "this is the one function"),
    ("src/whole.rs", "renameat(", "this is the one function"),
    ("src/whole.rs", "renameat_with(", "this is the one function"),
    (
        "src/git/tree.rs",
        "renameat(",
        "it moves what is about to be removed",
    ),
    (
        "src/git/ahead/mod.rs",
        "rename(",
        "git's notes on the worktree of one attempt, which a power cut ends as well",
    ),
    (
        "src/sandbox/prepare.rs",
        "rename(",
        "the directory of one attempt, which a power cut ends as well",
    ),
    (
        "src/journal/requests.rs",
        "renameat(",
        "a message to a process, which a power cut ends as well",
    ),
    (
        "src/journal/requests.rs",
        "rename(",
        "a message to a process, which a power cut ends as well",
    ),
    (
        "src/egress/cache/key.rs",
        "linkat(",
        "a key that is lost makes kept answers worth nothing, and they are asked for again",
    ),
    (
        "src/engine/images/bootstrap.rs",
        "fs::write(",
        "what one attempt at an image needs, in a directory that goes with it",
    ),
    (
        "src/egress/cache/shelf.rs",
        "renameat(",
        "an answer that is torn does not fit its seal, and is asked for again",
    ),
    (
        "src/checkpoint/restore.rs",
        "rename(",
        "a directory, after its whole file system was synced; its parent is synced behind it",
    ),
    (
        "src/engine/service.rs",
        "fs::write(",
        "the settings of a service of this process, which ends with it",
    ),
    (
        "src/checkpoint/place.rs",
        "renameat(",
        "what was found sound is found again where a power cut takes the note of it",
    ),
    (
        "src/deps/store.rs",
        "renameat(",
        "a directory is put out of the way, to be removed",
    ),
    (
        "src/deps/store.rs",
        "renameat_with(",
        "a directory; one that a power cut tore does not fit its signed manifest",
    ),
    (
        "src/journal/inbox.rs",
        "renameat_with(",
        "a person's file is taken in or put aside as it is",
    ),
    (
        "src/journal/key.rs",
        "linkat(",
        "the file is synced before; a key that is lost signed nothing yet",
    ),
];

#[test]
fn files_are_replaced_in_one_place_only() {
    let mut found = Vec::new();
    for path in files("src", "rs") {
        let shown = path.display().to_string();
        let tests = shown.ends_with("tests.rs") || shown.contains("/tests/");
        if tests || matches!(&*shown, "src/git/world.rs" | "src/provider/replay.rs") {
            continue;
        }
        let text = code(&without_tests(&read(&path)));
        for naming in NAMING {
            let at = |(at, _): &(usize, &str)| {
                let before = text.get(..*at).and_then(|text| text.chars().next_back());
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            };
            let called = text
                .match_indices(naming)
                .any(|hit| naming.starts_with('.') || naming.contains("::") || at(&hit));
            if called {
                found.push((shown.clone(), naming));
            }
        }
    }
    let known = |(path, naming): &&(String, &str)| {
        ELSEWHERE
            .iter()
            .any(|(at, what, _)| at == path && what == naming)
    };
    let strangers: Vec<_> = found.iter().filter(|one| !known(one)).collect();
    assert!(
        strangers.is_empty(),
        "use `whole::replace`, `name` or `settle`: {strangers:?}"
    );
    for (path, naming, _) in ELSEWHERE {
        let still = found.iter().any(|(at, what)| at == path && *what == naming);
        assert!(
            still,
            "`{path}` no longer has `{naming}`: take it from the list"
        );
    }
}
