//! The command line: turns what a person types into calls, and results into text and exit codes.

mod adhoc;
mod advisories;
mod answers;
mod args;
mod asked;
mod attest;
mod audit;
mod begun;
mod budget;
mod cache;
mod checkpoint;
mod choice;
mod clean;
mod course;
mod doctor;
mod egress;
mod ended;
mod env;
mod exit;
mod ground;
mod held;
mod image;
mod job;
mod landed;
mod landing;
mod order;
mod plan;
mod policy;
mod pool;
mod progress;

mod registries;
mod restart;
mod resume;
mod roles;
mod sandbox;
mod secrets;
mod settings;
mod setup;
mod signals;
mod start;
mod taken;
mod task;
mod terminal;
mod ui;
mod views;
mod work;

pub use exit::Exit;

use std::process::ExitCode;

use clap::Parser;

use args::{AgentsVerb, Cli, Command, EgressVerb, ImageVerb, Json, SandboxVerb};
use env::Environment;
use exit::Fault;
use policy::args::PolicyVerb;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            let exit = if shown.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            // Nothing can be said when even the message cannot be printed.
            shown.print().ok();
            return exit.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => return ui::fault(&Fault::new(Exit::Bug, cause)).into(),
    };
    let exit = runtime
        .block_on(dispatch(cli))
        .unwrap_or_else(|fault| ui::fault(&fault));
    // A read of the terminal may still hang in a thread; nobody needs it any more.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    exit.into()
}

async fn dispatch(cli: Cli) -> Result<Exit, Fault> {
    raise_open_files();
    let mut env = Environment::read();
    env.engine = cli.engine.or(env.engine);
    match cli.command {
        Command::Start(start) if start.plan_only => plan::plan(&env, &start),
        Command::Start(start) => start::start(&env, &start).await,
        Command::Plan(asked) => plan::plan(&env, &asked.into()),
        Command::Budget(_) => Err(budget::no_verb()),
        Command::Resume(resume) => resume::resume(&env, &resume).await,
        Command::Attach(asked) => held::attach(&asked).await,
        Command::Orchestrate => held::orchestrate(&env).await,
        Command::Status(shown) => views::status(&shown),
        Command::Logs(logs) => views::logs(&logs),
        Command::Events(events) => views::events(&events).await,
        Command::Stop(stop) => views::stop(&stop).await,
        Command::Task(verb) => task::run(&env, &verb).await,
        Command::Audit(verb) => audit::run(&env, verb).await,
        Command::Egress(EgressVerb::Log(log)) => egress::log(&log).await,
        Command::Egress(EgressVerb::Top(sums)) => egress::top(&sums),
        Command::Egress(EgressVerb::Denied(sums)) => egress::denied(&env, &sums),
        Command::Egress(EgressVerb::Allow(allow)) => egress::allow(&env, &allow).await,
        Command::Revert(asked) => landing::revert(&env, &asked),
        Command::Ship(asked) => landing::ship(&env, &asked).await,
        Command::Why(asked) => landing::why(&asked),
        Command::BlameTask(asked) => landing::blame_task(&asked),
        Command::Sandbox(SandboxVerb::Run(run)) => sandbox::run(&env, run).await,
        Command::Sandbox(SandboxVerb::Shell(shell)) => sandbox::shell(&env, shell).await,
        Command::Sandbox(SandboxVerb::Ls(json)) => sandbox::list(&env, &json).await,
        Command::Sandbox(SandboxVerb::Rm(rm)) => sandbox::remove(&env, &rm).await,
        Command::Sandbox(SandboxVerb::Attest(args)) => attest::attest(&env, &args).await,
        Command::Policy(PolicyVerb::Check(check)) => policy::check(&env, &check),
        Command::Policy(PolicyVerb::Show(show)) => policy::show(&env, &show),
        Command::Policy(PolicyVerb::Explain(asked)) => policy::explain(&env, &asked),
        Command::Policy(PolicyVerb::Schema) => policy::schema(),
        Command::Policy(PolicyVerb::Diff(diff)) => policy::diff(&env, &diff),
        Command::Policy(PolicyVerb::Replay(asked)) => policy::replay(&env, &asked),
        Command::Policy(PolicyVerb::Suggest(asked)) => policy::suggest(&env, &asked),
        Command::Policy(PolicyVerb::Trust(trust)) => policy::trust(&env, &trust),
        Command::Secrets(asked) => secrets::run(&env, &asked).await,
        Command::Advisories(verb) => advisories::run(&env, &verb),
        Command::Cache(verb) => cache::run(&env, verb).await,
        Command::Checkpoint(verb) => checkpoint::run(&env, verb).await,
        Command::Agents(AgentsVerb::List(json)) => roles::list(&env, &json),
        Command::Show(asked) => work::show(&asked),
        Command::Diff(asked) => work::diff(&asked),
        Command::Approve(asked) => work::approve(&env, &asked).await,
        Command::Reject(asked) => work::reject(&env, &asked).await,
        Command::Apply(asked) => work::apply(&asked),
        Command::Drop(asked) => work::drop(&asked),
        Command::Gate(verb) => work::gate(&verb),
        Command::Pool(verb) => pool::run(&verb),
        Command::Doctor(json) => doctor::doctor(&env, &json).await,
        Command::Image(ImageVerb::Build(build)) => image::build(&env, &build).await,
        Command::Image(ImageVerb::List(json)) => image::list(&env, &json).await,
        Command::Clean(clean) => clean::clean(&env, &clean).await,
        Command::Version(json) => version(&json),
    }
}

/// Takes as many open files as this host allows: every connection of an agent needs two.
fn raise_open_files() {
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    limit.current = limit.maximum;
    // With fewer, connections wait longer; nothing else changes.
    rustix::process::setrlimit(resource, limit).ok();
}

fn version(json: &Json) -> Result<Exit, Fault> {
    if json.json {
        ui::json(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))?;
    } else {
        ui::data(format!("loki {}", env!("CARGO_PKG_VERSION")));
    }
    Ok(Exit::Done)
}
