//! The answer to one question of `loki policy explain`, and how it is printed.

use serde::Serialize;

use crate::{
    host_files,
    policy::{
        Rights,
        explain::{Advice, Answer},
    },
    text::visible,
};

use super::super::ui;

/// One question and all that is to say about it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) question: &'static str,
    pub(super) asked: String,
    pub(super) allowed: bool,
    pub(super) rule: Option<String>,
    pub(super) reason: String,
    /// What happens inside, while the agent runs.
    pub(super) kernel: String,
    /// What happens when work is handed over; none where nothing is.
    pub(super) gate: Option<String>,
    pub(super) near: Option<String>,
    pub(super) next: Option<Advice>,
}

/// Joins an answer with what happens inside.
pub(super) fn told(
    (question, asked): (&'static str, &str),
    answer: Answer,
    kernel: String,
) -> Told {
    let Answer {
        allowed,
        rule,
        reason,
        near,
        next,
    } = answer;
    Told {
        question,
        asked: asked.to_owned(),
        allowed,
        rule,
        reason,
        kernel,
        gate: None,
        near,
        next,
    }
}

/// Prints an answer for people.
pub(super) fn print(rights: &Rights, told: &Told) {
    let verdict = if told.allowed { "allowed" } else { "denied" };
    let asked = visible(&told.asked);
    ui::data(format!(
        "{verdict}: {} {} `{asked}`",
        rights.role, told.question
    ));
    let rule = told.rule.as_deref().unwrap_or("none");
    ui::data(format!("  rule    {}", visible(rule)));
    ui::data(format!("  reason  {}", visible(&told.reason)));
    ui::data(format!("  inside  {}", visible(&told.kernel)));
    if let Some(gate) = &told.gate {
        ui::data(format!("  gate    {}", visible(gate)));
    }
    if let Some(near) = &told.near {
        ui::data(format!("  did you mean `{}`?", visible(near)));
    }
    if let Some(Advice { file, yaml }) = &told.next {
        ui::data(format!("  to allow it, add to {}:", visible(file)));
        for line in yaml.lines() {
            ui::data(format!("    {}", visible(line)));
        }
    }
}

/// Says how the gate lets a path pass that the globs cover.
pub(super) fn passes(rights: &Rights, inside: &str) -> String {
    let granted = rights.host_kinds();
    let kinds = host_files::of(inside.as_bytes()).into_iter();
    let open = kinds.filter(|kind| kind.only.is_none() && !granted.contains(&kind.name));
    let names: Vec<&str> = open.map(|kind| kind.name.as_str()).collect();
    if names.is_empty() {
        return "lets it pass".to_owned();
    }
    let names = names.join(", ");
    format!(
        "holds it until a person approves the change (`loki approve`), for the host runs or obeys such a file; `host_executable: [{names}]` in `permissions` lets it pass"
    )
}
