//! What installing is: which lock file leads to which command, what that command may see, and
//! under which key its result is kept.
//!
//! ```text
//! names of a tree ── wants ──▶ Want (tool, lock file, command) ── read ──▶ Inputs, or why not
//! Want × Inputs × image ── key ──▶ the one key of exactly this install
//! ```
//!
//! It refuses what does not say exactly what would be installed: a lock file without hashes, two
//! lock files of which only one can be meant. It reads no file and runs nothing.

mod read;
mod table;
mod want;

use std::collections::BTreeMap;

pub use read::{LARGEST, Take, Told, is_workspace, read, reduced, takes};
pub use table::{Place, Tool, tools};
pub use want::{Name, NameKind, Want, is_plain, wants};

use serde::Serialize;

use crate::digest::Digest;

/// Raised when what was installed by an older program no longer does.
const FORMAT: u32 = 1;

/// An item under `## Install` of a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The tool's name.
    pub tool: String,
    /// The lock file, relative to the worktree; none is the tool's usual one in its root.
    pub lock: Option<String>,
    /// The command; none is the tool's usual one.
    pub command: Option<String>,
}

/// Why nothing is installed from a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The tool; empty where it is none that Loki knows.
    pub tool: String,
    /// The lock file.
    pub lock: String,
    /// One sentence, and what to do about it.
    pub reason: String,
    /// Whether checks fail for it. Else they run without what was not installed.
    pub fails: bool,
}

/// The files that an install sees, by their path below the directory of its lock file.
pub type Inputs = BTreeMap<String, Vec<u8>>;

/// Everything that the result of an install depends on.
#[derive(Serialize)]
struct Whole<'a> {
    format: u32,
    machine: &'a str,
    tool: &'a Tool,
    lock: &'a str,
    command: &'a str,
    image: &'a str,
    inputs: BTreeMap<&'a str, Digest>,
}

/// Returns the key of an install in an image, which is named by its digest, on a kind of machine.
/// Another lock file, manifest, command, image or kind of machine has another.
///
/// # Panics
/// Never: names and hashes are JSON.
#[must_use]
pub fn key(want: &Want, inputs: &Inputs, (image, machine): (&str, &str)) -> Digest {
    // Paths alone say nothing of what is installed: what is given empty does not count.
    let counted = inputs.iter().filter(|(_, bytes)| !bytes.is_empty());
    let whole = Whole {
        format: FORMAT,
        machine,
        tool: want.tool,
        lock: want.lock_name(),
        command: &want.command,
        image,
        inputs: counted
            .map(|(path, bytes)| (path.as_str(), Digest::of(bytes)))
            .collect(),
    };
    Digest::of(&serde_json::to_vec(&whole).expect("names and hashes are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(command: &str) -> Want {
        Want {
            tool: &tools()[0],
            lock: "package-lock.json".to_owned(),
            command: command.to_owned(),
            demanded: false,
        }
    }

    #[test]
    fn everything_that_a_result_depends_on_changes_its_key() {
        let inputs = |text: &str| Inputs::from([("package-lock.json".to_owned(), text.into())]);
        let first = key(&want("npm ci"), &inputs("{}"), ("sha256:1", "m"));
        assert_eq!(
            first,
            key(&want("npm ci"), &inputs("{}"), ("sha256:1", "m"))
        );
        let others = [
            key(&want("npm ci"), &inputs("{}"), ("sha256:1", "n")),
            key(&want("npm ci --omit=dev"), &inputs("{}"), ("sha256:1", "m")),
            key(&want("npm ci"), &inputs("{ }"), ("sha256:1", "m")),
            key(&want("npm ci"), &inputs("{}"), ("sha256:2", "m")),
            key(
                &Want {
                    tool: &tools()[1],
                    ..want("npm ci")
                },
                &inputs("{}"),
                ("sha256:1", "m"),
            ),
        ];
        for other in others {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn where_the_lock_file_lies_and_which_sources_there_are_change_nothing() {
        let mut inputs = Inputs::from([("Cargo.lock".to_owned(), b"x".to_vec())]);
        let first = key(&want("x"), &inputs, ("i", "m"));
        inputs.insert("src/lib.rs".to_owned(), Vec::new());
        let mut moved = want("x");
        moved.lock = "web/package-lock.json".to_owned();
        assert_eq!(first, key(&moved, &inputs, ("i", "m")));
    }
}
