//! Specifications: Markdown text, checked and taken apart.
//!
//! A specification has a title, prose for the agents, and four sections that Loki itself reads:
//! `## Tasks` (the plan), `## Tests` (commands that run the whole suite on the merged tree),
//! `## Acceptance` (criteria, each with a command or as prose) and `## Install`. docs/specs.md shows the format.
//!
//! Refuses: what is not text, what cannot be verified by any command, and text that would look
//! different from what it is. It reads no file, and it does not judge the plan: unknown roles,
//! unknown dependencies and cycles are found where tasks and policy meet.

mod checks;
mod install;
mod outline;
mod source;
mod tasks;

use std::{ops::Range, path::Path};

use pulldown_cmark::{Event, HeadingLevel};

use self::{
    outline::{Piece, Section, span},
    source::{Source, whole},
};
use crate::{diagnostic::Diagnostic, install::Asked, task::Task, text::is_hostile};

/// Largest specification, in bytes. Whoever reads the file stops after this many and one.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Most faults that are told one by one.
const FAULTS_MAX: usize = 100;

/// Longest title, in characters.
const TITLE_MAX: usize = 200;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The first heading, as plain text.
    pub title: String,
    /// The whole text, as written.
    pub body: String,
    /// The plan under `## Tasks`; empty when there is no such section.
    pub tasks: Vec<Task>,
    /// Commands that run the project's whole test suite on the merged tree.
    pub tests: Vec<String>,
    /// What must hold at the end.
    pub acceptance: Vec<Criterion>,
    /// What is installed before checks, under `## Install`; none when there is no such section:
    /// then the project's lock files say it.
    pub install: Option<Vec<Asked>>,
}

/// One item under `## Acceptance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// The item as plain text.
    pub text: String,
    /// The command that exits 0 when it holds; none when only a person can tell.
    pub command: Option<String>,
}

impl Spec {
    /// Parses the bytes of a specification; `file` is only named in faults.
    ///
    /// # Errors
    ///
    /// Returns every fault that was found, in the order of the text; of more than 100 the rest as a
    /// number.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the specification is larger than {} MiB", MAX_BYTES >> 20);
            return Err(vec![whole(
                file,
                message,
                "keep what is to be built, and put data into the repository",
            )]);
        }
        let text = source::decode(file, bytes).map_err(|fault| vec![fault])?;
        let source = Source::new(file, text);
        let pieces = outline::read(text);
        let sections = outline::sections(&pieces);
        let mut faults = Vec::new();
        let title = title(&source, &sections, &mut faults);
        let mut read = |name: &[&str]| only(&source, &sections, name, &mut faults);
        let parts = (
            read(&["tasks"]),
            read(&["tests"]),
            read(&["acceptance", "acceptance criteria"]),
            read(&["install"]),
        );
        let spec = Self {
            title,
            body: text.to_owned(),
            tasks: parts
                .0
                .map(|s| tasks::read(&source, s, &mut faults))
                .unwrap_or_default(),
            tests: parts
                .1
                .map(|s| checks::tests(&source, s, &mut faults))
                .unwrap_or_default(),
            acceptance: parts
                .2
                .map(|s| checks::acceptance(&source, s, &mut faults))
                .unwrap_or_default(),
            install: parts.3.map(|s| install::read(&source, s, &mut faults)),
        };
        if faults.is_empty() && !spec.is_verifiable() {
            faults.push(unverifiable(file));
        }
        faults.sort_by_key(|fault| (fault.line, fault.column));
        if let Some(more) = faults
            .len()
            .checked_sub(FAULTS_MAX)
            .filter(|more| *more > 0)
        {
            faults.truncate(FAULTS_MAX);
            faults.push(whole(
                file,
                format!("{more} more faults follow"),
                "mend these first",
            ));
        }
        if faults.is_empty() {
            Ok(spec)
        } else {
            Err(faults)
        }
    }

    /// Returns whether any command can tell that the work is right.
    fn is_verifiable(&self) -> bool {
        !self.tests.is_empty()
            || self
                .acceptance
                .iter()
                .any(|criterion| criterion.command.is_some())
            || self.tasks.iter().any(|task| !task.accept.is_empty())
    }
}

fn unverifiable(file: &Path) -> Diagnostic {
    let message = "no command tells whether what was built is right".to_owned();
    let help = "add a section `## Tests` with a code block that holds the command of the test suite; \
                a run in which nothing was tested is never a pass";
    whole(file, message, help)
}

/// Reads the title and refuses one that would look different from what it is.
fn title(
    source: &Source<'_>,
    sections: &[Section<'_, '_>],
    faults: &mut Vec<Diagnostic>,
) -> String {
    let help = "begin with `# ` and one line that says what is to be built";
    let Some(first) = sections
        .iter()
        .find(|section| section.level == HeadingLevel::H1)
    else {
        faults.push(source.fault(&(0..0), "the specification has no title".to_owned(), help));
        return String::new();
    };
    if first.name.is_empty() {
        faults.push(source.fault(&first.heading, "the title is empty".to_owned(), help));
    }
    if first.name.chars().count() > TITLE_MAX {
        let message = format!("the title is longer than {TITLE_MAX} characters");
        faults.push(source.fault(&first.heading, message, help));
    }
    refuse_hostile(source, &first.heading, &first.name, faults);
    first.name.clone()
}

/// Returns the one section with one of `names`, and refuses a second one.
fn only<'s, 'e, 'a>(
    source: &Source<'_>,
    sections: &'s [Section<'e, 'a>],
    names: &[&str],
    faults: &mut Vec<Diagnostic>,
) -> Option<&'s Section<'e, 'a>> {
    let named = |section: &&Section<'_, '_>| {
        section.level != HeadingLevel::H1 && names.contains(&section.name.to_lowercase().as_str())
    };
    let mut found = sections.iter().filter(named);
    let first = found.next()?;
    for again in found {
        let line = source.line(first.heading.start);
        let message = format!("a section `{}` stands already on line {line}", first.name);
        faults.push(source.fault(&again.heading, message, "put both into one"));
    }
    refuse_hostile(source, &span(first.body), "", faults);
    if let Some((range, decoded)) = first.body.iter().find_map(|piece| hidden(source, piece)) {
        refuse_hostile(source, &range, decoded, faults);
    }
    Some(first)
}

/// Refuses control and bidirectional characters as they stand in the text. `decoded` is the same
/// text with entities resolved.
fn refuse_hostile(
    source: &Source<'_>,
    range: &Range<usize>,
    decoded: &str,
    faults: &mut Vec<Diagnostic>,
) {
    let written = source
        .part(range.clone())
        .char_indices()
        .find(|(_, c)| is_hostile(*c));
    let hostile = written.map(|(at, c)| (range.start + at..range.start + at + c.len_utf8(), c));
    let hidden = || {
        decoded
            .chars()
            .find(|c| is_hostile(*c))
            .map(|c| (range.clone(), c))
    };
    if let Some((range, c)) = hostile.or_else(hidden) {
        let message = format!(
            "the invisible character `{}` stands here",
            c.escape_unicode()
        );
        faults.push(source.fault(
            &range,
            message,
            "delete it: text must be what it looks like",
        ));
    }
}

/// Returns a text with such characters written as entities (`&#27;`) and where it stands.
fn hidden<'p>(
    source: &Source<'_>,
    (event, range): &'p Piece<'_>,
) -> Option<(Range<usize>, &'p str)> {
    let Event::Text(decoded) = event else {
        return None;
    };
    let is_hidden =
        decoded.contains(is_hostile) && !source.part(range.clone()).contains(is_hostile);
    is_hidden.then(|| (range.clone(), &**decoded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};

    use super::*;

    fn parse(text: &[u8]) -> Result<Spec, Vec<Diagnostic>> {
        Spec::parse(Path::new("s.md"), text)
    }

    fn faults(text: &[u8]) -> Vec<String> {
        let all = parse(text).expect_err("the text is wrong");
        assert!(all.iter().all(|fault| fault.help.is_some()), "{all:?}");
        all.iter()
            .map(|f| format!("{}:{} {}", f.line, f.column, f.message))
            .collect()
    }

    #[test]
    fn a_small_specification_is_taken_apart() {
        let text = "# A *small* thing\nProse.\n## Tasks\n- Do it\n## Tests\n- `make test`\n## Acceptance\n- nice\n";
        let spec = parse(text.as_bytes()).expect("right");
        assert_eq!(
            (spec.title.as_str(), spec.body.as_str()),
            ("A small thing", text)
        );
        assert_eq!(
            (spec.tasks.len(), spec.tests.len(), spec.acceptance.len()),
            (1, 1, 1)
        );
    }

    #[test]
    fn the_sample_of_the_documentation_is_right() {
        let page = include_str!("../../docs/specs.md");
        let sample = page
            .split("````")
            .nth(1)
            .and_then(|block| block.strip_prefix("markdown\n"));
        let spec =
            parse(sample.expect("the page has a sample").as_bytes()).expect("the sample is right");
        let names: Vec<_> = spec.tasks.iter().map(|task| task.id.as_str()).collect();
        assert_eq!(names, ["model", "store", "show-them-on-a-page"]);
        assert_eq!(
            spec.acceptance
                .iter()
                .filter(|c| c.command.is_some())
                .count(),
            1
        );
    }

    #[test]
    fn what_is_not_a_text_is_refused() {
        assert_eq!(faults(b""), ["0:1 the specification is empty"]);
        assert_eq!(faults(b" \n\t\r\n"), ["0:1 the specification is empty"]);
        assert_eq!(
            faults(b"\x7fELF\x02\x00"),
            ["0:1 not a text file: byte 5 (line 1) is NUL"]
        );
        assert_eq!(faults(b"# T\n\xe4\n"), ["2:1 byte 0xe4 is not UTF-8"]);
        assert_eq!(
            faults(&vec![b'a'; MAX_BYTES + 1]),
            ["0:1 the specification is larger than 1 MiB"]
        );
    }

    #[test]
    fn a_specification_needs_a_title_and_a_check() {
        assert_eq!(
            faults(b"hello\n## Tests\n- `true`\n"),
            ["1:1 the specification has no title"]
        );
        assert_eq!(
            faults(b"# \n## Tests\n- `true`\n"),
            ["1:1 the title is empty"]
        );
        assert_eq!(
            faults(b"# T\n"),
            ["0:1 no command tells whether what was built is right"]
        );
        assert_eq!(faults(b"# T\n## Tasks\n- x\n## Acceptance\n- y\n").len(), 1);
        parse(b"# T\n## Tasks\n- x\n  - accept: `true`\n").expect("a task's own check is one");
        parse(b"# T\n## Acceptance criteria\n- `true`\n").expect("a criterion's command is one");
    }

    #[test]
    fn faults_without_end_are_counted() {
        let found = faults(format!("# T\n## Tests\n{}", "- a\n".repeat(250)).as_bytes());
        assert_eq!(
            (found.len(), found[100].as_str()),
            (101, "0:1 150 more faults follow")
        );
    }

    #[test]
    fn a_section_stands_once() {
        let found = faults(b"# T\n## Tests\n- `true`\n## Tests\n- `false`\n");
        assert_eq!(found, ["4:1 a section `Tests` stands already on line 2"]);
    }

    #[test]
    fn invisible_characters_are_named() {
        assert_eq!(
            faults("# T\u{202e}x\n## Tests\n- `true`\n".as_bytes()),
            ["1:4 the invisible character `\\u{202e}` stands here"]
        );
        assert_eq!(
            faults(b"# T\n## Tests\n- `true`\n## Tasks\n- a\n  b\x1b[2J\n"),
            ["6:4 the invisible character `\\u{1b}` stands here"]
        );
        assert_eq!(
            faults(b"# T\n## Tests\n- `true`\n## Tasks\n- a &#27; b\n"),
            ["5:5 the invisible character `\\u{1b}` stands here"]
        );
        assert_eq!(faults(b"# T&#x202e;\n## Tests\n- `true`\n").len(), 1);
        assert_eq!(faults(b"# T\n## Tests\n- `tr\x08ue`\n").len(), 1);
    }

    #[test]
    fn hostile_names_are_only_text() {
        let spec =
            parse(b"# $(touch x) --help '; id\n## Tests\n- `true`\n").expect("a title is any text");
        assert_eq!(spec.title, "$(touch x) --help '; id");
    }

    #[test]
    fn windows_line_ends_are_fine() {
        let spec = parse(b"# T\r\n## Tests\r\n```\r\nmake\r\n```\r\n## Tasks\r\n- a\r\n  b\r\n")
            .expect("right");
        assert_eq!(
            (spec.tests, spec.tasks[0].description.as_str()),
            (vec!["make".to_owned()], "b")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            drop(parse(&bytes));
        }

        #[test]
        fn no_markdown_makes_it_panic(parts in prop::collection::vec(
            prop::sample::select(vec![
                "# ", "## Tasks\n", "## Tests\n", "## Acceptance\n", "- ", "1. ", "  - ", "`", "```\n", "(", "): ",
                "[ ] ", "[x] ", "depends on: ", "accept: ", "a", "ü", "\u{202e}", "\n", "\n\n", "\r\n", "\r", "\t",
                "> ", "&#27;", "<b>", "<!--", "*", ":", "\\", "    ", "---\n", "[a](b \"c\")",
            ]), 0..60)) {
            if let Err(faults) = parse(parts.concat().as_bytes()) {
                for fault in faults {
                    proptest::prop_assert!(fault.column >= 1 && fault.width >= 1);
                    proptest::prop_assert!(!fault.picture.contains(is_hostile) && !fault.message.contains(is_hostile));
                }
            }
        }
    }
}
