//! `macro.yaml`: the plan of a recorded run and which scripts do it. Unknown keys are errors, so a
//! macro cannot carry results.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;

use super::script::needs;
use crate::{
    diagnostic::Diagnostic,
    name::{Role, TaskId},
    task::{Priority, Task},
    text::{aligned, is_hostile},
};

/// The file that describes a macro.
pub(super) const FILE: &str = "macro.yaml";
/// Longest picture of a line, in characters.
const PICTURE_MAX: usize = 400;
/// The newest version that is read.
const VERSION: u64 = 1;

/// A checked macro.
#[derive(Debug, Clone)]
pub(super) struct Macro {
    pub(super) title: Option<String>,
    pub(super) plan: Vec<Task>,
    /// The scripts of each task, one an attempt, never empty.
    pub(super) scripts: BTreeMap<TaskId, Vec<String>>,
}

/// What tells whether the rest can be understood.
#[derive(Deserialize)]
struct Head {
    r#type: Option<String>,
    version: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(rename = "type")]
    _type: String,
    #[serde(rename = "version")]
    _version: u64,
    title: Option<String>,
    decomposition: Vec<Planned>,
    scripts: BTreeMap<TaskId, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    id: TaskId,
    role: Role,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    depends_on: Vec<TaskId>,
    #[serde(default)]
    accept: Vec<String>,
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    priority: Priority,
}

impl From<Planned> for Task {
    fn from(planned: Planned) -> Self {
        let Planned {
            id,
            role,
            title,
            description,
            depends_on,
            accept,
            files,
            priority,
        } = planned;
        Self {
            id,
            role,
            title: title.trim().to_owned(),
            description: description.trim().to_owned(),
            depends_on,
            accept,
            files,
            priority,
        }
    }
}

/// Checks the files of a macro; `path` names its directory in faults.
pub(super) fn check(
    path: &Path,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Macro, Vec<Diagnostic>> {
    let faults = Faults { path };
    let Some(bytes) = files.get(FILE) else {
        let help = "a macro is a directory with a file `macro.yaml` and its scripts";
        return Err(vec![faults.whole(
            FILE,
            "the file is missing".to_owned(),
            help,
        )]);
    };
    let text = std::str::from_utf8(bytes).map_err(|_| {
        vec![faults.whole(FILE, "the file is not UTF-8".to_owned(), "save it as UTF-8")]
    })?;
    head(&faults, text).map_err(|fault| vec![fault])?;
    let read: Text = serde_yaml::from_str(text).map_err(|error| vec![faults.yaml(text, &error)])?;
    let plan: Vec<Task> = read.decomposition.into_iter().map(Task::from).collect();
    let mut found = tasks(&faults, &plan);
    found.extend(missing(&faults, &plan, &read.scripts));
    found.extend(scripts(&faults, files, &read.scripts));
    if found.is_empty() {
        Ok(Macro {
            title: read.title,
            plan,
            scripts: read.scripts,
        })
    } else {
        Err(found)
    }
}

fn head(faults: &Faults<'_>, text: &str) -> Result<(), Diagnostic> {
    let head: Head = serde_yaml::from_str(text).map_err(|error| faults.yaml(text, &error))?;
    if head.r#type.as_deref() != Some("loki_macro") {
        return Err(faults.whole(
            FILE,
            "this is not a macro".to_owned(),
            "begin it with `type: loki_macro`",
        ));
    }
    match head.version {
        Some(VERSION) => Ok(()),
        Some(newer) if newer > VERSION => {
            let message = format!(
                "version {newer} is newer than this program, which reads version {VERSION}"
            );
            Err(faults.whole(FILE, message, "use a newer Loki, or record the macro again"))
        }
        _ => Err(faults.whole(
            FILE,
            "the version is missing or unknown".to_owned(),
            "write `version: 1`",
        )),
    }
}

/// Checks what the plan says of each task on its own.
fn tasks(faults: &Faults<'_>, plan: &[Task]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    if plan.is_empty() {
        found.push(faults.whole(
            FILE,
            "the plan has no task".to_owned(),
            "list them under `decomposition:`",
        ));
    }
    for task in plan {
        if !seen.insert(&task.id) {
            let message = format!("the task `{}` stands twice in the plan", task.id);
            found.push(faults.whole(FILE, message, "give each task a name of its own"));
        }
        if task.title.is_empty() {
            let message = format!("the task `{}` has no title", task.id);
            found.push(faults.whole(FILE, message, "say in one line what it does"));
        }
        let texts = [&task.title, &task.description]
            .into_iter()
            .chain(&task.accept);
        if let Some(c) = texts.flat_map(|text| text.chars()).find(|c| is_hostile(*c)) {
            let message = format!(
                "the task `{}` holds the invisible character `{}`",
                task.id,
                c.escape_unicode()
            );
            found.push(faults.whole(FILE, message, "delete it: text must be what it looks like"));
        }
        if task.accept.iter().any(|command| command.trim().is_empty()) {
            let message = format!("the task `{}` has an empty command under `accept`", task.id);
            found.push(faults.whole(
                FILE,
                message,
                "write a command that exits 0 when the task is done",
            ));
        }
    }
    found
}

/// Names the tasks without scripts and the scripts without tasks.
fn missing(
    faults: &Faults<'_>,
    plan: &[Task],
    scripts: &BTreeMap<TaskId, Vec<String>>,
) -> Vec<Diagnostic> {
    let planned: BTreeSet<_> = plan.iter().map(|task| &task.id).collect();
    let without = planned
        .iter()
        .filter(|id| scripts.get(**id).is_none_or(Vec::is_empty));
    let unplanned = scripts.keys().filter(|id| !planned.contains(id));
    let mut found = Vec::new();
    for id in without {
        let help = "list one under `scripts:`, as `name: [name-1.sh]`";
        found.push(faults.whole(FILE, format!("the task `{id}` has no script"), help));
    }
    for id in unplanned {
        let message = format!("the scripts of `{id}` belong to no task of the plan");
        found.push(faults.whole(
            FILE,
            message,
            "plan the task under `decomposition:`, or remove them",
        ));
    }
    found
}

/// Names the scripts that are not there or are no programs, and the files that are no scripts.
fn scripts(
    faults: &Faults<'_>,
    files: &BTreeMap<String, Vec<u8>>,
    scripts: &BTreeMap<TaskId, Vec<String>>,
) -> Vec<Diagnostic> {
    let named: BTreeSet<&str> = scripts.values().flatten().map(String::as_str).collect();
    let mut found = Vec::new();
    for name in &named {
        match files.get(*name) {
            _ if *name == FILE => {
                found.push(faults.whole(
                    FILE,
                    "the macro names itself as a script".to_owned(),
                    "name a script",
                ));
            }
            None => {
                let message = format!(
                    "the script `{}` is not in the directory",
                    name.escape_debug()
                );
                found.push(faults.whole(
                    FILE,
                    message,
                    "name a file beside `macro.yaml`, without any `/`",
                ));
            }
            Some(contents) if needs(contents).is_none() => {
                let help = "begin it with a line such as `#!/bin/sh`";
                found.push(faults.whole(name, "the script names no interpreter".to_owned(), help));
            }
            Some(_) => {}
        }
    }
    for name in files
        .keys()
        .filter(|name| *name != FILE && !named.contains(name.as_str()))
    {
        let help = "a macro holds scripts and nothing else: name it under `scripts:`, or remove it";
        found.push(faults.whole(name, "no task runs this file".to_owned(), help));
    }
    found
}

/// Builds faults of one macro.
struct Faults<'a> {
    path: &'a Path,
}

impl Faults<'_> {
    fn whole(&self, file: &str, message: String, help: &str) -> Diagnostic {
        Diagnostic {
            file: self.path.join(file),
            line: 0,
            column: 1,
            width: 1,
            picture: String::new(),
            message,
            help: Some(help.to_owned()),
        }
    }

    fn yaml(&self, text: &str, error: &serde_yaml::Error) -> Diagnostic {
        let at = error.location();
        let line = at.map_or(0, |at| usize::try_from(at.line()).unwrap_or_default());
        let column = at.map_or(1, |at| usize::try_from(at.column()).unwrap_or(1).max(1));
        let row = text.lines().nth(line.wrapping_sub(1)).unwrap_or_default();
        let message = error.without_snippet().to_string();
        Diagnostic {
            line,
            column,
            picture: aligned(row).chars().take(PICTURE_MAX).collect(),
            message: aligned(message.lines().next().unwrap_or_default()),
            ..self.whole(
                FILE,
                String::new(),
                "a macro holds `type`, `version`, `title`, `decomposition` and `scripts`",
            )
        }
    }
}
