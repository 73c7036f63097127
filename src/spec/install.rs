//! `## Install`: what is installed before checks, in place of what the lock files say.

use pulldown_cmark::Event;

use super::{
    outline::{Piece, Section, codes, inline_text, items, lead, span},
    source::Source,
};
use crate::{
    diagnostic::Diagnostic,
    install::{Asked, is_plain, tools},
};

const HELP: &str = "write `- npm`, `- npm: ` followed by a command in backticks, `- pip from ` followed by a lock file \
                    in backticks, or `- nothing`";

/// Reads `## Install`: one tool an item, or `nothing`.
pub(super) fn read(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Asked> {
    let found = items(section.body);
    if found.is_empty() {
        let message = "no list stands under this heading".to_owned();
        faults.push(source.fault(&section.heading, message, HELP));
    }
    let mut asked: Vec<Asked> = Vec::new();
    let mut nothing = false;
    for item in &found {
        match one(item) {
            Ok(None) => nothing = true,
            Ok(Some(one)) if asked.iter().any(|other| is_same(other, &one)) => {
                let message = format!("`{}` stands here twice", one.tool);
                faults.push(source.fault(&span(item), message, "put both into one"));
            }
            Ok(Some(one)) => asked.push(one),
            Err(message) => faults.push(source.fault(&span(item), message, HELP)),
        }
    }
    if nothing && found.len() > 1 {
        let message = "`nothing` stands beside something".to_owned();
        faults.push(source.fault(&section.heading, message, "drop one of them"));
    }
    asked
}

/// What is found out of the worktree has room for one lock file of a tool.
fn is_same(one: &Asked, other: &Asked) -> bool {
    one.tool == other.tool && (one.tool != "npm" || one.lock == other.lock)
}

/// Reads an item; none of `nothing`.
fn one(item: &[Piece<'_>]) -> Result<Option<Asked>, String> {
    let (first, rest) = lead(item);
    if !rest.is_empty() {
        return Err("an item is one line; what follows it would not run".to_owned());
    }
    let first = unmarked(first);
    let head = match first.first() {
        Some((Event::Text(text), _)) => text.trim(),
        _ => "",
    };
    let codes = codes(first);
    let after = first.iter().skip(2).map(std::slice::from_ref);
    let between: Vec<String> = after
        .map(inline_text)
        .map(|text| text.trim().to_owned())
        .collect();
    let words: Vec<&str> = head.split_whitespace().collect();
    match (words.as_slice(), codes.as_slice()) {
        (["nothing"], []) => Ok(None),
        ([name], []) => asked(name, None, None),
        ([name], [(command, _)]) if name.ends_with(':') && between.is_empty() => {
            asked(name.trim_end_matches(':'), None, Some(command))
        }
        ([name, "from"], [(lock, _)]) if between.is_empty() => asked(name, Some(lock), None),
        ([name, "from"], [(lock, _), (command, _)]) if between.len() == 2 && between[0] == ":" => {
            asked(name, Some(lock), Some(command))
        }
        _ => Err("this says neither a tool nor `nothing`".to_owned()),
    }
}

/// Returns what follows an item's leading blanks.
fn unmarked<'e, 'a>(mut pieces: &'e [Piece<'a>]) -> &'e [Piece<'a>] {
    while let Some((Event::TaskListMarker(_), _)) = pieces.first() {
        pieces = pieces.get(1..).unwrap_or_default();
    }
    pieces
}

fn asked(
    name: &str,
    lock: Option<&String>,
    command: Option<&String>,
) -> Result<Option<Asked>, String> {
    let names: Vec<&str> = tools().iter().map(|tool| tool.name.as_str()).collect();
    if !names.contains(&name) {
        return Err(format!(
            "no tool is called `{name}`: there are {}",
            names.join(", ")
        ));
    }
    if let Some(lock) = lock.filter(|lock| !is_plain(lock)) {
        return Err(format!(
            "`{lock}` is no path of a lock file below the worktree"
        ));
    }
    if command.is_some_and(String::is_empty) {
        return Err("the command is empty".to_owned());
    }
    Ok(Some(Asked {
        tool: name.to_owned(),
        lock: lock.cloned(),
        command: command.cloned(),
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Spec, *};

    fn parse(text: &str) -> Result<Option<Vec<Asked>>, String> {
        let text = format!("# T\n## Tests\n- `true`\n## Install\n{text}\n");
        let spec = Spec::parse(Path::new("s.md"), text.as_bytes());
        spec.map(|spec| spec.install).map_err(|faults| {
            faults
                .iter()
                .map(|fault| fault.message.clone() + "\n")
                .collect()
        })
    }

    fn asked(tool: &str, lock: Option<&str>, command: Option<&str>) -> Asked {
        Asked {
            tool: tool.to_owned(),
            lock: lock.map(str::to_owned),
            command: command.map(str::to_owned),
        }
    }

    #[test]
    fn a_section_names_tools_lock_files_and_commands() {
        let text = "- npm: `npm ci --omit=dev`\n- pip from `dev/requirements.txt`\n- cargo\n";
        assert_eq!(
            parse(text).unwrap().unwrap(),
            [
                asked("npm", None, Some("npm ci --omit=dev")),
                asked("pip", Some("dev/requirements.txt"), None),
                asked("cargo", None, None),
            ]
        );
        let both = "- npm from `a/package-lock.json`: `npm ci`\n- npm from `b/package-lock.json`\n";
        assert_eq!(
            parse(both).unwrap().unwrap(),
            [
                asked("npm", Some("a/package-lock.json"), Some("npm ci")),
                asked("npm", Some("b/package-lock.json"), None),
            ]
        );
        assert_eq!(parse("- nothing").unwrap(), Some(Vec::new()));
        let none = Spec::parse(Path::new("s.md"), b"# T\n## Tests\n- `true`\n").unwrap();
        assert_eq!(none.install, None);
    }

    #[test]
    fn what_says_something_else_is_refused() {
        for (text, said) in [
            ("prose", "no list stands"),
            (
                "- yarn",
                "no tool is called `yarn`: there are npm, pip, cargo",
            ),
            ("- `npm ci`", "neither a tool"),
            ("- npm quickly", "neither a tool"),
            ("- npm: ` `", "the command is empty"),
            ("- npm: `a` and `b`", "neither a tool"),
            ("- pip from `../x`", "no path of a lock file"),
            ("- pip from `/etc/passwd`", "no path of a lock file"),
            ("- pip\n- pip from `a.txt`", "stands here twice"),
            ("- npm\n- nothing", "stands beside something"),
            ("- npm\n  - then\n", "one line"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(said), "{text:?}: {found}");
        }
    }
}
