//! The gate of `make bench-gate`, held without measuring anything: what is worse, or missing, fails
//! by name.

#[path = "../../benches/numbers/sheet/mod.rs"]
#[expect(dead_code, reason = "the benchmark uses more of it than its test does")]
mod sheet;

use std::collections::BTreeMap;

use sheet::{
    gate::{Baseline, Held, compare},
    goals::{GOALS, Goal},
    row::{Better, Measured, Other, Report, Row, Spread},
    table,
};

use super::harness::source::read;

/// A row of the report that is better small, and one that is better large.
const LESS: &str = "launch/docker-cold-of-run";
const MORE: &str = "checkpoint/full";

fn took(median: f64) -> Spread {
    Spread {
        median,
        p95: Some(median * 2.0),
        rounds: 7,
    }
}

fn measured(id: &str, ours: f64, theirs: f64) -> Measured {
    Measured {
        id: id.to_owned(),
        loki: took(ours),
        other: Some(Other {
            name: "the other".to_owned(),
            took: took(theirs),
        }),
        spent: Vec::new(),
        note: None,
    }
}

/// A report of these two rows, all others missing.
fn report(less: f64, more: f64) -> Report {
    let measured = vec![measured(LESS, less, 100.0), measured(MORE, 1.0, more)];
    Report {
        schema: 1,
        effort: "none".to_owned(),
        seconds: 0,
        machine: serde_json::Value::Null,
        rows: Report::rows(measured, &|goal: &Goal| {
            format!("`{}` was not asked for", goal.id)
        }),
    }
}

fn baseline() -> Baseline {
    Baseline::of(
        &report(70.0, 1.2),
        &Baseline::default(),
        "a test".to_owned(),
    )
}

fn row<'a>(report: &'a Report, id: &str) -> &'a Row {
    report.rows.iter().find(|row| row.id == id).unwrap()
}

#[test]
fn an_equal_report_passes_and_so_does_one_a_little_worse() {
    let baseline = baseline();
    assert_eq!(baseline.rows.keys().collect::<Vec<_>>(), [MORE, LESS]);
    for report in [report(70.0, 1.2), report(100.0, 0.9), report(10.0, 9.0)] {
        assert_eq!(compare(&report, &baseline), Vec::<String>::new());
    }
}

#[test]
fn a_worse_report_fails_and_the_row_is_named() {
    for (report, id) in [(report(150.0, 1.2), LESS), (report(70.0, 0.5), MORE)] {
        let faults = compare(&report, &baseline());
        let [fault] = &faults[..] else {
            panic!("one row is worse: {faults:?}");
        };
        assert!(fault.starts_with(&format!("`{id}`: ")), "{fault}");
        assert!(fault.contains(&row(&report, id).what), "{fault}");
    }
}

#[test]
fn a_width_of_its_own_makes_a_row_narrow() {
    let mut baseline = baseline();
    baseline.rows.get_mut(LESS).unwrap().within = 1.1;
    assert_eq!(compare(&report(76.0, 1.2), &baseline), Vec::<String>::new());
    assert_eq!(compare(&report(78.0, 1.2), &baseline).len(), 1);
}

#[test]
fn a_row_that_was_not_measured_fails_with_its_reason() {
    let mut report = report(70.0, 1.2);
    let at = report.rows.iter().position(|row| row.id == LESS).unwrap();
    let goal = GOALS.iter().find(|goal| goal.id == LESS).unwrap();
    report.rows[at] = Row::missing(goal, "no engine answers");
    assert_eq!(
        compare(&report, &baseline()),
        [format!("`{LESS}`: not measured: no engine answers")]
    );
    report.rows.remove(at);
    assert_eq!(
        compare(&report, &baseline()),
        [format!("`{LESS}`: the report lacks the row")]
    );
}

#[test]
fn a_number_that_is_none_passes_no_gate() {
    for theirs in [f64::NAN, 0.0] {
        let mut broken = report(70.0, 1.2);
        let at = broken.rows.iter().position(|row| row.id == LESS).unwrap();
        let goal = GOALS.iter().find(|goal| goal.id == LESS).unwrap();
        broken.rows[at] = Row::measured(goal, measured(LESS, 70.0, theirs));
        let faults = compare(&broken, &baseline());
        assert!(faults[0].starts_with(&format!("`{LESS}`: ")), "{faults:?}");
    }
}

#[test]
fn a_baseline_that_holds_nothing_real_is_refused() {
    let held = |id: &str, got, within| Baseline {
        of: "a test".to_owned(),
        rows: BTreeMap::from([(id.to_owned(), Held { got, within })]),
    };
    for baseline in [
        held("launch/no-such-row", 1.0, 2.0),
        held("claim/cold-first-byte", 100.0, 2.0),
        held(LESS, f64::INFINITY, 2.0),
        held(LESS, 0.0, 2.0),
        held(LESS, 1.0, 1.0),
        held(LESS, 1.0, f64::NAN),
    ] {
        assert_eq!(baseline.faults().len(), 1, "{baseline:?}");
    }
    let unknown = r#"{"of": "a test", "rows": {}, "tolerance": 9}"#;
    assert!(serde_json::from_str::<Baseline>(unknown).is_err());
}

#[test]
fn the_kept_baseline_can_be_held() {
    let baseline: Baseline = serde_json::from_str(&read("benches/baseline.json")).unwrap();
    assert_eq!(baseline.faults(), Vec::<String>::new());
    assert!(baseline.rows.len() >= 10, "{:?}", baseline.rows.keys());
}

#[test]
fn a_report_keeps_every_row_and_says_which_are_missing() {
    let report = report(90.0, 1.2);
    assert_eq!(report.rows.len(), GOALS.len());
    let cold = row(&report, LESS);
    assert_eq!((cold.got, cold.got_p95), (Some(0.9), Some(0.9)));
    assert_eq!(cold.reached, Some(false));
    assert_eq!(row(&report, MORE).reached, Some(true));
    let page = table::page(&report);
    for text in [
        "90 (180) ms | the other: 100 (200) ms | 7 | 0.9 (0.9) | ≤ 0.85 | **not reached**",
        "`idle/guest` was not asked for",
        "1 of ",
        "- not reached: `launch/docker-cold-of-run`: 0.9",
    ] {
        assert!(page.contains(text), "{text}\n{page}");
    }
}

#[test]
fn the_tail_of_a_spread_is_its_bad_end() {
    let all: Vec<f64> = (1..=100).map(f64::from).collect();
    let less = Spread::of(all.clone(), Better::of("ms")).unwrap();
    assert_eq!((less.median, less.p95), (51.0, Some(95.0)));
    let more = Spread::of(all, Better::of("MB/s")).unwrap();
    assert_eq!((more.median, more.p95), (50.0, Some(6.0)));
    assert_eq!(Spread::of(Vec::new(), Better::Less), None);
}

#[test]
fn every_row_has_a_name_of_its_own_and_is_explained() {
    let page = read("benches/README.md");
    for (at, goal) in GOALS.iter().enumerate() {
        assert!(
            GOALS[..at].iter().all(|other| other.id != goal.id),
            "`{}` stands twice",
            goal.id
        );
        assert!(
            page.contains(&format!("`{}`", goal.id)),
            "benches/README.md does not explain `{}`",
            goal.id
        );
    }
}
