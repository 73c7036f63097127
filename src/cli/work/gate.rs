//! `loki gate …`: what the hand-over gate looks for, as lists.

use serde_json::json;

use crate::{git, host_files};

use super::{
    super::{
        exit::{Exit, Fault},
        ui,
    },
    args::GateVerb,
};

/// Lists kinds of files or patterns.
pub(in crate::cli) fn gate(verb: &GateVerb) -> Result<Exit, Fault> {
    match verb {
        GateVerb::Kinds(form) if form.json => {
            ui::json(&json!({ "schema": 1, "kinds": host_files::kinds() }))?;
        }
        GateVerb::Kinds(_) => {
            let rows = host_files::kinds().iter().map(|kind| {
                let mut paths = kind.paths.iter().map(|path| path.trim_start_matches("**/"));
                let first = paths.next().unwrap_or_default().to_owned();
                let more = match paths.count() {
                    0 => String::new(),
                    more => format!(" +{more}"),
                };
                vec![
                    kind.name.clone(),
                    format!("{first}{more}"),
                    kind.runs.clone(),
                ]
            });
            ui::table(&["KIND", "FILES", "RUN OR OBEYED BY"], rows);
        }
        GateVerb::Patterns(form) if form.json => {
            let ids: Vec<&str> = git::secret_patterns().collect();
            ui::json(&json!({ "schema": 1, "patterns": ids }))?;
        }
        GateVerb::Patterns(_) => git::secret_patterns().for_each(ui::data),
    }
    Ok(Exit::Done)
}
