//! The list under `## Tasks`.

use std::{collections::BTreeMap, ops::Range};

use pulldown_cmark::Event;

use super::{
    checks,
    outline::{Piece, Section, blocks, codes, first_line, inline_text, items, lead, span},
    source::Source,
};
use crate::{
    diagnostic::Diagnostic,
    name::{NameError, Role, TaskId},
    task::{Priority, Task},
};

/// Who does a task that names no role.
const DEFAULT_ROLE: &str = "eng-backend";
/// Longest title, in characters.
const TITLE_MAX: usize = 200;
/// Most dependencies of one task.
const DEPENDS_MAX: usize = 100;
const SHAPE: &str = "write ``- `name` (role): Title``, for example ``- `store` (eng-backend): Keep todos in a file``";
const KEYS: &str = "known are ``- depends on: `task` ``, ``- accept: `command` ``, `- files: …` and `- priority: high`; write prose without a leading `word:`";

/// Reads every list under the heading, one task an item.
pub(super) fn read(
    source: &Source<'_>,
    section: &Section<'_, '_>,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Task> {
    let found = items(section.body);
    if found.is_empty() {
        faults.push(source.fault(
            &section.heading,
            "no task stands under this heading".to_owned(),
            SHAPE,
        ));
    }
    let mut first_lines: BTreeMap<TaskId, usize> = BTreeMap::new();
    let mut tasks = Vec::new();
    for item in found {
        let Some(task) = task(source, item, faults) else {
            continue;
        };
        let range = span(item);
        if let Some(line) = first_lines.get(&task.id) {
            let message = format!("a task `{}` stands already on line {line}", task.id);
            faults.push(source.fault(
                &range,
                message,
                "give each task a name of its own: ``- `name`: Title``",
            ));
        }
        first_lines
            .entry(task.id.clone())
            .or_insert_with(|| source.line(range.start));
        tasks.push(task);
    }
    tasks
}

fn task(source: &Source<'_>, item: &[Piece<'_>], faults: &mut Vec<Diagnostic>) -> Option<Task> {
    let (first, rest) = lead(item);
    let head_pieces = first_line(first);
    let range = if head_pieces.is_empty() {
        span(item)
    } else {
        span(head_pieces)
    };
    let head = match head(head_pieces) {
        Ok(head) => Some(head),
        Err(wrong) => {
            let at = source.locate(range.clone(), &wrong.at);
            faults.push(source.fault(&at, wrong.message, wrong.help));
            None
        }
    };
    let known = keys(source, rest, faults);
    let Head { id, role, title } = head?;
    let description = description(source, range.end..span(item).end, &known.ranges);
    Some(Task {
        id,
        role,
        title,
        description,
        depends_on: known.depends_on,
        accept: known.accept,
        files: known.files,
        priority: known.priority,
    })
}

/// The first line of a task.
struct Head {
    id: TaskId,
    role: Role,
    title: String,
}

/// What is wrong with a first line.
struct Wrong {
    /// The part to mark.
    at: String,
    message: String,
    help: &'static str,
}

fn wrong(at: &str, message: impl Into<String>) -> Wrong {
    Wrong {
        at: at.to_owned(),
        message: message.into(),
        help: SHAPE,
    }
}

fn head(pieces: &[Piece<'_>]) -> Result<Head, Wrong> {
    let pieces = match pieces {
        [(Event::TaskListMarker(true), _), ..] => {
            let help = "untick it, `[ ]`, or take it out of the list";
            return Err(Wrong {
                at: String::new(),
                message: "the task is ticked as done".to_owned(),
                help,
            });
        }
        [(Event::TaskListMarker(false), _), rest @ ..] => rest,
        pieces => pieces,
    };
    let blank =
        |(event, _): &Piece<'_>| matches!(event, Event::Text(text) if text.trim().is_empty());
    let pieces = pieces
        .get(pieces.iter().take_while(|p| blank(p)).count()..)
        .unwrap_or_default();
    let (id, text) = match pieces {
        [(Event::Code(name), _), rest @ ..] => {
            let id: TaskId = name
                .trim()
                .parse()
                .map_err(|e: NameError| wrong(name, e.to_string()))?;
            (Some(id), inline_text(rest))
        }
        pieces => (None, inline_text(pieces)),
    };
    let (role, title) = role_and_title(text.trim(), id.as_ref())?;
    let title = title.trim();
    if title.is_empty() {
        return Err(wrong("", "the task has no title"));
    }
    if title.chars().count() > TITLE_MAX {
        let message = format!("the title is longer than {TITLE_MAX} characters");
        return Err(Wrong {
            at: String::new(),
            message,
            help: "put what follows the first sentence on the next line",
        });
    }
    let named = id.or_else(|| TaskId::from_title(title));
    let id = named.ok_or_else(|| wrong(title, "no name can be made from this title"))?;
    Ok(Head {
        id,
        role,
        title: title.to_owned(),
    })
}

/// Splits `(role): title`, `: title` or, for a task without a name, `title`.
fn role_and_title<'t>(text: &'t str, id: Option<&TaskId>) -> Result<(Role, &'t str), Wrong> {
    let (role, rest) = match text.strip_prefix('(') {
        None => (DEFAULT_ROLE, text),
        Some(inside) => {
            let (role, rest) = inside
                .split_once(')')
                .ok_or_else(|| wrong("(", "the `(` of the role is not closed"))?;
            (role.trim(), rest.trim_start())
        }
    };
    let parsed: Role = role
        .parse()
        .map_err(|e: NameError| wrong(role, e.to_string()))?;
    if id.is_none() && !text.starts_with('(') {
        return Ok((parsed, rest));
    }
    let title = rest.strip_prefix(':').ok_or_else(|| {
        let after = id.map_or_else(|| format!("({role})"), |id| format!("`{id}`"));
        wrong(
            &after,
            "no `:` stands between the task's name or role and its title",
        )
    })?;
    Ok((parsed, title))
}

/// What the nested list of a task says.
#[derive(Default)]
struct Keys {
    depends_on: Vec<TaskId>,
    accept: Vec<String>,
    files: Vec<String>,
    priority: Priority,
    /// Where these stood; they are not part of the description.
    ranges: Vec<Range<usize>>,
}

fn keys(source: &Source<'_>, rest: &[Piece<'_>], faults: &mut Vec<Diagnostic>) -> Keys {
    let mut keys = Keys::default();
    for item in items(rest) {
        let (first, after) = lead(item);
        let text = inline_text(first);
        let Some((key, value)) = text.split_once(':') else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "depends on" => keys
                .depends_on
                .extend(depends_on(source, first, value, faults)),
            "accept" => keys.accept.extend(accept(source, first, after, faults)),
            // It is told to the agent, too.
            "files" => {
                keys.files.extend(files(first));
                continue;
            }
            "priority" => keys.priority = priority(source, item, value, faults),
            key => {
                if looks_like_key(key) {
                    let at = source.locate(span(item), text.split(':').next().unwrap_or_default());
                    faults.push(source.fault(&at, format!("unknown key `{key}`"), KEYS));
                }
                continue;
            }
        }
        keys.ranges.push(span(item));
    }
    keys
}

/// Returns whether a text before a `:` is meant as a key: one or two plain words.
fn looks_like_key(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '-' | '_');
    !text.is_empty() && text.chars().all(plain) && text.split_whitespace().count() <= 2
}

fn depends_on(
    source: &Source<'_>,
    first: &[Piece<'_>],
    value: &str,
    faults: &mut Vec<Diagnostic>,
) -> Vec<TaskId> {
    let help = "name tasks of this list: ``- depends on: `store`, `page` ``";
    let names: Vec<_> = value
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        faults.push(source.fault(&span(first), "no task is named".to_owned(), help));
    }
    if names.len() > DEPENDS_MAX {
        let message = format!("more than {DEPENDS_MAX} tasks are named");
        faults.push(source.fault(&span(first), message, help));
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in names {
        match name.parse::<TaskId>() {
            Ok(id) if !found.contains(&id) => found.push(id),
            Ok(_) => {}
            Err(error) => {
                let at = source.locate(span(first), name);
                faults.push(source.fault(&at, error.to_string(), help));
            }
        }
    }
    found
}

/// Returns the paths that stand in backticks.
fn files(first: &[Piece<'_>]) -> Vec<String> {
    let paths = codes(first).into_iter().map(|(path, _)| path);
    paths.filter(|path| !path.is_empty()).collect()
}

fn priority(
    source: &Source<'_>,
    item: &[Piece<'_>],
    value: &str,
    faults: &mut Vec<Diagnostic>,
) -> Priority {
    let parsed = value.trim().parse::<Priority>();
    parsed.unwrap_or_else(|wrong| {
        let help = "``- priority: high``: the task goes before those that name none";
        let at = source.locate(span(item), value.trim());
        faults.push(source.fault(&at, wrong.to_string(), help));
        Priority::default()
    })
}

fn accept(
    source: &Source<'_>,
    first: &[Piece<'_>],
    after: &[Piece<'_>],
    faults: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let mut commands: Vec<_> = codes(first)
        .into_iter()
        .map(|(command, _)| command)
        .collect();
    for block in blocks(after)
        .into_iter()
        .filter(|block| checks::is_code(block))
    {
        commands.extend(checks::lines(source, block, faults));
    }
    commands.retain(|command| !command.is_empty());
    if commands.is_empty() {
        let help = "put a command that exits 0 when the task is done into backticks: ``- accept: `make test` ``";
        faults.push(source.fault(&span(first), "`accept` names no command".to_owned(), help));
    }
    commands
}

/// Returns the text of a task after its first line, without what became dependencies and checks.
fn description(source: &Source<'_>, range: Range<usize>, cuts: &[Range<usize>]) -> String {
    let mut text = String::new();
    let mut from = range.start;
    for cut in cuts {
        text.push_str(
            source
                .part(from..cut.start.max(from))
                .trim_end_matches([' ', '\t']),
        );
        from = cut.end.max(from);
    }
    text.push_str(source.part(from..range.end.max(from)));
    let margin = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let written = |line: &&str| !line.trim().is_empty();
    let common = text
        .lines()
        .filter(written)
        .map(margin)
        .min()
        .unwrap_or_default();
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.get(common..).unwrap_or_default().trim_end())
        .collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Spec, *};

    fn parse(list: &str) -> Result<Vec<Task>, Vec<Diagnostic>> {
        let text = format!("# T\n## Tests\n- `true`\n## Tasks\n{list}");
        Spec::parse(Path::new("s.md"), text.as_bytes()).map(|spec| spec.tasks)
    }

    fn one(list: &str) -> Task {
        parse(list).expect("the list is right").remove(0)
    }

    fn fault(list: &str) -> String {
        let faults = parse(list).expect_err("the list is wrong");
        assert_eq!(faults.len(), 1, "{faults:?}");
        format!(
            "{}:{}+{} {}",
            faults[0].line, faults[0].column, faults[0].width, faults[0].message
        )
    }

    #[test]
    fn a_full_task_is_read() {
        let task = one(concat!(
            "1. [ ] `store` (eng-qa): Keep *todos* in a `JSON` file.\n",
            "   The store has add.\n\n",
            "   Second paragraph.\n",
            "   - depends on: `model`, page\n",
            "   - accept: `make a` and `make b`\n",
            "   - accept:\n     ```\n     make c\n     ```\n",
            "   - files: `src/x.py`\n",
            "   - priority: high\n",
            "   - It must be fast\n",
        ));
        assert_eq!((task.id.as_str(), task.role.as_str()), ("store", "eng-qa"));
        assert_eq!(task.title, "Keep todos in a JSON file.");
        assert_eq!(
            task.depends_on
                .iter()
                .map(TaskId::as_str)
                .collect::<Vec<_>>(),
            ["model", "page"]
        );
        assert_eq!(task.accept, ["make a", "make b", "make c"]);
        assert_eq!(
            (task.files, task.priority),
            (vec!["src/x.py".to_owned()], Priority::High)
        );
        assert_eq!(
            task.description,
            "The store has add.\n\nSecond paragraph.\n- files: `src/x.py`\n- It must be fast"
        );
    }

    #[test]
    fn name_and_role_may_be_left_out() {
        let task = one("- Add a *login* page: quickly!\n");
        assert_eq!(
            (task.id.as_str(), task.role.as_str()),
            ("add-a-login-page-quickly", DEFAULT_ROLE)
        );
        assert_eq!(task.title, "Add a login page: quickly!");
        assert_eq!(one("- (eng-qa): Test it\n").role.as_str(), "eng-qa");
        assert_eq!(one("- `a`: Test it\n").role.as_str(), DEFAULT_ROLE);
        assert_eq!(
            one(&format!("- {}\n", "ab ".repeat(60))).id.as_str().len(),
            38 + 2
        );
    }

    #[test]
    fn every_wrong_first_line_is_pointed_at() {
        let table = [
            ("- `Store`: x\n", "5:4+5 task `Store` may hold only"),
            ("- `store` x\n", "5:3+7 no `:` stands between"),
            ("- (eng qa): x\n", "5:4+6 role `eng qa` may hold only"),
            ("- (eng-qa) x\n", "5:3+8 no `:` stands"),
            ("- (eng-qa: x\n", "5:3+1 the `(` of the role is not closed"),
            ("- `a`:\n", "5:3+4 the task has no title"),
            ("- [x] `a`: done\n", "5:3+13 the task is ticked as done"),
            ("- 待办事项\n", "5:3+4 no name can be made"),
            ("- # heading\n", "5:1+11 the task has no title"),
            ("nothing here\n", "4:1+8 no task stands under this heading"),
        ];
        for (list, expected) in table {
            let found = fault(list);
            assert!(found.starts_with(expected), "{list}: {found}");
        }
        assert!(fault(&format!("- {}\n", "x".repeat(201))).contains("longer than 200"));
    }

    #[test]
    fn every_wrong_key_is_pointed_at() {
        let table = [
            ("- `a`: x\n  - needs: `b`\n", "6:5+5 unknown key `needs`"),
            ("- `a`: x\n  - depends on:\n", "6:5+11 no task is named"),
            (
                "- `a`: x\n  - depends on: `B c`\n",
                "6:18+3 task `B c` may hold only",
            ),
            (
                "- `a`: x\n  - accept: it works\n",
                "6:5+16 `accept` names no command",
            ),
            (
                "- `a`: x\n  - priority: urgent\n",
                "6:15+6 `urgent` is no priority",
            ),
        ];
        for (list, expected) in table {
            let found = fault(list);
            assert!(found.starts_with(expected), "{list}: {found}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        assert_eq!(
            fault("- `a`: x\n- A\n"),
            "6:1+3 a task `a` stands already on line 5"
        );
    }

    #[test]
    fn all_faults_come_at_once() {
        let faults = parse("- `A`: x\n  - needs: y\n- `b` y\n").expect_err("three faults");
        assert_eq!(faults.iter().map(|f| f.line).collect::<Vec<_>>(), [5, 6, 7]);
    }
}
