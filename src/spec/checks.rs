//! The commands of a specification that decide whether what was built is right.

use std::ops::Range;

use pulldown_cmark::{Event, Tag};

use super::{
    Criterion,
    outline::{Piece, Section, blocks, codes, inline_text, inner, items, lead, span},
    source::Source,
};
use crate::diagnostic::Diagnostic;

const TESTS_HELP: &str =
    "put the command into a fenced code block, such as `python3 -m unittest discover -s tests`";
const CRITERIA_HELP: &str =
    "write `- what must hold: ` followed by a command in backticks that exits 0 when it does";

/// Reads `## Tests`: the lines of code blocks, and the commands of list items.
pub(super) fn tests(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    faults: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let known = faults.len();
    let mut commands = Vec::new();
    for block in blocks(section.body) {
        if is_code(block) {
            commands.extend(lines(source, block, faults));
        }
    }
    for item in items(section.body) {
        match criterion(source, item, faults) {
            Some(Criterion {
                command: Some(command),
                ..
            }) => commands.push(command),
            Some(_) => {
                faults.push(source.fault(
                    &span(item),
                    "no command stands in this item".to_owned(),
                    TESTS_HELP,
                ));
            }
            None => {}
        }
    }
    if commands.is_empty() && faults.len() == known {
        faults.push(source.fault(
            &section.heading,
            "no test command stands under this heading".to_owned(),
            TESTS_HELP,
        ));
    }
    commands
}

/// Reads `## Acceptance`: one criterion an item.
pub(super) fn acceptance(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Criterion> {
    for block in blocks(section.body)
        .into_iter()
        .filter(|block| is_code(block))
    {
        let message = "a code block here belongs to no criterion and would not run".to_owned();
        faults.push(source.fault(&span(block), message, CRITERIA_HELP));
    }
    let found = items(section.body);
    if found.is_empty() {
        faults.push(source.fault(
            &section.heading,
            "no list stands under this heading".to_owned(),
            CRITERIA_HELP,
        ));
    }
    found
        .into_iter()
        .filter_map(|item| criterion(source, item, faults))
        .collect()
}

/// Reads one item: the command is the code after a closing `: `, or the only code there is.
fn criterion(
    source: &Source<'_>,
    item: &[Piece<'_>],
    faults: &mut Vec<Diagnostic>,
) -> Option<Criterion> {
    let (first, rest) = lead(item);
    let text = inline_text(first)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if !rest.is_empty() {
        let message = "a criterion is one paragraph; what follows it would not run".to_owned();
        faults.push(source.fault(&span(rest), message, CRITERIA_HELP));
        return None;
    }
    if text.is_empty() {
        faults.push(source.fault(&span(item), "the item is empty".to_owned(), CRITERIA_HELP));
        return None;
    }
    let found = codes(first);
    let command = match (closing(first), found.as_slice()) {
        (Some(command), _) => Some(command),
        (None, [command]) => Some(command.clone()),
        (None, []) => None,
        (None, [_, second, ..]) => {
            faults.push(source.fault(
                &second.1,
                "which of these is the command?".to_owned(),
                CRITERIA_HELP,
            ));
            return None;
        }
    };
    match command {
        Some((command, range)) if command.is_empty() => {
            faults.push(source.fault(&range, "the command is empty".to_owned(), CRITERIA_HELP));
            None
        }
        command => Some(Criterion {
            text,
            command: command.map(|(command, _)| command),
        }),
    }
}

/// Returns the code at the end of a paragraph when a `:` stands before it.
fn closing(first: &[Piece<'_>]) -> Option<(String, Range<usize>)> {
    let blank = |(event, _): &&Piece<'_>| matches!(event, Event::Text(t) if t.trim_matches(['.', ' ']).is_empty());
    let mut back = first.iter().rev().skip_while(blank);
    let (Event::Code(code), range) = back.next()? else {
        return None;
    };
    let before = back.find(|(event, _)| !matches!(event, Event::SoftBreak | Event::HardBreak))?;
    let (Event::Text(before), _) = before else {
        return None;
    };
    before
        .trim_end()
        .ends_with(':')
        .then(|| (code.trim().to_owned(), range.clone()))
}

pub(super) fn is_code(block: &[Piece<'_>]) -> bool {
    matches!(block.first(), Some((Event::Start(Tag::CodeBlock(_)), _)))
}

/// Returns the commands of a code block, one a line; `\` at an end joins the next, `#` comments.
pub(super) fn lines(
    source: &Source<'_>,
    block: &[Piece<'_>],
    faults: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let text = inline_text(inner(block));
    let mut commands = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        open.push_str(line.trim());
        if let Some(kept) = open.strip_suffix('\\') {
            open.truncate(kept.len());
            continue;
        }
        commands.push(std::mem::take(&mut open));
    }
    commands.push(open);
    commands.retain(|command| !command.is_empty() && !command.starts_with('#'));
    if let Some(command) = commands.iter().find(|command| command.starts_with("$ ")) {
        let message = "the prompt `$ ` is not part of the command".to_owned();
        let range = source.locate(span(block), command);
        faults.push(source.fault(&range, message, "write the command alone"));
    }
    commands
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Spec, *};

    fn parse(text: &str) -> Result<Spec, Vec<Diagnostic>> {
        Spec::parse(Path::new("s.md"), text.as_bytes())
    }

    fn fault(text: &str) -> String {
        let faults = parse(text).expect_err("the text is wrong");
        assert_eq!(faults.len(), 1, "{faults:?}");
        format!(
            "{}:{} {}",
            faults[0].line, faults[0].column, faults[0].message
        )
    }

    fn criteria(text: &str) -> Vec<Criterion> {
        parse(&format!("# T\n## Acceptance\n{text}\n- `true`\n"))
            .expect("the text is right")
            .acceptance
    }

    #[test]
    fn a_code_block_is_one_command_a_line() {
        let spec = parse("# T\n## Tests\n```sh\n# all\nmake \\\n  test\n\ncargo test\n```\n")
            .expect("right");
        assert_eq!(spec.tests, ["make test", "cargo test"]);
    }

    #[test]
    fn a_list_of_commands_is_read_too() {
        let spec = parse("# T\n## Tests\n- `make test`\n- lint: `make lint`\n").expect("right");
        assert_eq!(spec.tests, ["make test", "make lint"]);
    }

    #[test]
    fn a_tests_section_without_a_command_is_refused() {
        assert_eq!(
            fault("# T\n## Tests\nthorough ones\n"),
            "2:1 no test command stands under this heading"
        );
        assert_eq!(
            fault("# T\n## Tests\n- thorough ones\n"),
            "3:1 no command stands in this item"
        );
        assert_eq!(
            fault("# T\n## Tests\n```\n$ make\n```\n"),
            "4:1 the prompt `$ ` is not part of the command"
        );
    }

    #[test]
    fn the_command_of_a_criterion_is_found() {
        let table = [
            ("- `make a`", Some("make a")),
            ("- Adding works: `make b`.", Some("make b")),
            ("- The file `x` stays:\n  `make c`", Some("make c")),
            ("- [ ] `make d` passes", Some("make d")),
            ("- It looks *good*.", None),
        ];
        for (text, command) in table {
            assert_eq!(criteria(text)[0].command.as_deref(), command, "{text}");
        }
        assert_eq!(criteria("- It looks *good*.")[0].text, "It looks good.");
    }

    #[test]
    fn what_would_not_run_is_refused() {
        assert_eq!(
            fault("# T\n## Acceptance\n- `a` or `b` works\n"),
            "3:10 which of these is the command?"
        );
        assert!(
            fault("# T\n## Acceptance\n- nested\n  - `a`\n- `true`\n").contains("one paragraph")
        );
        assert!(fault("# T\n## Acceptance\n```\nmake\n```\n- `true`\n").contains("would not run"));
        assert!(fault("# T\n## Tests\n- `true`\n## Acceptance\nAll well.\n").contains("no list"));
        assert!(fault("# T\n## Acceptance\n- ` `\n- `true`\n").contains("empty"));
    }
}
