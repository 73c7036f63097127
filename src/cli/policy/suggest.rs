//! `loki policy suggest`: the least rights that a recorded run needed, as a policy file.

use crate::{
    diagnostic::closest,
    name::Role,
    policy::suggest::{Needs, yaml},
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        ui,
    },
    args::Suggest,
    load,
    past::Past,
};

/// Prints the file.
pub(in crate::cli) fn suggest(env: &Environment, asked: &Suggest) -> Result<Exit, Fault> {
    let policy = load(env, &asked.policy)?;
    let past = Past::open()?;
    let run = asked.run.as_ref().unwrap_or_else(|| past.newest());
    let mut needs = Needs::default();
    for recorded in past.records(Some(run))? {
        for record in &recorded.records {
            needs.note(&record.event, &|commit| past.changed(commit));
        }
    }
    if let Some(role) = &asked.role
        && !needs.roles().any(|known| known == role)
    {
        let fault = Fault::new(Exit::Usage, format!("run {run} had no role `{role}`"));
        let roles: Vec<&str> = needs.roles().map(Role::as_str).collect();
        return Err(
            fault.hint(match closest(role.as_str(), roles.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it had {}", roles.join(", ")),
            }),
        );
    }
    let source = format!("run {run}");
    ui::data(yaml(&needs, &policy, (asked.role.as_ref(), &source)).trim_end());
    Ok(Exit::Done)
}
