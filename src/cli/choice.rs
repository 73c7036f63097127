//! Which provider a run has: what the person asked for, or the macro of a shipped example.

use std::{path::Path, sync::Arc};

use crate::{
    diagnostic::explained,
    provider::{self, Provider},
    task::Task,
};

use super::{
    exit::{Exit, Fault, OrExit},
    order::Order,
    setup,
    start::Intake,
    ui,
};

/// What there is.
const PROVIDERS: &str = "there are: `command` (`--provider command --command ./agent.sh`: any program that reads a \
     brief on stdin and works in /work), `claude` (`--provider claude`: the agent program of that name) and `replay` \
     (`--provider replay --macro DIR`: a recorded macro)";

/// The provider that was asked for.
pub(super) enum Choice {
    /// A program, with its arguments.
    Program(Vec<String>),
    /// A recorded macro, which brings its plan.
    Macro(provider::Replay),
    /// The agent program `claude`.
    Claude,
}

impl Choice {
    /// Returns its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Program(_) => "command",
            Self::Macro(_) => "replay",
            Self::Claude => "claude",
        }
    }

    /// Makes it ready. A program's path begins where the order was given.
    pub(super) fn open(self, order: &Order) -> Result<Arc<dyn Provider>, Fault> {
        match self {
            Self::Macro(replay) => Ok(Arc::new(replay)),
            Self::Claude => Ok(Arc::new(provider::Claude)),
            Self::Program(words) => {
                let agent = provider::Agent::open(words, &order.directory);
                let hint = "name a script of this machine or a program of the image: `--command ./agent.sh`";
                let agent = agent.or_exit(Exit::Usage);
                Ok(Arc::new(agent.map_err(|fault| fault.hint(hint))?))
            }
        }
    }
}

/// Takes the plan from a macro, else from the specification.
pub(super) fn plan(choice: Option<&Choice>, intake: &Intake) -> Result<Vec<Task>, Fault> {
    let tasks = match choice {
        Some(Choice::Macro(replay)) => replay.plan().unwrap_or(&intake.spec.tasks),
        Some(Choice::Program(_) | Choice::Claude) | None => &intake.spec.tasks,
    };
    if !tasks.is_empty() {
        return Ok(tasks.to_vec());
    }
    let file = ui::visible(&intake.file.to_string_lossy());
    Err(Fault::new(Exit::Invalid, format!("`{file}` has no tasks"))
        .hint("add a `## Tasks` list, see docs/specs.md; a model-made plan is not there yet"))
}

/// Picks the provider, none where nobody was named and that may stay open.
pub(super) fn choose_or_leave(order: &Order, intake: &Intake) -> Result<Option<Choice>, Fault> {
    let job = &order.args.job;
    let unnamed = job.provider.is_none() && job.command.is_none() && job.replayed.is_none();
    match choose(order, intake) {
        Err(_) if unnamed => Ok(None),
        choice => choice.map(Some),
    }
}

/// Picks the provider. Without one, only a shipped example picks its own macro, loudly.
pub(super) fn choose(order: &Order, intake: &Intake) -> Result<Choice, Fault> {
    let job = &order.args.job;
    match (job.provider.as_deref(), &job.command, &job.replayed) {
        (Some("command") | None, Some(program), None) => Ok(Choice::Program(words(order, program))),
        (Some("replay") | None, None, Some(directory)) => {
            provider::Replay::open(&order.at(directory))
                .map(Choice::Macro)
                .map_err(|cause| in_macro(&cause))
        }
        (Some("claude"), None, None) => Ok(Choice::Claude),
        (Some("command"), None, _) => Err(Fault::new(
            Exit::Usage,
            "`--provider command` needs a program",
        )
        .hint("add `--command ./agent.sh`")),
        (Some("replay") | None, None, None) => shipped(order, intake),
        (Some("command" | "replay" | "claude") | None, ..) => Err(Fault::new(
            Exit::Usage,
            "`--command` and `--macro` belong to different providers",
        )
        .hint("give one of them")),
        (Some(other), ..) => Err(Fault::new(
            Exit::Usage,
            format!("there is no provider `{}`", ui::visible(other)),
        )
        .hint(PROVIDERS)),
    }
}

/// Splits a command line at its spaces; one that names a file as a whole is that file.
fn words(order: &Order, program: &str) -> Vec<String> {
    if order.at(Path::new(program)).exists() {
        return vec![program.to_owned()];
    }
    program.split_whitespace().map(str::to_owned).collect()
}

fn shipped(order: &Order, intake: &Intake) -> Result<Choice, Fault> {
    let Some(replay) = provider::shipped_macro(&intake.sha256) else {
        if order.args.job.provider.is_some() {
            let message = "`--provider replay` needs a macro";
            return Err(Fault::new(Exit::Usage, message).hint("add `--macro DIR`"));
        }
        return Err(Fault::new(
            Exit::Usage,
            "no provider is given, so no one would do the work",
        )
        .hint(PROVIDERS));
    };
    ui::note(
        "NOTE: this is a shipped example. No model works on it: its recorded macro is replayed,",
    );
    ui::note(
        "NOTE: every script of it really runs, in a sandbox. Own specifications need --provider.",
    );
    Ok(Choice::Macro(replay))
}

/// Shows every fault of a macro with its place.
fn in_macro(cause: &provider::ProviderError) -> Fault {
    match cause {
        provider::ProviderError::Macro { faults, .. } => setup::diagnostics(faults),
        other => Fault::new(Exit::Invalid, explained(other)).hint(
            "a macro is a directory with `macro.yaml` and its scripts: see docs/providers.md",
        ),
    }
}
