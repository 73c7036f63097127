//! One session of one agent: a task, or several small ones.
//!
//! Several land as one commit or not at all. If one of their checks fails, the task whose check it is
//! has failed; the others are taken apart from it, and that counts as no attempt. Either way each is
//! done alone from then on, for the queue joins only what was never tried.

use std::{fmt::Write as _, sync::Arc};

use super::{
    attempt::{Claim, Finished, attempt},
    failure::Failure,
    recorder::Recorder,
    work::Work,
};
use crate::task::Task;

/// The longest list of names in a title, in bytes.
const NAMES: usize = 120;

/// Makes one attempt at each task, together, and returns how each ended, in their order.
pub(super) async fn session(
    work: &Arc<Work>,
    recorder: &Recorder,
    claims: &[Claim],
) -> Vec<Result<Finished, Failure>> {
    let Some(joined) = joined(claims) else {
        return Vec::new();
    };
    let outcome = attempt(work, recorder, &joined).await;
    if joined.mates.is_empty() {
        return vec![outcome];
    }
    claims.iter().map(|claim| apart(claim, &outcome)).collect()
}

/// Makes one claim of several: the first leads. None of none.
fn joined(claims: &[Claim]) -> Option<Claim> {
    let (lead, rest) = claims.split_first()?;
    if rest.is_empty() {
        return Some(lead.clone());
    }
    let mates = rest.iter().map(|one| (one.task.id.clone(), one.attempt));
    let mut joined = Claim {
        mates: mates.collect(),
        ..lead.clone()
    };
    let tasks: Vec<&Task> = claims.iter().map(|claim| &claim.task).collect();
    joined.task.title = title(&joined.names());
    joined.task.description = description(&tasks);
    joined.task.accept = every(&tasks, |task| &task.accept);
    joined.task.files = every(&tasks, |task| &task.files);
    Some(joined)
}

fn title(names: &[String]) -> String {
    let mut list = String::new();
    for name in names {
        if list.len() + name.len() > NAMES {
            list.push_str(", …");
            break;
        }
        let comma = if list.is_empty() { "" } else { ", " };
        write!(list, "{comma}{name}").expect("a string takes all text");
    }
    format!("Do {} small tasks: {list}", names.len())
}

fn description(tasks: &[&Task]) -> String {
    let mut text = "All of these are to be done, each as if it were alone.\n".to_owned();
    for task in tasks {
        let (id, title, more) = (&task.id, &task.title, &task.description);
        let checks = task.accept.join("\n");
        write!(
            text,
            "\nTask `{id}`: {title}\n{more}\nIts own checks:\n{checks}\n"
        )
        .expect("a string takes all text");
    }
    text
}

/// Returns what any of the tasks lists, each once.
fn every(tasks: &[&Task], list: impl Fn(&Task) -> &Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for one in tasks.iter().flat_map(|task| list(task)) {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    all
}

/// Says what became of one of several tasks that were done together.
fn apart(claim: &Claim, outcome: &Result<Finished, Failure>) -> Result<Finished, Failure> {
    match outcome {
        Ok(Finished::Conflicted(files)) => Ok(Finished::Apart(format!(
            "what was done together conflicts with what landed meanwhile in: {}",
            files.join(", ")
        ))),
        Ok(finished) => Ok(finished.clone()),
        // Alone it would fare no better.
        Err(failure) if !failure.retry || failure.pause.is_some() || failure.lacks.is_some() => {
            Err(failure.clone())
        }
        Err(failure) => {
            let own = |check: &String| claim.task.accept.contains(check);
            if failure.check.as_ref().is_some_and(own) {
                return Err(failure.clone());
            }
            let why = failure.reason.lines().next().unwrap_or_default();
            let why = why.trim_end_matches(':');
            Ok(Finished::Apart(format!(
                "the tasks that were done together are done one by one: {why}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::failure::Pause;

    fn claim(name: &str) -> Claim {
        Claim {
            task: Task {
                id: name.parse().unwrap(),
                role: "eng-web".parse().unwrap(),
                title: format!("fix {name}"),
                description: String::new(),
                depends_on: Vec::new(),
                accept: vec!["make test".to_owned(), format!("test -f {name}")],
                files: vec!["page.html".to_owned()],
                priority: crate::task::Priority::default(),
            },
            attempt: 1,
            tries: 1,
            evidence: Vec::new(),
            approved: Arc::default(),
            mates: Vec::new(),
        }
    }

    #[test]
    fn a_joined_claim_asks_for_everything_once_and_the_first_leads() {
        let joined = joined(&[claim("a"), claim("b")]).unwrap();
        assert_eq!(joined.names(), ["a", "b"]);
        assert_eq!(joined.task.title, "Do 2 small tasks: a, b");
        assert_eq!(joined.task.accept, ["make test", "test -f a", "test -f b"]);
        assert_eq!(joined.task.files, ["page.html"]);
        for said in ["Task `a`: fix a", "Task `b`: fix b", "test -f b"] {
            assert!(joined.task.description.contains(said), "{said}");
        }
        let long: Vec<String> = (0..10).map(|n| format!("{n}{}", "x".repeat(50))).collect();
        assert!(title(&long).len() < 160);
    }

    #[test]
    fn only_the_task_whose_check_failed_has_failed() {
        let failed = |check: Option<&str>| Failure {
            check: check.map(str::to_owned),
            ..Failure::retry("red".to_owned())
        };
        let of = |name: &str, failure: &Failure| apart(&claim(name), &Err(failure.clone()));
        let own = failed(Some("test -f a"));
        assert_eq!(of("a", &own), Err(own.clone()));
        assert!(matches!(of("b", &own), Ok(Finished::Apart(_))));
        let nobodys = failed(Some("cargo test"));
        assert!(matches!(of("a", &nobodys), Ok(Finished::Apart(_))));
        assert!(matches!(of("a", &failed(None)), Ok(Finished::Apart(_))));
        let common = failed(Some("make test"));
        assert!(of("a", &common).is_err() && of("b", &common).is_err());
    }

    #[test]
    fn what_no_task_can_help_befalls_all_of_them() {
        let busy = Failure {
            pause: Some(Pause::AtLeast(Duration::from_secs(1))),
            ..Failure::retry("busy".to_owned())
        };
        let hopeless = Failure::fatal("the key is refused".to_owned());
        for failure in [busy, hopeless] {
            assert_eq!(apart(&claim("b"), &Err(failure.clone())), Err(failure));
        }
        let conflict = Ok(Finished::Conflicted(vec!["page.html".to_owned()]));
        assert!(matches!(
            apart(&claim("a"), &conflict),
            Ok(Finished::Apart(_))
        ));
        assert_eq!(
            apart(&claim("b"), &Ok(Finished::Done(None))),
            Ok(Finished::Done(None))
        );
    }
}
