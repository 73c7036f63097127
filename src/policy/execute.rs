//! Reads `execute` lists.

use std::collections::HashSet;

use super::{
    Program,
    cover::Written,
    fields::{self, List, glob, text},
    programs,
    sheet::{Mark, Sheet},
    yaml::Node,
};
use crate::diagnostic::closest;

const WANTED: &str = "a program, a group such as \"@shell\" or a glob such as \"./target/**\"";

/// Returns the programs of an `execute` list, groups expanded, each once.
pub(super) fn list(sheet: &mut Sheet<'_>, node: &Node) -> List<Program> {
    let mut list = fields::list(sheet, node, "[\"@shell\", git]", |sheet, item| {
        text(sheet, item, WANTED).map_or_else(Vec::new, |text| program(sheet, text, item.at))
    });
    let mut seen = HashSet::new();
    list.value
        .retain(|program| seen.insert(program.value.written()));
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
