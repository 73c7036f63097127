//! Reads `execute` lists.

use super::{
    Program,
    fields::{glob, items, text},
    programs,
    sheet::{Mark, Sheet},
    yaml::Node,
};
use crate::diagnostic::closest;

/// Returns the programs of an `execute` list, groups expanded, each once.
pub(super) fn list(sheet: &mut Sheet<'_>, node: &Node) -> Vec<Program> {
    let mut list: Vec<Program> = Vec::new();
    for item in items(sheet, node, "[\"@shell\", git]") {
        let Some(text) = text(
            sheet,
            item,
            "a program, a group such as \"@shell\" or a glob such as \"./target/**\"",
        ) else {
            continue;
        };
        for program in program(sheet, text, item.at) {
            let known = |other: &Program| match (other, &program) {
                (Program::Image(a), Program::Image(b)) => a == b,
                (Program::Worktree(a), Program::Worktree(b)) => a.text == b.text,
                _ => false,
            };
            if !list.iter().any(known) {
                list.push(program);
            }
        }
    }
    list
}

fn program(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Vec<Program> {
    if text.starts_with('@') {
        return group(sheet, text, at);
    }
    if let Some(relative) = text.strip_prefix("./") {
        return glob(sheet, relative, at)
            .map(Program::Worktree)
            .into_iter()
            .collect();
    }
    if programs::is_bare(text) {
        return vec![Program::Image(text.to_owned())];
    }
    let (message, help) = if text.starts_with('/') {
        let bare = text
            .rsplit('/')
            .find(|part| programs::is_bare(part))
            .unwrap_or("sh");
        (
            "is an absolute path",
            format!("write the bare name, such as `{bare}`: it is found in the image"),
        )
    } else if text.contains('/') || text.contains('*') {
        (
            "is neither a bare name nor begins with `./`",
            "programs of the worktree begin with `./`, such as `./target/**`".to_owned(),
        )
    } else {
        (
            "is not a program name",
            "write a bare name such as `git`: arguments and paths do not belong here".to_owned(),
        )
    };
    sheet.fault(
        at,
        format!("`{}` {message}", text.escape_debug()),
        Some(help),
    );
    Vec::new()
}

fn group(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Vec<Program> {
    if let Some(programs) = programs::group(text) {
        return programs
            .map(|name| Program::Image(name.to_owned()))
            .collect();
    }
    let help = match closest(text, programs::names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!(
            "the groups are {}",
            programs::names().collect::<Vec<_>>().join(", ")
        ),
    };
    sheet.fault(
        at,
        format!("no group of programs is called `{}`", text.escape_debug()),
        Some(help),
    );
    Vec::new()
}
