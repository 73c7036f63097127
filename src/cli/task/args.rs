//! What can be typed after `loki task`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    cli::args::Shown,
    name::{Role, RunId, TaskId},
    task::Priority,
};

/// `loki task …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TaskVerb {
    /// Add a task to a run that goes on, or that can be resumed
    Add(Add),
    /// List the tasks of a run: state, priority, what each waits for
    List(Shown),
    /// Show one task: state, what it waits for, why it failed
    Show(One),
    /// Take a task out of the plan, and all that waits for it; an agent at work on it is ended
    Cancel(Cancel),
    /// Have a task that failed for good, or was cancelled, tried anew
    Retry(Change),
    /// Let a task go earlier or later than others
    Priority(SetPriority),
}

/// `loki task add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// What is to be done, in one line
    #[arg(required_unless_present = "from")]
    pub(in crate::cli) title: Option<String>,
    /// Its name (default: made from the title)
    #[arg(long)]
    pub(in crate::cli) id: Option<TaskId>,
    /// Who does it
    #[arg(long, default_value = "eng-backend")]
    pub(in crate::cli) role: Role,
    /// More than the title says
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) description: Option<String>,
    /// Tasks that must have landed first
    #[arg(long, value_name = "TASK", value_delimiter = ',')]
    pub(in crate::cli) depends_on: Vec<TaskId>,
    /// A command that must exit 0 before it lands; may be given again
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) accept: Vec<String>,
    /// A file or directory it is about; may be given again
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) file: Vec<String>,
    /// critical, high, normal or low
    #[arg(long, default_value = "normal")]
    pub(in crate::cli) priority: Priority,
    /// Read the task, or a list of tasks, from a YAML or JSON file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "id", "role", "description", "depends_on", "accept", "file", "priority"])]
    pub(in crate::cli) from: Option<PathBuf>,
    /// The run (default: the newest)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
}

/// A task to look at.
#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The task
    pub(in crate::cli) task: TaskId,
    #[command(flatten)]
    pub(in crate::cli) shown: Shown,
}

/// A task to change.
#[derive(Debug, Args)]
pub(in crate::cli) struct Change {
    /// The task
    pub(in crate::cli) task: TaskId,
    /// The run (default: the newest)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
}

/// `loki task cancel`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Cancel {
    #[command(flatten)]
    pub(in crate::cli) change: Change,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) reason: Option<String>,
}

/// `loki task priority`.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetPriority {
    /// The task
    pub(in crate::cli) task: TaskId,
    /// critical, high, normal or low
    pub(in crate::cli) priority: Priority,
    /// The run (default: the newest)
    #[arg(long)]
    pub(in crate::cli) run: Option<RunId>,
}
