//! What processes of Loki say to each other: a wish, then answers, each a line of JSON.
//!
//! ```text
//!  caller                         process that holds the repository
//!    wish ───────────────────────────▶ read, checked again
//!         ◀──── heard │ ending │ elsewhere
//!         ◀──── note, data …
//!         ◀──── begun (the first record is on the disk)
//!    drain, stop ────────────────────▶ asked of that run alone
//!         ◀──── ended │ fault
//!
//!    watch ──────────────────────────▶ waits
//!         ◀──── over (the run is held no more), or the end of the connection: the process is gone
//! ```
//!
//! Both sides are the same user. A wish is believed as far as its sender could have typed it.

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, journal::Key, name::RunId, task::TaskRequest};

use super::super::{
    checkpoint::settings,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    order::Order,
    resume::Again,
    ui,
};

/// The version of this language.
const TALK: u32 = 1;
/// Longest wish: a specification and policies.
pub(super) const LONGEST: usize = 16 << 20;
/// Longest of any other line.
pub(super) const LONG: usize = 1 << 20;

/// What a caller wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    talk: u32,
    loki: String,
    pub(super) what: What,
}

/// The part of a wish that every version says alike.
#[derive(Deserialize)]
struct Hello {
    talk: u32,
    loki: String,
}

/// The kinds of wishes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum What {
    /// Hold a new run.
    Start(Box<Order>, Circumstances),
    /// Go on with a run.
    Resume(Box<Again>, Circumstances),
    /// Nothing but to be told when a run is held no more.
    Watch(RunId),
    /// End a run: at once, or once its agents have finished.
    Stop(RunId, Pace),
    /// Change the tasks of a run.
    Change(Box<TaskRequest>),
}

/// How soon a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Pace {
    /// Agents finish.
    Drain,
    /// Agents are ended.
    Now,
}

impl Wish {
    /// Returns a wish as a line.
    pub(super) fn line(what: What) -> Result<String, Fault> {
        let wish = Self {
            talk: TALK,
            loki: version(),
            what,
        };
        let line = serde_json::to_string(&wish).map_err(|cause| {
            let message = format!("this cannot be handed to another process: {cause}");
            Fault::new(Exit::Usage, message).hint("file names must be text")
        })?;
        if line.len() > LONGEST {
            let message = "specification and policies are too large to be handed over";
            return Err(Fault::new(Exit::Usage, message)
                .hint("start again once the runs that go on here have ended: `loki attach`"));
        }
        Ok(line)
    }

    /// Reads a wish. A caller of another version is told so.
    pub(super) fn read(line: &str) -> Result<What, Fault> {
        let hello: Hello = serde_json::from_str(line).map_err(|_| strange())?;
        if hello.talk != TALK {
            return Err(other_loki(&hello.loki));
        }
        let wish: Self = serde_json::from_str(line).map_err(|_| match hello.loki == version() {
            true => strange(),
            false => other_loki(&hello.loki),
        })?;
        match wish.what {
            What::Start(..) | What::Resume(..) if wish.loki != version() => {
                Err(other_loki(&wish.loki))
            }
            what => Ok(what),
        }
    }
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

fn strange() -> Fault {
    Fault::new(Exit::Usage, "what was said is no wish that is known here")
        .hint("`loki start SPEC.md` says one")
}

fn other_loki(theirs: &str) -> Fault {
    let message = format!(
        "process {}, which works here, is Loki {}, and this is Loki {}",
        std::process::id(),
        version(),
        ui::visible(theirs)
    );
    Fault::new(Exit::Failed, message).hint("use that one, or wait: `loki attach` follows its runs")
}

/// What a process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// The wish was understood, and what can be done at once is done; the number of the process.
    Heard(u32),
    /// The process is about to end, and takes nothing more.
    Ending,
    /// Another process holds the repository.
    Elsewhere,
    /// For standard error.
    Note(String),
    /// For standard output.
    Data(String),
    /// The run goes on from now.
    Begun(Begun),
    /// The run that is watched is held no more: its journal says whether it has ended.
    Over,
    /// The run has ended: the exit code, and whether it was stopped.
    Ended(u8, bool),
    /// It came to nothing: the exit code, why, and what to type next.
    Fault(u8, String, Option<String>),
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    pub(super) run: RunId,
    /// The last record of its journal that was told before.
    pub(super) behind: u64,
    /// Whether the process says to its log what it says to nobody else, and not to a terminal.
    pub(super) logs: bool,
}

impl Said {
    /// Returns it as a line.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Reads an answer.
    pub(super) fn read(line: &str) -> Result<Self, Fault> {
        serde_json::from_str(line).map_err(|cause| {
            let message = format!("the process that works here cannot be understood: {cause}");
            Fault::new(Exit::Failed, message).hint("is it another version of loki?")
        })
    }
}

impl From<Fault> for Said {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault.exit.code(), fault.message, fault.hint)
    }
}

impl From<ui::Line> for Said {
    fn from(line: ui::Line) -> Self {
        match line {
            ui::Line::Data(text) => Self::Data(text),
            ui::Line::Note(text) => Self::Note(text),
        }
    }
}

/// What a caller says after its wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Word {
    /// Agents finish, then the run ends.
    Drain(String),
    /// The run ends.
    Stop(String),
}

/// What one process cannot hold two of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circumstances {
    /// `--engine`, `DOCKER_HOST` and `CONTAINER_HOST`.
    pub(super) engine: [Option<String>; 3],
    /// Where settings, images, advisories and seals are.
    directories: [Option<PathBuf>; 4],
    /// What opens secrets: the file that was named, and where others are looked for.
    identity: (Option<String>, Option<PathBuf>),
    /// The public half of the key that seals.
    key: Option<String>,
    /// What says the way out of this host.
    way_out: String,
    /// How a busy provider is waited for: each run as its caller wants.
    waits: [Option<String>; 3],
    /// What commands of credentials and git get of the caller's session: each run of its own.
    commands: Vec<(OsString, OsString)>,
}

impl Circumstances {
    /// Returns those of a process.
    pub(super) fn of(env: &Environment) -> Result<Self, Fault> {
        let key = Key::open(settings(env)?).or_exit(Exit::Failed)?;
        Ok(Self::at(env, key.map(|key| key.public().to_string())))
    }

    fn at(env: &Environment, key: Option<String>) -> Self {
        let owned = |path: Result<&std::path::Path, Fault>| path.ok().map(ToOwned::to_owned);
        // It may hold a password.
        let proxies = &env.proxies;
        let way_out = (&proxies.https, &proxies.http, &proxies.all, &proxies.no);
        let way_out = format!("{way_out:?} {:?}", env.certificates);
        Self {
            engine: [&env.engine, &env.docker_host, &env.container_host].map(Clone::clone),
            directories: [
                env.config.clone(),
                owned(env.cache()),
                owned(env.data()),
                owned(env.state()),
            ],
            identity: (env.age_identity.clone(), env.home.clone()),
            key,
            way_out: Digest::of(way_out.as_bytes()).to_string(),
            waits: [&env.base_wait, &env.max_wait, &env.max_retries].map(Clone::clone),
            commands: env.commands.clone(),
        }
    }

    /// Returns an environment with what of these is a run's own, and no secrets yet.
    pub(super) fn own(&self, env: &Environment) -> Environment {
        let mut env = env.without_secrets();
        let [base, longest, most] = self.waits.clone();
        (env.base_wait, env.max_wait, env.max_retries) = (base, longest, most);
        env.commands.clone_from(&self.commands);
        env
    }

    /// Returns in what another process differs, in words.
    pub(super) fn differs(&self, other: &Self) -> Option<&'static str> {
        let differ = [
            (self.engine != other.engine, "another container engine"),
            (
                self.directories != other.directories,
                "other directories of settings",
            ),
            (
                self.identity != other.identity,
                "another identity for secrets",
            ),
            // Who had none yet has the one that was made meanwhile.
            (
                other.key.is_some() && self.key != other.key,
                "another audit key",
            ),
            (
                self.way_out != other.way_out,
                "another way out of this host",
            ),
        ];
        differ
            .into_iter()
            .find_map(|(differs, what)| differs.then_some(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        Wish::read(line).unwrap_err().message
    }

    #[test]
    fn what_is_no_wish_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for line in [
            "",
            "{}",
            "null",
            "[]",
            &deep,
            r#"{"talk":1}"#,
            r#"{"talk":1,"loki":"0","what":"fly"}"#,
            r#"{"talk":1,"loki":"0.1.0","what":{"stop":["../../x","drain"]}}"#,
            r#"{"talk":1,"loki":"0.1.0","what":{"stop":["a","soon"]}}"#,
            r#"{"talk":1,"loki":"0.1.0","what":{"watch":"a"},"more":1}"#,
            r#"{"talk":-1,"loki":"0.1.0","what":{"watch":"a"}}"#,
            r#"{"talk":1,"loki":"0.1.0","what":"watch"}"#,
        ] {
            assert!(Wish::read(line).is_err(), "{line}");
        }
        let said = message("{\"talk\":7,\"loki\":\"9\\u001b[2J\",\"what\":{\"dance\":[]}}");
        assert!(
            said.contains("this is Loki 9") && !said.contains('\u{1b}'),
            "{said}"
        );
    }

    #[test]
    fn a_wish_and_an_answer_read_as_they_are_said() {
        let run: RunId = "20270115-080000-ab12".parse().unwrap();
        let line = Wish::line(What::Stop(run.clone(), Pace::Now)).unwrap();
        assert!(matches!(Wish::read(&line).unwrap(), What::Stop(of, Pace::Now) if of == run));
        let line = Wish::line(What::Watch(run.clone())).unwrap();
        assert!(!line.contains('\n'));
        assert!(matches!(Wish::read(&line).unwrap(), What::Watch(of) if of == run));
        for said in [
            Said::Heard(7),
            Said::Note("a\nb".to_owned()),
            Said::Begun(Begun {
                run,
                behind: 3,
                logs: true,
            }),
            Said::Over,
            Said::Ended(1, true),
            Fault::new(Exit::Invalid, "no").hint("yes").into(),
        ] {
            assert!(!said.line().contains('\n'));
            assert_eq!(Said::read(&said.line()).unwrap(), said);
        }
    }

    #[test]
    fn watching_and_stopping_are_understood_from_any_version_and_starting_is_not() {
        let other = |what: &str| format!(r#"{{"talk":1,"loki":"99","what":{what}}}"#);
        assert!(Wish::read(&other(r#"{"watch":"a"}"#)).is_ok());
        assert!(Wish::read(&other(r#"{"stop":["a","drain"]}"#)).is_ok());
        let said = message(&other(r#"{"start":[{},{}]}"#));
        assert!(said.contains("this is Loki 99"), "{said}");
    }

    #[test]
    fn what_one_process_cannot_hold_two_of_is_named() {
        let one = Circumstances {
            engine: [None, None, None],
            directories: [None, None, None, None],
            identity: (None, None),
            key: Some("a".to_owned()),
            way_out: String::new(),
            waits: [None, None, None],
            commands: Vec::new(),
        };
        assert_eq!(one.differs(&one), None);
        let mut other = one.clone();
        other.key = Some("b".to_owned());
        assert_eq!(one.differs(&other), Some("another audit key"));
        other.engine[0] = Some("podman".to_owned());
        assert_eq!(one.differs(&other), Some("another container engine"));
    }

    #[test]
    fn a_run_has_the_session_and_the_waits_of_whoever_typed_it() {
        let mut holder = Environment::read();
        let set = |value: &str| vec![("SSH_AUTH_SOCK".into(), value.into())];
        holder.commands = set("/run/holder");
        let mut typed = holder.clone();
        typed.commands = set("/run/typed");
        typed.base_wait = Some("7".to_owned());
        let line = serde_json::to_string(&Circumstances::at(&typed, None)).unwrap();
        let theirs: Circumstances = serde_json::from_str(&line).unwrap();
        assert_eq!(Circumstances::at(&holder, None).differs(&theirs), None);
        let own = theirs.own(&holder);
        assert_eq!(own.commands, set("/run/typed"));
        assert_eq!(own.base_wait.as_deref(), Some("7"));
    }
}
