//! `loki why`: from a commit back to what was asked, and whether the journal bears out what the
//! commit says of itself.

use serde_json::json;

use crate::{
    git::{Commit, ObjectId, Repository},
    journal,
    provenance::{Account, Attempt, Kind, Told, Trailers, trailers},
};

use super::{
    super::{
        exit::{Exit, Fault, OrExit},
        landed::short,
        setup, ui, work,
    },
    args::Why,
};

/// Where a commit comes from.
pub(super) struct Origin {
    pub(super) commit: Commit,
    claimed: Option<Trailers>,
    account: Option<Account>,
    /// Whether the run's branch holds it.
    on_branch: bool,
    /// Why nothing, or nothing sound, is known of it.
    faults: Vec<String>,
}

/// Runs the verb.
pub(in crate::cli) fn why(args: &Why) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    let unknown = |_| {
        let message = format!("`{}` names no commit", ui::visible(&args.commit));
        Fault::new(Exit::Usage, message).hint("give a branch, a tag or an id: `git log` shows them")
    };
    let id = repository.resolve(&args.commit).map_err(unknown)?;
    let origin = origin(&repository, &id)?;
    match args.json {
        true => ui::json(&origin.json())?,
        false => origin.print(),
    }
    Ok(origin.exit())
}

/// Follows a commit back.
pub(super) fn origin(repository: &Repository, id: &ObjectId) -> Result<Origin, Fault> {
    let commit = repository.commit_object(id).or_exit(Exit::Failed)?;
    let mut origin = Origin {
        claimed: None,
        account: None,
        on_branch: false,
        faults: Vec::new(),
        commit,
    };
    match trailers(&origin.commit.message) {
        Ok(Some(claimed)) => origin.follow(repository, &claimed)?,
        Ok(None) => origin.faults.push(format!(
            "no task of Loki's made it: it was made by `{}`",
            origin.commit.author
        )),
        Err(cause) => origin.faults.push(cause.to_string()),
    }
    Ok(origin)
}

impl Origin {
    fn follow(&mut self, repository: &Repository, claimed: &Trailers) -> Result<(), Fault> {
        self.claimed = Some(claimed.clone());
        if let Some(head) = repository.run_head(&claimed.run).or_exit(Exit::Failed)? {
            self.on_branch = repository
                .is_on(&head, &self.commit.id)
                .or_exit(Exit::Failed)?;
        }
        // A journal that came with the code would be a stranger's.
        repository.refuse_tracked_state().or_exit(Exit::Usage)?;
        let path = journal::path(&repository.root().join(".loki"), &claimed.run);
        if !path.exists() {
            self.faults.push(format!(
                "its trailers name run `{}`, of which there is no journal here: nothing they say is borne out",
                claimed.run
            ));
            return Ok(());
        }
        match journal::read(&path) {
            Ok(records) => {
                let account = Account::of(Told {
                    records: &records,
                    commit: self.commit.id.as_str(),
                    claimed,
                });
                self.faults.extend(account.faults.iter().cloned());
                self.account = Some(account);
            }
            Err(cause) => self.faults.push(format!(
                "the journal of run `{}` is not what was written: {}",
                claimed.run,
                crate::diagnostic::explained(&cause)
            )),
        }
        Ok(())
    }

    /// 0 only where the journal bears everything out.
    pub(super) fn exit(&self) -> Exit {
        match self.faults.is_empty() {
            true => Exit::Done,
            false => Exit::Failed,
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "schema": 1,
            "commit": self.commit.id.as_str(),
            "author": self.commit.author,
            "parents": self.commit.parents,
            "sound": self.faults.is_empty(),
            "faults": self.faults,
            "on_run_branch": self.on_branch,
            "claimed": self.claimed,
            "account": self.account,
        })
    }

    pub(super) fn print(&self) {
        let title = self.commit.message.lines().next().unwrap_or_default();
        ui::data(format!(
            "commit   {} {}",
            self.commit.id,
            ui::visible(title)
        ));
        ui::data(format!("author   {}", self.commit.author));
        let known = self
            .account
            .as_ref()
            .filter(|account| account.kind.is_some());
        if let Some(account) = known {
            told(account);
            ui::data(match self.on_branch {
                true => "branch   the run's branch holds it",
                false => "branch   the run's branch does not hold it",
            });
        }
        for fault in &self.faults {
            ui::warning(ui::visible(fault));
        }
    }
}

fn told(account: &Account) {
    let say = |name: &str, text: &str| ui::data(format!("{name:8} {}", ui::visible(text)));
    let run = account.run.as_ref().map_or("-", |run| run.as_str());
    say("run", run);
    say(
        "asked",
        &format!(
            "{} ({}, sha256 {})",
            account.title, account.spec, account.spec_sha256
        ),
    );
    let made = match account.kind {
        Some(Kind::Work) => "an agent's work",
        Some(Kind::Merge) => "what a task's work became on the run's branch",
        Some(Kind::Revert) => "a person took the task back",
        None => "unknown",
    };
    say("made as", made);
    if let Some(task) = &account.task {
        say(
            "task",
            &format!("{} ({}): {}", task.id, task.role, task.title),
        );
    }
    if let Some(attempt) = &account.attempt {
        tried(attempt, &say);
    }
    for review in &account.reviews {
        let word = if review.passed { "passed" } else { "BLOCKED" };
        let findings = ui::counted(review.findings.len(), "finding");
        say(
            "review",
            &format!("{word} by {} with {findings}", review.role),
        );
    }
    let ends = [
        ("landed", &account.landed),
        ("reverted", &account.reverted),
        ("shipped", &account.shipped),
    ];
    for (name, value) in ends {
        if let Some(value) = value {
            let value = if name == "shipped" {
                value
            } else {
                short(value)
            };
            say(name, value);
        }
    }
}

fn tried(attempt: &Attempt, say: &dyn Fn(&str, &str)) {
    say("attempt", &attempt.number.to_string());
    if let Some(gate) = &attempt.gate {
        let breaches = gate
            .breaches
            .iter()
            .map(|one| format!("{} ({})", one.path, one.rule));
        let breaches: Vec<String> = breaches.collect();
        let word = match breaches.is_empty() {
            true => "passed".to_owned(),
            false => format!("{} {}", work::verdict(&gate.breaches), breaches.join(", ")),
        };
        let files = ui::counted(gate.files, "changed file");
        say("gate", &format!("{word}, {files}"));
    }
    for one in &attempt.installs {
        let key = short(&one.key.to_string()).to_owned();
        say("installed", &format!("{} as {key}", one.lock));
    }
    for check in &attempt.checks {
        let word = if check.passed { "passed" } else { "FAILED" };
        let tests = check
            .tests
            .map_or_else(String::new, |tests| format!(" ({tests} tests)"));
        say("check", &format!("{word}{tests}: {}", check.command));
    }
    say(
        "egress",
        &format!(
            "{} allowed, {} denied",
            attempt.egress_allowed, attempt.egress_denied
        ),
    );
    for approval in &attempt.approvals {
        let kind = approval["type"].as_str().unwrap_or("approval");
        let by = approval["by"]
            .as_str()
            .map_or_else(String::new, |by| format!(" by {by}"));
        say("approval", &format!("{kind}{by}"));
    }
}
