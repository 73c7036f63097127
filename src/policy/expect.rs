//! `expect` cases: what a policy must allow or deny, tried on the finished rights with the
//! functions that traffic asks.

use super::{
    Act, Rights,
    fields::{self, map, text, unknown},
    sheet::{Placed, Sheet},
    yaml::{Node, Value},
};
use crate::name::Role;

/// One thing that a role must or must not be able to do.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) role: Role,
    pub(super) act: Placed<Act>,
    pub(super) verdict: Wanted,
}

/// What a case wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Allow,
    Deny,
}

/// Reads the `expect` section.
pub(super) fn read(sheet: &mut Sheet<'_>, node: &Node) -> Vec<Case> {
    let example = "[{ role: eng-qa, deny: \"write src/main.rs\" }]";
    let mut cases = Vec::new();
    for item in fields::items(sheet, node, example) {
        case(sheet, item, &mut cases);
    }
    cases
}

fn case(sheet: &mut Sheet<'_>, item: &Node, cases: &mut Vec<Case>) {
    let (mut role, mut named, mut acts) = (None, false, Vec::new());
    let mut says_something = false;
    for (key, at, value) in map(sheet, item, "a case") {
        match key {
            "role" => {
                named = true;
                role = fields::role(sheet, value);
            }
            "allow" | "deny" => {
                says_something = true;
                let wanted = if key == "allow" {
                    Wanted::Allow
                } else {
                    Wanted::Deny
                };
                let read = list(sheet, value);
                acts.extend(read.into_iter().map(|act| (wanted, act)));
            }
            _ => unknown(sheet, (key, at), &["role", "allow", "deny"]),
        }
    }
    if matches!(item.value, Value::Map(_)) && !(named && says_something) {
        let help =
            "write { role: eng-qa, allow: \"write tests/a.rs\", deny: \"write src/main.rs\" }";
        let missing = if named {
            "expects nothing"
        } else {
            "names no role"
        };
        sheet.fault(
            item.at,
            format!("the case {missing}"),
            Some(help.to_owned()),
        );
    }
    let Some(role) = role else { return };
    cases.extend(acts.into_iter().map(|(verdict, act)| Case {
        role: role.clone(),
        act,
        verdict,
    }));
}

/// Reads one act, or a list of them.
fn list(sheet: &mut Sheet<'_>, node: &Node) -> Vec<Placed<Act>> {
    match node.value {
        Value::List(_) => fields::list(sheet, node, "[\"read src/a\"]", act).value,
        _ => act(sheet, node)
            .map(|act| sheet.placed(act, node.at))
            .into_iter()
            .collect(),
    }
}

fn act(sheet: &mut Sheet<'_>, node: &Node) -> Option<Act> {
    let given = text(
        sheet,
        node,
        "an act such as \"connect api.example.com:443\"",
    )?;
    match given.parse() {
        Ok(act) => Some(act),
        Err(error) => {
            let error: super::ActError = error;
            let help = "name one exact host and port, one path of the worktree without wildcards, or one program";
            sheet.fault(node.at, error.to_string(), Some(help.to_owned()));
            None
        }
    }
}

impl Case {
    /// Returns why the rights are not as the case wants them, none when they are.
    pub(super) fn failure(&self, rights: &Rights) -> Option<(String, String)> {
        let verdict = rights.judge(&self.act.value);
        if verdict.allowed == (self.verdict == Wanted::Allow) {
            return None;
        }
        let (is, should) = if verdict.allowed {
            ("allowed", "denied")
        } else {
            ("denied", "allowed")
        };
        let message = format!(
            "`{}` may{} `{}`, and the case expects it {should}",
            self.role,
            if verdict.allowed { "" } else { " not" },
            self.act.value,
        );
        let rule = match verdict.rule {
            Some(rule) => format!("by {rule}"),
            None => "and no rule says otherwise".to_owned(),
        };
        Some((message, format!("{is} because {}, {rule}", verdict.reason)))
    }
}
