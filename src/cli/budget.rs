//! Budgets as a person gives them: on the command line and in `budget.yaml` files.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{self, Budget, Budgets, Config, Measure, Prices, Telling},
    event::{Event, Priced, Record, Told},
    provider::Provider,
    status::Status,
};

use super::{
    env::Environment,
    exit::{Exit, Fault},
    settings::{self, Links},
    setup, ui,
};

/// The file of an organisation.
const ORGANISATION: &str = "/etc/loki/budget.yaml";
/// The file of a project.
const PROJECT: &str = ".loki/config/budget.yaml";
const HELP: &str = "mend or remove it: budgets are never left out unsaid (docs/budgets.md)";

/// What the command line says about budgets.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[command(next_help_heading = "Budgets (see also budget.yaml; the smaller wins)")]
pub(super) struct Given {
    /// The most the run may cost by list price, such as 5USD
    #[arg(long, value_name = "MONEY", value_parser = money)]
    budget: Option<Limit>,
    /// The most tokens it may use, those from a model's cache too, such as 2M
    #[arg(long, value_name = "COUNT", value_parser = tokens)]
    max_tokens: Option<Limit>,
    /// The longest it may be driven, such as 2h; a pause between stop and resume does not count
    #[arg(long, value_name = "TIME", value_parser = time)]
    max_time: Option<Limit>,
    /// The most agent sessions it may begin
    #[arg(long, value_name = "COUNT", value_parser = iterations)]
    max_iterations: Option<Limit>,
}

/// One limit, or the word that lifts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Limit {
    At(u64),
    None,
}

fn money(text: &str) -> Result<Limit, String> {
    limit(Measure::Money, text)
}

fn tokens(text: &str) -> Result<Limit, String> {
    limit(Measure::Tokens, text)
}

fn time(text: &str) -> Result<Limit, String> {
    limit(Measure::Time, text)
}

fn iterations(text: &str) -> Result<Limit, String> {
    limit(Measure::Iterations, text)
}

fn limit(measure: Measure, text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let read = measure.read(text).map(Limit::At);
    read.map_err(|wrong| format!("{wrong}; `none` lifts what was given before"))
}

impl Given {
    fn all(&self) -> [(Measure, Option<Limit>); 4] {
        [
            (Measure::Money, self.budget),
            (Measure::Tokens, self.max_tokens),
            (Measure::Time, self.max_time),
            (Measure::Iterations, self.max_iterations),
        ]
    }

    /// Returns the limits that were typed.
    pub(super) fn limits(&self) -> Budget {
        let mut limits = Budget::default();
        for (measure, given) in self.all() {
            if let Some(Limit::At(amount)) = given {
                limits.set(measure, Some(amount));
            }
        }
        limits
    }

    /// Returns what was typed now over what was typed when the run began.
    pub(super) fn over(&self, before: Budget) -> Self {
        let pick = |now: Option<Limit>, measure| now.or(before.of(measure).map(Limit::At));
        Self {
            budget: pick(self.budget, Measure::Money),
            max_tokens: pick(self.max_tokens, Measure::Tokens),
            max_time: pick(self.max_time, Measure::Time),
            max_iterations: pick(self.max_iterations, Measure::Iterations),
        }
    }
}

/// `loki budget`, which there is not: whoever types it is told what there is.
#[derive(Debug, Args)]
pub(super) struct NoVerb {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Says what there is in place of a verb of its own.
pub(super) fn no_verb() -> Fault {
    Fault::new(Exit::Usage, "there is no verb `budget`").hint(
        "`loki start SPEC.md --budget 5USD` and budget.yaml set one, `loki plan SPEC.md` compares it with what a run \
         will need, `loki status` shows what is spent, `loki resume --budget 8USD` raises it (docs/budgets.md)",
    )
}

/// Returns what was typed last for a run.
pub(super) fn given(records: &[Record]) -> Budget {
    last(records).map(|set| set.given).unwrap_or_default()
}

fn last(records: &[Record]) -> Option<&Budgets> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::BudgetSet(set) => Some(set),
        _ => None,
    })
}

/// Reads every file of budgets that counts here and joins them with what was typed.
pub(super) fn read(
    env: &Environment,
    root: Option<&Path>,
    given: Budget,
) -> Result<(Budgets, Prices), Fault> {
    let user = env.config.as_ref().map(|config| config.join("budget.yaml"));
    let project = root.map(|root| root.join(PROJECT));
    let mut faults = Vec::new();
    let mut config = |place: Option<PathBuf>, links| -> Result<Option<Config>, Fault> {
        let Some(place) = place else { return Ok(None) };
        let text = settings::text(&place, links, HELP)?;
        let read = text.map(|text| budget::read(&place, &text)).transpose();
        Ok(read.unwrap_or_else(|found| {
            faults.extend(found);
            None
        }))
    };
    let own = [Some(ORGANISATION.into()), user].map(|place| config(place, Links::Followed));
    let own: Vec<Option<Config>> = own.into_iter().collect::<Result<_, Fault>>()?;
    let project = config(project, Links::Refused)?;
    if !faults.is_empty() {
        return Err(setup::diagnostics(&faults));
    }
    let mut files: Vec<Config> = own.into_iter().flatten().collect();
    let prices = Prices::of_files(&files, project.as_ref());
    for model in prices.left_out() {
        let model = ui::visible(model);
        ui::warning(format!(
            "the price of `{model}` in `{PROJECT}` does not count, for that file comes with the code: \
             write it into ~/.config/loki/budget.yaml"
        ));
    }
    files.extend(project);
    Ok((Budgets::of_files(given, &files), prices))
}

/// Refuses budgets that nobody could hold: what a program does not tell cannot be counted.
pub(super) fn can_be_held(budgets: &Budgets, provider: &dyn Provider) -> Result<(), Fault> {
    let Some(measure) = budgets
        .told()
        .filter(|_| provider.telling() == Telling::Silent)
    else {
        return Ok(());
    };
    let (word, name) = (measure.word(), provider.name());
    let message =
        format!("there is a budget of {word}, and provider `{name}` does not say what it spends");
    Err(Fault::new(Exit::Usage, message).hint(
        "limit it with `--max-time` or `--max-iterations`, and take the other one out of budget.yaml (docs/budgets.md)",
    ))
}

/// Returns what a new journal says of budgets first: nothing where there are none.
pub(super) fn opening(budgets: &Budgets) -> impl Iterator<Item = Event> + use<> {
    let set = (!budgets.is_empty()).then(|| Event::BudgetSet(budgets.clone()));
    set.into_iter()
}

/// Returns what the journal of a run that goes on says of budgets: their change, and prices that
/// tokens of it had none of.
pub(super) fn again(
    (budgets, prices): (&Budgets, &Prices),
    records: &[Record],
) -> impl Iterator<Item = Event> + use<> {
    let changed = match last(records) {
        Some(before) => before != budgets,
        None => !budgets.is_empty(),
    };
    let set = changed.then(|| Event::BudgetSet(budgets.clone()));
    let status = Status::fold(records);
    let priced = status.budget.unpriced().into_iter().filter_map(|model| {
        Some(Event::ModelPriced {
            model: model.to_owned(),
            price: prices.of(model)?,
        })
    });
    let priced: Vec<Event> = priced.collect();
    set.into_iter().chain(priced)
}

/// Says in one line what an event tells of budgets.
pub(super) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::BudgetSet(budgets) if budgets.run.is_empty() => {
            "budgets of roles are set".to_owned()
        }
        Event::BudgetSet(budgets) => format!("budget of the run: {}", budgets.run.written()),
        Event::BudgetPassed(passed) => format!("BUDGET: {}", passed.told()),
        Event::ModelPriced { model, .. } => format!(
            "`{}` has a price now: what was told of it is charged",
            ui::visible(model)
        ),
        Event::AgentSpent { turns, .. } => {
            let told = event.told()?;
            let turns = ui::counted(usize::try_from(*turns).unwrap_or(usize::MAX), "turn");
            let (task, model) = (told.task, ui::visible(told.model));
            let back = Measure::Tokens.written(told.tokens.output);
            let cost = cost(&told);
            format!("{task}: {turns} of `{model}`, {back} written, {cost}")
        }
        Event::AgentSpending(_) => {
            let told = event.told()?;
            let (task, model) = (told.task, ui::visible(told.model));
            let tokens = Measure::Tokens.written(told.tokens.all());
            format!("{task}: at least {tokens} of `{model}` so far")
        }
        _ => return None,
    })
}

/// Says what a session cost, and how much of that is believed.
fn cost(told: &Told<'_>) -> String {
    let believed = told.believed();
    let doubt = if believed == *told {
        ""
    } else {
        "; so much is not believed, and charged up to a bound (docs/budgets.md)"
    };
    match told.priced {
        Priced::Unknown => format!("price not known{doubt}"),
        Priced::Told | Priced::Listed => {
            let cost = Measure::Money.written(believed.cost_micros);
            format!("about {cost} by list price{doubt}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_at_a_resume_replaces_what_was_typed_before_measure_by_measure() {
        let mut before = Budget::default();
        before.set(Measure::Money, Some(5_000_000));
        before.set(Measure::Time, Some(60_000));
        before.set(Measure::Tokens, Some(9));
        let now = Given {
            budget: Some(money("8USD").unwrap()),
            max_time: Some(time("none").unwrap()),
            ..Given::default()
        };
        assert_eq!(now.over(before).limits().written(), "8 USD, 9 tokens");
        assert!(money("8EUR").unwrap_err().contains("only US dollars"));
    }

    #[test]
    fn a_session_is_told_with_its_price_or_that_nobody_knows_it_or_that_it_is_not_believed() {
        let told = |output, (cost_micros, priced)| {
            let event = Event::AgentSpent {
                task: "api".parse().unwrap(),
                attempt: 1,
                model: "m\u{202e}".to_owned(),
                turns: 1,
                input: 0,
                cache_written: 0,
                cache_read: 0,
                output,
                cost_micros,
                priced,
            };
            line(&event).unwrap()
        };
        let known = told(12_345, (20_000, Priced::Told));
        assert!(known.starts_with("api: 1 turn of `m\\u{202e}`, 12,345 tokens written, "));
        assert!(known.ends_with("about 0.02 USD by list price"), "{known}");
        let unknown = told(1, (0, Priced::Unknown));
        assert!(unknown.ends_with("price not known"), "{unknown}");
        let lie = told(u64::MAX, (u64::MAX, Priced::Told));
        assert!(
            lie.contains("about 10000 USD") && lie.contains("is not believed"),
            "{lie}"
        );
    }
}
