//! `loki policy show`: what a role may do, readable at a glance, each item with its place.

use serde_json::{Value, json};

use crate::{
    policy::{Glob, Origin, Policy, Program, Rights, diff, written},
    text::visible,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        ui,
    },
    args::{Asked, Show},
    in_force, placed, rights,
};

/// How far programs of a group are set in and where their lines end.
const INDENT: usize = 6;
const WIDTH: usize = 80;

/// Shows one role, or all in a line each.
pub(in crate::cli) fn show(env: &Environment, show: &Show) -> Result<Exit, Fault> {
    let policy = in_force(env, &show.asked.policy, show.provider.as_deref())?;
    let Some(name) = &show.role else {
        return all(&policy, &show.asked);
    };
    let rights = rights(&policy, name)?;
    if show.asked.json {
        ui::json(&document(&policy, &rights))?;
    } else {
        page(&policy, &rights);
    }
    Ok(Exit::Done)
}

fn all(policy: &Policy, asked: &Asked) -> Result<Exit, Fault> {
    let rights = || policy.roles().filter_map(|role| policy.rights(role));
    if asked.json {
        let roles: Vec<Value> = rights().map(|rights| document(policy, &rights)).collect();
        let sha256 = policy.sha256();
        ui::json(&json!({ "schema": 1, "sha256": sha256, "roles": roles }))?;
        return Ok(Exit::Done);
    }
    let rows = rights().map(|rights| {
        vec![
            rights.role.to_string(),
            some(written::globs(&rights.files.read.0)),
            some(written::globs(&rights.files.write.0)),
            some(runs(&rights).iter().map(String::as_str)),
            some(connects(&rights).iter().map(String::as_str)),
        ]
    });
    ui::table(&["ROLE", "READS", "WRITES", "RUNS", "REACHES"], rows);
    Ok(Exit::Done)
}

/// Returns the first item and how many follow: a line has 80 columns.
fn some<'a>(mut items: impl Iterator<Item = &'a str>) -> String {
    match (items.next(), items.count()) {
        (None, _) => "nothing".to_owned(),
        (Some(first), 0) => first.to_owned(),
        (Some(first), more) => format!("{first} +{more}"),
    }
}

fn runs(rights: &Rights) -> Vec<String> {
    let runs = written::runs(&rights.programs).into_iter();
    runs.map(|runs| runs.item).collect()
}

fn connects(rights: &Rights) -> Vec<String> {
    let rule = |rule: &crate::policy::EgressRule| format!("{}:{}", rule.host, rule.port);
    rights.egress.rules.iter().map(rule).collect()
}

/// One line of the page: what it is about, the item, and where it stands.
struct Line {
    item: String,
    origin: Option<Origin>,
    below: Vec<String>,
}

impl Line {
    fn new(item: impl Into<String>, origin: Option<&Origin>) -> Self {
        Self {
            item: item.into(),
            origin: origin.cloned(),
            below: Vec::new(),
        }
    }
}

fn page(policy: &Policy, rights: &Rights) {
    ui::data(format!(
        "{}: {}",
        rights.role,
        or(&rights.description, "no description")
    ));
    let mut blocks = vec![
        ("read", files(&rights.files.read.0)),
        ("write", files(&rights.files.write.0)),
        ("execute", programs(rights)),
        ("connect", rules(rights)),
    ];
    if !rights.egress.denied.is_empty() {
        blocks.push(("never connect", denials(rights)));
    }
    if !rights.egress.hosts.is_empty() {
        blocks.push(("hosts", pins(rights)));
    }
    for (section, lines) in &blocks {
        block(section, lines);
    }
    let mut last = "";
    for (name, value) in diff::values(rights, policy.tier(&rights.role)) {
        let (section, field) = name.split_once('.').unwrap_or(("other", name));
        if section != last {
            ui::data(format!("\n{section}"));
            last = section;
        }
        let place = rights.origins.get(field);
        let place = place.map_or_else(|| "(default)".to_owned(), super::place);
        setting(field, &visible(&value), &place);
    }
}

/// Prints a value; a list that is too long for its column stands below.
fn setting(field: &str, value: &str, place: &str) {
    const COLUMN: usize = 12;
    if value.chars().count() <= COLUMN {
        return ui::data(format!("  {field:<24} {value:<COLUMN$} {place}"));
    }
    ui::data(format!("  {field:<24} {:<COLUMN$} {place}", ""));
    let words = value.trim_matches(['[', ']']).split(", ");
    let words: Vec<String> = words.map(str::to_owned).collect();
    wrapped(&words).into_iter().for_each(ui::data);
}

fn or<'a>(text: &'a str, none: &'a str) -> &'a str {
    if text.is_empty() { none } else { text }
}

fn block(section: &str, lines: &[Line]) {
    ui::data(format!("\n{section}"));
    if lines.is_empty() {
        ui::data("  nothing");
    }
    let items: Vec<String> = lines.iter().map(|line| visible(&line.item)).collect();
    let width = items.iter().map(|item| item.chars().count()).max();
    for (line, item) in lines.iter().zip(&items) {
        let place = placed(line.origin.as_ref());
        let text = format!("  {item:<width$}  {place}", width = width.unwrap_or(0));
        ui::data(text.trim_end());
        for below in &line.below {
            ui::data(below);
        }
    }
}

fn files(globs: &[Glob]) -> Vec<Line> {
    let line = |glob: &Glob| Line::new(written::glob(glob), Some(&glob.origin));
    globs.iter().map(line).collect()
}

fn programs(rights: &Rights) -> Vec<Line> {
    let all = written::runs(&rights.programs);
    let line = |runs: &written::Runs| Line {
        below: wrapped(&beyond(&all, &runs.members)),
        ..Line::new(&runs.item, origin_of(rights, runs))
    };
    all.iter().map(line).collect()
}

/// Returns the members of a group, with the largest listed group among them by its name.
fn beyond(all: &[written::Runs], members: &[String]) -> Vec<String> {
    let holds = |other: &&written::Runs| {
        let fewer = (1..members.len()).contains(&other.members.len());
        fewer && other.members.iter().all(|name| members.contains(name))
    };
    let within = all.iter().filter(holds);
    let Some(largest) = within.max_by_key(|other| other.members.len()) else {
        return members.to_vec();
    };
    let rest = members
        .iter()
        .filter(|name| !largest.members.contains(name));
    std::iter::once(&largest.item)
        .chain(rest)
        .cloned()
        .collect()
}

/// Returns where an item of an `execute` list stands: a group where its first program does.
fn origin_of<'r>(rights: &'r Rights, runs: &written::Runs) -> Option<&'r Origin> {
    let Some(text) = runs.item.strip_prefix("./") else {
        let name = runs.members.first().unwrap_or(&runs.item);
        return rights.program_origins.get(name);
    };
    rights.programs.iter().find_map(|program| match program {
        Program::Worktree(glob) if glob.text == text => Some(&glob.origin),
        _ => None,
    })
}

/// Returns words in lines that are set in.
fn wrapped(words: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{:INDENT$}{word}", "")),
        }
    }
    lines
}

fn rules(rights: &Rights) -> Vec<Line> {
    let rules = rights.egress.rules.iter();
    rules
        .map(|rule| Line::new(written::connects(rule), Some(&rule.origin)))
        .collect()
}

fn denials(rights: &Rights) -> Vec<Line> {
    let denied = rights.egress.denied.iter();
    denied
        .map(|denial| Line::new(denial.item(), Some(&denial.origin)))
        .collect()
}

fn pins(rights: &Rights) -> Vec<Line> {
    let pins = rights.egress.hosts.iter();
    pins.map(|pin| {
        let ca = pin.ca.as_ref();
        let ca = ca.map_or_else(String::new, |ca| {
            format!(", checked against {}", ca.display())
        });
        Line::new(format!("{} is {}{ca}", pin.name, pin.to), Some(&pin.origin))
    })
    .collect()
}

/// Returns the documented form of a role's rights.
fn document(policy: &Policy, rights: &Rights) -> Value {
    let globs = |globs: &[Glob]| -> Vec<Value> {
        globs
            .iter()
            .map(|glob| {
                let except: Vec<&str> = written::globs(&glob.except).collect();
                at(
                    json!({ "glob": glob.text, "except": except }),
                    Some(&glob.origin),
                )
            })
            .collect()
    };
    let execute = written::runs(&rights.programs).into_iter().map(|runs| {
        let origin = origin_of(rights, &runs);
        at(
            json!({ "item": runs.item, "programs": runs.members }),
            origin,
        )
    });
    let connect = rights.egress.rules.iter().map(|rule| {
        let shown =
            json!({ "host": rule.host.to_string(), "port": rule.port, "protocol": rule.protocol, "request": rule.request });
        at(shown, Some(&rule.origin))
    });
    let denied = rights.egress.denied.iter();
    let denied = denied.map(|denial| {
        let shown = json!({ "host": denial.host(), "request": denial.request });
        at(shown, Some(&denial.origin))
    });
    let hosts = rights.egress.hosts.iter().map(|pin| {
        let shown = json!({ "name": pin.name, "to": pin.to, "ca": pin.ca });
        at(shown, Some(&pin.origin))
    });
    let values = diff::values(rights, policy.tier(&rights.role)).into_iter();
    let values = values.map(|(name, value)| {
        let field = name.rsplit('.').next().unwrap_or(name);
        let value = at(json!({ "value": value }), rights.origins.get(field));
        (name.to_owned(), value)
    });
    json!({
        "schema": 1,
        "role": rights.role,
        "description": rights.description,
        "read": globs(&rights.files.read.0),
        "write": globs(&rights.files.write.0),
        "execute": execute.collect::<Vec<_>>(),
        "connect": connect.collect::<Vec<_>>(),
        "never_connect": denied.collect::<Vec<_>>(),
        "hosts": hosts.collect::<Vec<_>>(),
        "values": values.collect::<serde_json::Map<_, _>>(),
    })
}

/// Adds the place of an item, null where it has none.
fn at(mut item: Value, origin: Option<&Origin>) -> Value {
    item["file"] = json!(origin.map(|origin| &origin.file));
    item["line"] = json!(origin.map(|origin| origin.line));
    item
}
