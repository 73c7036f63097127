//! Budgets, the ledger and estimates, on events made by hand.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    diagnostic::Diagnostic,
    digest::Digest,
    event::{Event, Outcome, Priced, Record, SpentSoFar},
    name::TaskId,
    task::{Priority, Task},
};

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn role(text: &str) -> Role {
    text.parse().unwrap()
}

fn task(name: &str, by: &str, depends_on: &[&str]) -> Task {
    Task {
        id: id(name),
        role: role(by),
        title: format!("make {name}"),
        description: String::new(),
        depends_on: depends_on.iter().map(|name| id(name)).collect(),
        accept: Vec::new(),
        files: Vec::new(),
        priority: Priority::default(),
    }
}

fn started() -> Event {
    Event::RunStarted {
        run: "20261121-073300-1f3a".parse().unwrap(),
        loki: String::new(),
        spec: String::new(),
        spec_sha256: String::new(),
        title: String::new(),
        provider: "claude".to_owned(),
        base: String::new(),
        branch: String::new(),
        engine: String::new(),
        policy_sha256: String::new(),
        asked: None,
    }
}

/// A ledger and a clock, fed with events of a task `NAME` by role `NAME`'s first word.
struct Book {
    ledger: Ledger,
    now: Timestamp,
}

impl Book {
    fn new(budgets: Budgets) -> Self {
        let mut book = Self {
            ledger: Ledger::default(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        book.tell(started());
        book.tell(Event::BudgetSet(budgets));
        book
    }

    fn tell(&mut self, event: Event) {
        let record = Record {
            seq: 1,
            ts: self.now,
            prev: Digest::default(),
            event,
            hash: Digest::default(),
        };
        let (qa, backend) = (role("eng-qa"), role("eng-backend"));
        self.ledger.apply(&record, |task| {
            Some(if task.as_str().starts_with("qa") {
                &qa
            } else {
                &backend
            })
        });
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn claim(&mut self, name: &str, attempt: u32) {
        self.tell(Event::TaskClaimed {
            task: id(name),
            version: 1,
            attempt,
        });
    }

    fn end(&mut self, name: &str) {
        self.tell(Event::AgentEnded {
            task: id(name),
            attempt: 1,
            code: 0,
            elapsed_ms: 1,
            reason: None,
        });
    }

    fn spend(&mut self, name: &str, (tokens, cost_micros, priced): (u64, u64, Priced)) {
        self.tell(Event::AgentSpent {
            task: id(name),
            attempt: 1,
            model: "m".to_owned(),
            turns: 1,
            input: tokens,
            cache_written: 0,
            cache_read: 0,
            output: 0,
            cost_micros,
            priced,
        });
    }

    fn so_far(&mut self, name: &str, tokens: u64, cost_micros: u64) {
        self.working(name, (tokens, cost_micros, Priced::Listed));
    }

    fn working(&mut self, name: &str, (tokens, cost_micros, priced): (u64, u64, Priced)) {
        self.tell(Event::AgentSpending(SpentSoFar {
            task: id(name),
            attempt: 1,
            model: "m".to_owned(),
            input: tokens,
            cache_written: 0,
            cache_read: 0,
            output: 0,
            cost_micros,
            priced,
        }));
    }

    /// Tells that a million tokens of the model cost so many dollars.
    fn price(&mut self, dollars: u64) {
        let input = dollars * 1_000_000;
        self.tell(Event::ModelPriced {
            model: "m".to_owned(),
            price: Price {
                input,
                ..Price::default()
            },
        });
    }

    /// Tells every line that is crossed, as the driver does, and returns them in words.
    fn crossed(&mut self) -> Vec<String> {
        let crossed = self.ledger.crossed(Duration::ZERO);
        for one in &crossed {
            self.tell(Event::BudgetPassed(one.clone()));
        }
        crossed.iter().map(Passed::told).collect()
    }
}

fn of_run(text: &str) -> Budgets {
    Budgets::of_files(
        Budget::default(),
        &[config(&format!("version: 1\nrun: {text}\n"))],
    )
}

fn config(text: &str) -> Config {
    read(Path::new("budget.yaml"), text).unwrap()
}

#[test]
fn the_smaller_wins_between_files_and_the_more_specific_entry_within_one() {
    let mine = config(
        "version: 1\nrun: { money: 5USD, time: 2h }\nroles:\n  default: { money: 1USD, iterations: 9 }\n  \
         eng-*: { money: 2USD }\n  eng-qa: { tokens: 1M }\n",
    );
    let ours = config("version: 1\nrun: { money: 3USD }\nroles: { default: { iterations: 4 } }\n");
    let mut given = Budget::default();
    given.set(Measure::Time, Some(60_000));
    let budgets = Budgets::of_files(given, &[mine, ours]);
    assert_eq!(budgets.run.written(), "3 USD, 1m");
    assert_eq!(
        budgets.of(&role("eng-qa")).written(),
        "2 USD, 1,000,000 tokens, 4 agent sessions"
    );
    assert_eq!(
        budgets.of(&role("prod-pm")).written(),
        "1 USD, 4 agent sessions"
    );
    assert_eq!(budgets.told(), Some(Measure::Money));
    assert!(Budgets::of_files(Budget::default(), &[config("version: 1\n")]).is_empty());
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place_and_what_would_have_been_right() {
    let text = "version: 1\nrun: { mony: 5USD, money: 5EUR, tokens: [1] }\nroles:\n  Eng: { time: 1h }\n  \
                \"*\": { time: 1h }\n  eng-qa: { time: 0s }\nlimits: { money: 1USD }\n\
                prices: { m: { in: 1USD, input: x } }\nrun: { time: 1h }\n";
    let faults = read(Path::new("budget.yaml"), text).unwrap_err();
    let told: Vec<String> = faults.iter().map(Diagnostic::render).collect();
    insta::assert_snapshot!(told.join("\n\n"));
    for empty in [
        "",
        "run: { money: 5USD }\n",
        "version: 2\n",
        "5USD\n",
        "version: 1\nrun: 5USD\n",
    ] {
        assert!(read(Path::new("budget.yaml"), empty).is_err(), "{empty:?}");
    }
}

#[test]
fn money_and_tokens_are_warned_of_once_and_then_reached() {
    let mut book = Book::new(of_run("{ money: 1USD, tokens: 1000 }"));
    book.claim("api", 1);
    book.spend("api", (100, 799_999, Priced::Told));
    assert_eq!(book.crossed(), Vec::<String>::new());
    book.claim("api", 2);
    book.spend("api", (0, 1, Priced::Told));
    assert_eq!(
        book.crossed(),
        ["the run's budget of money is nearly used up: 0.80 USD of 1 USD"]
    );
    assert_eq!(book.crossed(), Vec::<String>::new());
    assert_eq!(book.ledger.barred(&role("eng-qa")), None);
    book.claim("api", 3);
    book.spend("api", (900, 500_000, Priced::Told));
    assert_eq!(
        book.crossed(),
        [
            "the run's budget of money is used up: 1.30 USD of 1 USD",
            "the run's budget of tokens is used up: 1,000 tokens of 1,000 tokens",
        ]
    );
    assert_eq!(book.crossed(), Vec::<String>::new());
    let barred = book.ledger.barred(&role("eng-qa")).unwrap();
    assert_eq!(barred.measure, Measure::Money);
}

#[test]
fn a_role_at_its_budget_is_barred_alone() {
    let budgets = Budgets::of_files(
        Budget::default(),
        &[config(
            "version: 1\nroles: { eng-qa: { iterations: 2 }, eng-backend: { time: 10s } }\n",
        )],
    );
    let mut book = Book::new(budgets);
    book.claim("qa-1", 1);
    book.claim("qa-2", 1);
    assert_eq!(
        book.crossed(),
        [
            "the budget of role `eng-qa` of iterations is used up: 2 agent sessions of 2 agent sessions"
        ]
    );
    assert!(book.ledger.barred(&role("eng-qa")).is_some());
    assert_eq!(book.ledger.barred(&role("eng-backend")), None);
    // Two of its agents use its time twice as fast.
    book.claim("api", 1);
    book.claim("web", 1);
    assert_eq!(book.ledger.next_line(), Some(Duration::from_millis(4_001)));
    book.after(3).end("web");
    assert_eq!(book.ledger.next_line(), Some(Duration::from_millis(2_001)));
    book.after(4).end("api");
    assert_eq!(
        book.crossed(),
        ["the budget of role `eng-backend` of time is used up: 10s of 10s"]
    );
    assert_eq!(book.ledger.next_line(), None);
}

#[test]
fn time_counts_while_an_orchestrator_drives_the_run_and_at_no_other_time() {
    let mut book = Book::new(of_run("{ time: 100s }"));
    assert_eq!(book.ledger.next_line(), Some(Duration::from_millis(80_001)));
    book.claim("api", 1);
    book.after(50).end("api");
    book.after(10).tell(Event::RunEnded {
        outcome: Outcome::Stopped,
        reason: None,
    });
    assert_eq!(book.ledger.next_line(), None);
    let resumed = || Event::Resumed {
        loki: String::new(),
        engine: String::new(),
        spec_sha256: String::new(),
        policy_sha256: String::new(),
        torn: 0,
    };
    book.after(5_000).tell(resumed());
    assert_eq!(book.ledger.run.of(Measure::Time), 60_000);
    book.claim("api", 2);
    book.after(15).tell(Event::SandboxEnded {
        sandbox: "s".to_owned(),
    });
    // Killed here: what passes until somebody resumes it is nobody's.
    book.after(5_000).tell(resumed());
    assert_eq!(book.ledger.run.of(Measure::Time), 75_000);
    assert_eq!(
        book.ledger.roles[&role("eng-backend")].of(Measure::Time),
        65_000
    );
    assert_eq!(book.ledger.crossed(Duration::from_secs(4)), []);
    assert_eq!(
        book.ledger.crossed(Duration::from_secs(5))[0].mark,
        Mark::Near
    );
    assert_eq!(
        book.ledger.crossed(Duration::from_secs(25))[0].mark,
        Mark::Reached
    );
}

#[test]
fn a_larger_budget_lets_go_on_and_charges_what_was_spent_before() {
    let mut book = Book::new(of_run("{ money: 1USD }"));
    book.claim("api", 1);
    book.spend("api", (10, 1_000_000, Priced::Told));
    book.crossed();
    assert!(book.ledger.barred(&role("eng-qa")).is_some());
    // The same again lets nothing begin and tells nothing twice.
    book.tell(Event::BudgetSet(of_run("{ money: 1USD }")));
    assert!(book.ledger.barred(&role("eng-qa")).is_some());
    assert_eq!(book.crossed(), Vec::<String>::new());
    book.tell(Event::BudgetSet(of_run("{ money: 3USD }")));
    assert_eq!(book.ledger.barred(&role("eng-qa")), None);
    assert_eq!(book.crossed(), Vec::<String>::new());
    book.claim("api", 2);
    book.spend("api", (10, 2_000_000, Priced::Told));
    assert_eq!(
        book.crossed(),
        ["the run's budget of money is used up: 3 USD of 3 USD"]
    );
}

#[test]
fn tasks_that_are_done_together_are_one_session_until_it_ends_however_that_is() {
    let text = "version: 1\nroles: { eng-backend: { iterations: 2, time: 10s } }\n";
    let mut book = Book::new(Budgets::of_files(Budget::default(), &[config(text)]));
    let names = ["a", "b", "c"];
    for name in names {
        book.claim(name, 1);
    }
    book.tell(Event::Batched {
        tasks: names.map(id).into(),
    });
    let spent = |book: &Book| book.ledger.roles[&role("eng-backend")];
    assert_eq!(
        (spent(&book).iterations, book.ledger.run.iterations),
        (1, 1)
    );
    assert_eq!(book.crossed(), Vec::<String>::new());
    // Its time is spent once, too.
    assert_eq!(book.ledger.next_line(), Some(Duration::from_millis(8_001)));
    assert!(book.ledger.works(&id("a")).is_some() && book.ledger.works(&id("b")).is_none());
    let until = book.now;
    book.after(3).tell(Event::TaskDeferred {
        task: id("a"),
        version: 1,
        attempt: 1,
        reason: "busy".to_owned(),
        until,
        provider_until: None,
    });
    book.after(60).claim("d", 1);
    assert_eq!(spent(&book).of(Measure::Time), 3_000);
    book.after(4).tell(Event::TaskCancelled {
        task: id("d"),
        by: "p".to_owned(),
        reason: None,
    });
    book.after(60);
    assert_eq!(book.ledger.next_line(), None);
    assert_eq!(spent(&book).of(Measure::Time), 7_000);
    let used_up: Vec<_> = book.ledger.used_up().collect();
    assert_eq!(used_up, []);
    let told = book.crossed();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("of iterations is used up"), "{told:?}");
    let used_up: Vec<_> = book.ledger.used_up().collect();
    assert_eq!(used_up, [Some(&role("eng-backend"))]);
}

#[test]
fn what_an_agent_said_so_far_is_charged_once_and_kept_when_it_is_cut_off() {
    let mut book = Book::new(of_run("{ tokens: 1000 }"));
    book.claim("api", 1);
    book.so_far("api", 100, 10);
    book.so_far("api", 300, 30);
    assert_eq!(book.ledger.run.of(Measure::Tokens), 300);
    book.end("api");
    book.spend("api", (500, 70, Priced::Told));
    let spent = book.ledger.roles[&role("eng-backend")];
    assert_eq!(
        (spent.of(Measure::Tokens), spent.of(Measure::Money)),
        (500, 70)
    );
    book.claim("api", 2);
    book.so_far("api", 200, 20);
    // It was killed and is made again: both are charged.
    book.claim("api", 3);
    book.so_far("api", 250, 25);
    assert_eq!(book.ledger.run.of(Measure::Tokens), 950);
    // What is said to be less than before is not given back.
    book.so_far("api", 1, 0);
    assert_eq!(book.ledger.run.of(Measure::Tokens), 950);
}

#[test]
fn attack_money_that_nobody_knows_is_not_taken_for_none() {
    let mut book = Book::new(of_run("{ money: 5USD }"));
    book.claim("api", 1);
    book.spend("api", (10, 0, Priced::Unknown));
    let crossed = book.ledger.crossed(Duration::ZERO);
    assert_eq!(crossed[0].mark, Mark::Unknown);
    assert!(
        crossed[0].told().contains("whose price is not known"),
        "{}",
        crossed[0].told()
    );
    book.crossed();
    assert!(book.ledger.barred(&role("eng-qa")).is_some());
    // While it works it may yet say so; once it is cut off nobody will.
    let mut cut = Book::new(of_run("{ money: 5USD }"));
    cut.claim("api", 1);
    cut.working("api", (10, 0, Priced::Unknown));
    assert_eq!(cut.ledger.crossed(Duration::ZERO), []);
    cut.tell(Event::RunEnded {
        outcome: Outcome::Stopped,
        reason: None,
    });
    assert_eq!(cut.ledger.crossed(Duration::ZERO)[0].mark, Mark::Unknown);
}

#[test]
fn a_price_that_comes_later_charges_what_had_none_and_lets_the_run_go_on() {
    let text = "version: 1\nrun: { money: 5USD }\nroles: { eng-backend: { money: 2USD } }\n";
    let mut book = Book::new(Budgets::of_files(Budget::default(), &[config(text)]));
    book.claim("api", 1);
    book.spend("api", (1_000_000, 0, Priced::Unknown));
    book.claim("qa-1", 1);
    book.working("qa-1", (500_000, 0, Priced::Unknown));
    assert_eq!(book.crossed().len(), 2);
    assert_eq!(book.ledger.unpriced(), ["m"].into());
    let backend = role("eng-backend");
    assert!(book.ledger.barred(&role("eng-qa")).is_some());

    book.price(1);
    assert_eq!(book.ledger.unpriced(), ["m"].into(), "one may yet say so");
    assert_eq!(book.ledger.barred(&backend), None);
    assert_eq!(book.ledger.run.unpriced_tokens, 0);
    assert_eq!(book.ledger.run.of(Measure::Money), 1_000_000);
    // What is cut off only now has a price, too.
    book.tell(Event::Interrupted {
        task: id("qa-1"),
        version: 1,
        attempt: 1,
        reason: "killed".to_owned(),
        outside: Vec::new(),
        by: None,
    });
    assert_eq!(book.ledger.run.of(Measure::Money), 1_500_000);
    assert_eq!(book.ledger.run.of(Measure::Tokens), 1_500_000);
    assert_eq!(
        book.ledger.roles[&role("eng-qa")].of(Measure::Money),
        500_000
    );
    assert_eq!(book.crossed(), Vec::<String>::new());
    assert!(book.ledger.unpriced().is_empty());

    // Dear enough, it is reached as any.
    let mut dear = Book::new(of_run("{ money: 5USD }"));
    dear.claim("api", 1);
    dear.spend("api", (1_000_000, 0, Priced::Unknown));
    dear.crossed();
    dear.price(7);
    assert_eq!(
        dear.crossed(),
        ["the run's budget of money is used up: 7 USD of 5 USD"]
    );
}

#[test]
fn attack_what_no_session_can_have_used_is_not_believed_and_a_larger_budget_goes_on() {
    let lie = (u64::MAX, u64::MAX, Priced::Told);
    let mut book = Book::new(of_run("{ money: 5USD, tokens: 10 }"));
    for attempt in 1..=3 {
        book.claim("api", attempt);
        book.working("api", lie);
        book.spend("api", lie);
    }
    assert_eq!(book.crossed().len(), 2);
    assert_eq!(
        book.ledger.run.of(Measure::Money),
        3 * crate::event::Told::MOST_MICROS
    );
    assert!(book.ledger.barred(&role("eng-qa")).is_some());
    book.tell(Event::BudgetSet(of_run(
        "{ money: 1000000USD, tokens: 100000G }",
    )));
    assert_eq!(book.crossed(), Vec::<String>::new());
    assert_eq!(book.ledger.barred(&role("eng-qa")), None);
    // Without a price it costs no more than with one.
    let mut unknown = Book::new(of_run("{ money: 5USD }"));
    unknown.claim("api", 1);
    unknown.spend("api", (u64::MAX, 0, Priced::Unknown));
    unknown.price(1_000_000);
    let most = crate::event::Told::MOST_MICROS;
    assert_eq!(unknown.ledger.run.of(Measure::Money), most);
}

#[test]
fn waves_follow_the_dependencies_and_an_estimate_says_where_it_is_from() {
    let plan = [
        task("store", "eng-backend", &[]),
        task("page", "eng-frontend", &[]),
        task("api", "eng-backend", &["store"]),
        task("test", "eng-qa", &["api", "page"]),
    ];
    let names: Vec<Vec<&str>> = waves(&plan)
        .iter()
        .map(|wave| wave.iter().map(|task| task.id.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["store", "page"], vec!["api"], vec!["test"]]);
    let guess = estimate(&plan, 10, (&History::default(), Telling::Told));
    assert_eq!(guess.sessions, Range { low: 4, high: 8 });
    // Three one after the other, two minutes each.
    assert_eq!(guess.time_ms.low, 3 * 2 * 60_000);
    assert!(guess.roles[0].because.contains("a guess of ours"));
    let alone = estimate(&plan, 1, (&History::default(), Telling::Silent));
    assert_eq!(alone.time_ms.low, 4 * 2 * 60_000);
    assert_eq!((alone.tokens, alone.money_micros), (None, None));
    let replay = estimate(&plan, 1, (&History::default(), Telling::Nothing));
    assert_eq!(replay.money_micros, Some(Range::default()));
}

#[test]
fn an_estimate_learns_from_earlier_runs_of_the_same_provider() {
    let mut events = Vec::new();
    let mut tell = |event| events.push(event);
    let plan = vec![task("api", "eng-backend", &[])];
    tell(started());
    tell(Event::Planned {
        tasks: plan.clone(),
    });
    tell(Event::AgentEnded {
        task: id("api"),
        attempt: 1,
        code: 0,
        elapsed_ms: 7_000,
        reason: None,
    });
    tell(Event::AgentSpent {
        task: id("api"),
        attempt: 1,
        model: String::new(),
        turns: 1,
        input: 5,
        cache_written: 5,
        cache_read: 5,
        output: 5,
        cost_micros: 9,
        priced: Priced::Told,
    });
    tell(Event::TaskDone {
        task: id("api"),
        version: 1,
        attempt: 1,
        commit: None,
    });
    let book = Record::row(events);
    let mut history = History::default();
    history.learn(&book, "codex");
    assert_eq!(history.runs, 0);
    history.learn(&book, "claude");
    let found = estimate(&plan, 1, (&history, Telling::Told));
    let one = |number| {
        Some(Range {
            low: number,
            high: number,
        })
    };
    assert_eq!((found.tokens, found.money_micros), (one(20), one(9)));
    assert_eq!(Some(found.time_ms), one(7_000));
    assert_eq!(
        found.roles[0].because,
        "1 earlier session of it in 1 run here"
    );
    assert_eq!(
        (
            found.roles[0].of(Measure::Time),
            found.of(Measure::Iterations)
        ),
        (one(7_000), one(1))
    );
}

#[test]
fn attack_numbers_that_a_program_made_up_do_not_break_an_estimate() {
    let mut events = vec![started()];
    let plan = vec![task("api", "eng-backend", &[])];
    events.push(Event::Planned {
        tasks: plan.clone(),
    });
    events.push(Event::AgentSpent {
        task: id("api"),
        attempt: 1,
        model: String::new(),
        turns: u64::MAX,
        input: u64::MAX,
        cache_written: u64::MAX,
        cache_read: 1,
        output: 7,
        cost_micros: u64::MAX,
        priced: Priced::Told,
    });
    let mut history = History::default();
    history.learn(&Record::row(events), "claude");
    let found = estimate(&plan, 1, (&history, Telling::Told));
    let tokens = found.tokens.unwrap();
    assert!(tokens.low > 1_000_000_000_000 && tokens.high < u64::MAX / 2);
}
