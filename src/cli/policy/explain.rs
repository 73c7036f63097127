//! `loki policy explain`: may a role do this, by which rule, and who holds it to that.
//!
//! Two parties hold a role to its files: the kernel while the agent runs, which knows directories,
//! and the gate when work is handed over, which knows globs. Where they differ, both are told.

use loki_guest::PathRule;

use crate::{
    git,
    policy::{
        Act, Layer, Policy, Program, Rights, Source,
        explain::{self, Answer},
    },
    sandbox::{Grant, confinement},
    text::visible,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        setup::Gathered,
        ui,
    },
    args::Explain,
    gather, in_force, needs, rights,
    told::{Told, passes, print, told},
    vetted,
};

/// Where the worktree stands inside.
const WORKTREE: &str = "/work/";

/// Answers every question; exits 0 when all of it is allowed.
pub(in crate::cli) fn explain(env: &Environment, asked: &Explain) -> Result<Exit, Fault> {
    let policy = in_force(env, &asked.asked.policy, asked.provider.as_deref())?;
    let rights = rights(&policy, &asked.role)?;
    let case = Case::new(&rights);
    let mut told = Vec::new();
    let (connect, requests) = asked.connections(&rights.egress);
    for (question, texts) in [
        ("write", &asked.write),
        ("read", &asked.read),
        ("execute", &asked.execute),
        ("connect", &connect),
        ("request", &requests),
    ] {
        for text in texts {
            told.push(case.ask(question, text)?);
        }
    }
    for told in &mut told {
        vetted::vet(env, &rights, told)?;
    }
    if told.iter().any(|told| told.next.is_some()) {
        let mut gathered = gather(env, &asked.asked.policy)?;
        gathered.facts.provider = asked.provider.as_deref().map(needs).transpose()?;
        told.iter_mut()
            .for_each(|told| try_out(&gathered, &rights, told));
    }
    if asked.asked.json {
        let answers = serde_json::json!({ "schema": 1, "role": rights.role, "answers": told });
        ui::json(&answers)?;
    } else {
        told.iter().for_each(|told| print(&rights, told));
    }
    let allowed = told.iter().all(|told| told.allowed);
    Ok(if allowed { Exit::Done } else { Exit::Failed })
}

/// Takes back advice that would not help, because a denial closes what was asked.
fn try_out(gathered: &Gathered, rights: &Rights, told: &mut Told) {
    let Some(advice) = told.next.take() else {
        return;
    };
    let tried = Source {
        layer: Layer::Given,
        file: (&advice.file).into(),
        text: advice.yaml.clone(),
    };
    let file = tried.file.clone();
    let sources = [gathered.sources.as_slice(), &[tried]].concat();
    let hindrance = match Policy::check_knowing(&sources, &gathered.facts) {
        Ok(policy) => {
            let again = policy.rights(&rights.role).map(|rights| {
                let again = Case::new(&rights).ask(told.question, &told.asked);
                again.is_ok_and(|told| told.allowed)
            });
            (again != Some(true)).then(|| "a `deny` entry closes it".to_owned())
        }
        Err(faults) => faults
            .into_iter()
            .find(|fault| fault.file == file && fault.message.ends_with("can never match"))
            .map(|fault| fault.help.unwrap_or(fault.message)),
    };
    match hindrance {
        None => told.next = Some(advice),
        Some(why) => told.reason = format!("{}; no rule could allow it: {why}", told.reason),
    }
}

/// A path as a person names it.
enum Place {
    /// Relative to the worktree.
    Worktree(String),
    /// Absolute, elsewhere in the sandbox.
    Elsewhere(String),
}

impl Place {
    fn of(path: &str) -> Self {
        match path.strip_prefix(WORKTREE) {
            Some(inside) => Self::Worktree(inside.to_owned()),
            None if path.starts_with('/') => Self::Elsewhere(path.to_owned()),
            None => Self::Worktree(path.strip_prefix("./").unwrap_or(path).to_owned()),
        }
    }
}

/// A role's rights and what the kernel makes of them.
struct Case<'a> {
    rights: &'a Rights,
    paths: Vec<PathRule>,
}

impl<'a> Case<'a> {
    fn new(rights: &'a Rights) -> Self {
        Self {
            paths: confinement(rights, &Grant::default()).paths,
            rights,
        }
    }

    fn ask(&self, question: &str, asked: &str) -> Result<Told, Fault> {
        Ok(match question {
            "write" => self.write(asked),
            "read" => self.read(asked),
            "execute" => self.execute(asked),
            "request" => return self.request(asked),
            _ => return self.connect(asked),
        })
    }

    fn write(&self, asked: &str) -> Told {
        let inside = match Place::of(asked) {
            Place::Worktree(inside) => inside,
            Place::Elsewhere(path) => return self.elsewhere(("write", asked), &path),
        };
        let kernel = self.kernel(&format!("{WORKTREE}{inside}"), |rule| rule.write);
        if is_git(&inside) {
            let reason = "`.git` inside is a repository of the agent's own: it may be written, and nothing of it ever leaves";
            return told(
                ("write", asked),
                Answer::never(reason),
                "the write succeeds".to_owned(),
            );
        }
        let mut answer = explain::write(self.rights, &inside);
        let refusals = git::refusals(&inside, &self.rights.files.write);
        if let Some(breach) = refusals.first().filter(|_| answer.allowed) {
            answer = Answer::never(format!("`{}` {}", breach.path, breach.message));
        }
        let gate = match refusals.first() {
            None => passes(self.rights, &inside),
            Some(breach) => format!("refuses the whole work: rule `{}`", breach.rule),
        };
        let kernel = match (kernel, answer.allowed) {
            (Some(rule), true) => format!("the write succeeds: `{}` is writable", rule.path),
            (Some(rule), false) => format!(
                "the write succeeds: a write glob is widened to `{}`, for the kernel holds directories",
                rule.path
            ),
            (None, _) => "the write fails: permission denied".to_owned(),
        };
        Told {
            gate: Some(gate),
            ..told(("write", asked), answer, kernel)
        }
    }

    fn read(&self, asked: &str) -> Told {
        let inside = match Place::of(asked) {
            Place::Worktree(inside) => inside,
            Place::Elsewhere(path) => return self.elsewhere(("read", asked), &path),
        };
        if is_git(&inside) {
            let own = "`.git` inside is a repository of the agent's own: one commit of the files that it may see";
            let inside = "the agent's repository is readable".to_owned();
            return Told {
                allowed: true,
                ..told(("read", asked), Answer::never(own), inside)
            };
        }
        let answer = explain::read(self.rights, &inside);
        let kernel = if answer.allowed {
            "the worktree is readable, and the file is there if it is committed"
        } else {
            "the file is absent: what a role may not read is not put into its worktree"
        };
        told(("read", asked), answer, kernel.to_owned())
    }

    /// Answers about a path that no glob speaks of: the sandbox itself decides.
    fn elsewhere(&self, asked: (&'static str, &str), path: &str) -> Told {
        let writing = asked.0 == "write";
        let allowed = match path.rsplit_once('/') {
            Some((directory, name)) if !writing && is_for_programs(directory) => {
                self.paths.iter().find(|rule| rule.path == name)
            }
            _ => self.kernel(
                path,
                if writing {
                    |rule| rule.write
                } else {
                    |rule| rule.read
                },
            ),
        };
        match allowed {
            Some(rule) => Told {
                allowed: true,
                ..told(
                    asked,
                    Answer::never(if writing {
                        "it is the sandbox's own, and goes with it"
                    } else {
                        "it is a part of the image or of the sandbox that the role's programs need"
                    }),
                    format!(
                        "`{}` is {}",
                        rule.path,
                        if writing { "writable" } else { "readable" }
                    ),
                )
            },
            None => told(
                asked,
                Answer::never(
                    "no policy speaks of paths outside the worktree, and the sandbox does not have it",
                ),
                "permission denied".to_owned(),
            ),
        }
    }

    fn execute(&self, asked: &str) -> Told {
        let (program, path) = match Place::of(asked) {
            Place::Worktree(name) if !name.contains('/') && !asked.contains('/') => (name, None),
            Place::Worktree(inside) => (inside.clone(), Some(format!("{WORKTREE}{inside}"))),
            Place::Elsewhere(path) => match path.rsplit_once('/') {
                Some((directory, name)) if is_for_programs(directory) => (name.to_owned(), None),
                _ => return self.companion(asked, &path),
            },
        };
        let answer = explain::execute(self.rights, &program);
        let runs = match &path {
            Some(path) => self.kernel(path, |rule| rule.execute),
            None => self
                .paths
                .iter()
                .find(|rule| rule.execute && rule.path == program),
        };
        match (runs, answer.allowed) {
            (None, true) => told(("execute", asked), answer, "it may not run".to_owned()),
            (None, false) => {
                let kernel = match path {
                    Some(_) => "it may not run: permission denied",
                    None => "it may neither run nor be read: permission denied",
                };
                told(("execute", asked), answer, kernel.to_owned())
            }
            (Some(rule), true) => {
                let kernel = match path {
                    Some(_) => format!("what lies below `{}` may run", rule.path),
                    None => "it may run, if the image has it".to_owned(),
                };
                told(("execute", asked), answer, kernel)
            }
            (Some(_), false) if path.is_none() => self.companion(asked, &program),
            (Some(rule), false) => {
                let kernel = format!(
                    "it may run: a glob is widened to `{}`, for the kernel holds directories",
                    rule.path
                );
                told(("execute", asked), answer, kernel)
            }
        }
    }

    /// Answers about a program that no policy lists: it may come with one that is listed.
    fn companion(&self, asked: &str, path: &str) -> Told {
        let runs = |paths: &[PathRule]| {
            paths
                .iter()
                .any(|rule| rule.execute && under(path, &rule.path))
        };
        let with = self.rights.programs.iter().find(|program| {
            let alone = Rights {
                programs: vec![(*program).clone()],
                ..self.rights.clone()
            };
            runs(&confinement(&alone, &Grant::default()).paths)
        });
        let with = with.map(|program| match program {
            Program::Image(name) => name.clone(),
            Program::Worktree(glob) => format!("./{}", glob.text),
        });
        match with {
            Some(with) => Told {
                allowed: true,
                ..told(
                    ("execute", asked),
                    Answer::never(format!("it comes with `{with}`, which the role may run")),
                    "it may run, if the image has it".to_owned(),
                )
            },
            None => told(
                ("execute", asked),
                Answer::never(
                    "no program that the role may run brings it; `execute` takes bare names and `./…` globs",
                ),
                "it may neither run nor be read: permission denied".to_owned(),
            ),
        }
    }

    fn connect(&self, asked: &str) -> Result<Told, Fault> {
        let usage = || {
            let message = format!("`{}` is not HOST:PORT", visible(asked));
            Fault::new(Exit::Usage, message).hint("ask about `api.example.com:443`")
        };
        let (host, port) = asked.rsplit_once(':').ok_or_else(usage)?;
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let answer = explain::connect(self.rights, host, port.ok_or_else(usage)?);
        let named = host.parse::<crate::name::HostName>().is_ok();
        let kernel = if !named {
            "there is no network inside: an address has no route"
        } else if answer.allowed {
            "there is no network inside: the gateway listens for the name and dials from outside"
        } else if answer.rule.is_some() {
            "there is no network inside: on this port nothing listens"
        } else {
            "there is no network inside: the name leads to the gateway's explanation alone"
        };
        Ok(told(("connect", asked), answer, kernel.to_owned()))
    }

    fn request(&self, asked: &str) -> Result<Told, Fault> {
        let Ok(Act::Request(request)) = format!("request {asked}").parse() else {
            let message = format!("`{}` is no request for HOST:PORT", visible(asked));
            let hint = "ask `--connect api.example.com:443 --method POST --path /v1/messages`";
            return Err(Fault::new(Exit::Usage, message).hint(hint));
        };
        let answer = explain::request(self.rights, &request);
        let kernel = if answer.allowed {
            "the gateway passes it on, to a server that it dials from outside"
        } else {
            "the gateway answers it itself, with this reason"
        };
        Ok(told(("request", asked), answer, kernel.to_owned()))
    }

    /// Returns the deepest rule that covers a path.
    fn kernel(&self, path: &str, has: fn(&PathRule) -> bool) -> Option<&PathRule> {
        let covering = self.paths.iter().filter(|rule| has(rule));
        covering
            .filter(|rule| under(path, &rule.path))
            .max_by_key(|rule| rule.path.len())
    }
}

/// Returns whether a path of the worktree is the agent's own repository, or in it.
fn is_git(inside: &str) -> bool {
    inside == ".git" || inside.starts_with(".git/")
}

/// Returns whether the kernel's rule for `top` covers `path`.
fn under(path: &str, top: &str) -> bool {
    let canonical = path.split('/').all(|part| !matches!(part, "." | ".."));
    canonical && std::path::Path::new(path).starts_with(top)
}

/// Returns whether bare names are looked up in a directory.
fn is_for_programs(directory: &str) -> bool {
    directory.ends_with("/bin") || directory.ends_with("/sbin")
}
