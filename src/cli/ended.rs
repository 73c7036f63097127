//! How a run came out, in words, and what to type next: always with that run's name, for another may
//! be newer.

use std::path::Path;

use crate::{
    budget::{Mark, Measure, Passed},
    event::Outcome,
    journal,
    name::RunId,
    status::Status,
};

use super::{
    exit::{Exit, Fault},
    ui,
};

/// Says how a run ended, and what to type next.
pub(super) fn say(state: &Path, run: &RunId, outcome: Outcome) {
    let words = match outcome {
        Outcome::Done => "is done",
        Outcome::Failed => "has failed",
        Outcome::Stopped => "was stopped",
        Outcome::Waiting => "waits for a person",
        Outcome::Limited => "was stopped by a limit",
    };
    ui::note(format!("run {run} {words}: {}", next(state, run, outcome)));
}

/// Says what to type next about a run that came to this.
pub(super) fn next(state: &Path, run: &RunId, outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => format!("`loki apply {run}` brings its work to your checkout"),
        Outcome::Failed => format!("`loki logs --run {run}` shows what agents and checks said"),
        Outcome::Stopped => format!("`loki resume {run}` goes on with it"),
        Outcome::Waiting => format!(
            "`loki status --run {run}` says for what, and `loki resume {run}` goes on with it then"
        ),
        Outcome::Limited => {
            let records = journal::read(&journal::path(state, run)).unwrap_or_default();
            more(run, &Status::fold(&records).budget.passed)
        }
    }
}

/// Says what goes on with a run that budgets stopped: with more of what it used up.
fn more(run: &RunId, passed: &[Passed]) -> String {
    let over = passed.iter().filter(|one| one.mark != Mark::Near);
    let (of_roles, of_run): (Vec<&Passed>, Vec<&Passed>) = over.partition(|one| one.role.is_some());
    let mut options: Vec<&str> = of_run.into_iter().map(option).collect();
    options.dedup();
    if !options.is_empty() {
        let options = options.join(" ");
        return format!(
            "`loki resume {run} {options}` goes on with more; a limit of a `budget.yaml` is raised there"
        );
    }
    let roles: Vec<String> = of_roles
        .iter()
        .filter_map(|one| Some(format!("`{}`", one.role.as_ref()?)))
        .collect();
    match roles.is_empty() {
        true => format!("`loki resume {run}` with a larger budget goes on"),
        false => format!(
            "raise the budget of role {} in `budget.yaml`, then `loki resume {run}`",
            roles.join(", ")
        ),
    }
}

/// Returns the option that gives more of what was used up, or lifts what cannot be held.
fn option(passed: &Passed) -> &'static str {
    match (passed.measure, passed.mark) {
        (Measure::Money, Mark::Unknown) => "--budget none --max-tokens …",
        (Measure::Money, _) => "--budget …",
        (Measure::Tokens, _) => "--max-tokens …",
        (Measure::Time, _) => "--max-time …",
        (Measure::Iterations, _) => "--max-iterations …",
    }
}

/// Returns the fault of a run whose process is gone.
pub(super) fn gone(run: &RunId) -> Fault {
    let message = format!("the process that held run {run} is gone");
    Fault::new(Exit::Failed, message).hint(format!(
        "`loki resume {run}` goes on: nothing that was reported is lost"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(role: Option<&str>, measure: Measure, mark: Mark) -> Passed {
        Passed {
            role: role.map(|role| role.parse().unwrap()),
            measure,
            allowed: 5,
            used: 5,
            mark,
        }
    }

    #[test]
    fn what_goes_on_with_a_run_gives_more_of_what_it_used_up() {
        let run: RunId = "20270115-080000-ab12".parse().unwrap();
        let line = |passed: &[Passed]| more(&run, passed);
        let time = passed(None, Measure::Time, Mark::Reached);
        let near = passed(None, Measure::Money, Mark::Near);
        let said = line(&[near.clone(), time.clone()]);
        assert!(
            said.contains("`loki resume 20270115-080000-ab12 --max-time …`"),
            "{said}"
        );
        let sessions = passed(None, Measure::Iterations, Mark::Reached);
        let said = line(&[time.clone(), time, sessions]);
        assert!(
            said.contains("ab12 --max-time … --max-iterations …`"),
            "{said}"
        );
        let qa = passed(Some("eng-qa"), Measure::Tokens, Mark::Reached);
        let said = line(&[near, qa]);
        assert!(
            said.contains("role `eng-qa` in `budget.yaml`, then `loki resume 2027"),
            "{said}"
        );
        let unknown = passed(None, Measure::Money, Mark::Unknown);
        assert!(line(&[unknown]).contains("--budget none --max-tokens …"));
    }

    #[test]
    fn what_is_typed_next_is_about_that_run() {
        let run: RunId = "20270115-080000-ab12".parse().unwrap();
        let nowhere = Path::new("/nonexistent");
        for outcome in [
            Outcome::Done,
            Outcome::Failed,
            Outcome::Stopped,
            Outcome::Waiting,
            Outcome::Limited,
        ] {
            let said = next(nowhere, &run, outcome);
            let commands = said.split('`').skip(1).step_by(2);
            for command in commands.filter(|one| one.starts_with("loki ")) {
                assert!(command.contains(run.as_str()), "{outcome:?}: {command}");
            }
        }
    }
}
