//! A report as a page for people.

use std::fmt::Write as _;

use super::{
    goals::{Form, Reach},
    row::{Report, Row, Spread},
};

/// Writes the whole page. `plots` says whether plots lie beside it.
pub(crate) fn page(report: &Report) -> String {
    let mut page = String::from("# What Loki costs\n\n");
    let machine = &report.machine;
    for (name, value) in machine.as_object().into_iter().flatten() {
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        writeln!(page, "- {name}: {value}").expect("a string takes it");
    }
    let (effort, seconds) = (&report.effort, report.seconds);
    writeln!(page, "- effort: {effort}, {seconds} s in all").expect("a string takes it");
    page += "\nMedians, with what 95 of 100 rounds were at least as good as in brackets; both sides \
             in one run, by turns. benches/README.md says how each is measured.\n";
    for group in groups(report) {
        let rows = report.rows.iter().filter(|row| row.group() == group);
        page += &section(group, &rows.collect::<Vec<_>>());
    }
    page += &sums(report);
    page
}

/// The groups, in order.
pub(crate) fn groups(report: &Report) -> Vec<&str> {
    let mut all: Vec<&str> = report.rows.iter().map(Row::group).collect();
    all.dedup();
    all
}

fn section(group: &str, rows: &[&Row]) -> String {
    let mut text = format!(
        "\n## {group}\n\n| what | Loki | the other side | rounds | got | reach | |\n|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        text += &line(row);
    }
    for row in rows {
        text += &remarks(row);
    }
    text
}

fn line(row: &Row) -> String {
    let measured = row.measured.as_ref();
    let ours = measured.map_or("–".to_owned(), |one| spread(one.loki, &row.unit));
    let other = measured.and_then(|one| one.other.as_ref());
    let other = other.map_or("–".to_owned(), |other| {
        format!("{}: {}", other.name, spread(other.took, &row.unit))
    });
    let rounds = measured.map_or(String::new(), |one| one.loki.rounds.to_string());
    let tail = row
        .got_p95
        .filter(|_| row.form != Form::Itself)
        .map_or(String::new(), |p95| format!(" ({p95})"));
    let got = row.got.map_or("–".to_owned(), |got| format!("{got}{tail}"));
    let reach = match row.reach {
        Reach::AtMost(goal) => format!("≤ {goal}"),
        Reach::AtLeast(goal) => format!("≥ {goal}"),
        Reach::Less | Reach::More => "–".to_owned(),
    };
    let reached = match (row.reached, row.got) {
        (Some(true), _) => "reached",
        (Some(false), _) => "**not reached**",
        (None, None) => "**missing**",
        (None, Some(_)) => "",
    };
    let what = &row.what;
    format!("| {what} | {ours} | {other} | {rounds} | {got} | {reach} | {reached} |\n")
}

fn spread(spread: Spread, unit: &str) -> String {
    let tail = spread.p95.map_or(String::new(), |p95| format!(" ({p95})"));
    let unit = if unit == "share" { "" } else { unit };
    format!("{}{tail} {unit}", spread.median)
        .trim_end()
        .to_owned()
}

/// Why a row is missing, and what is spent where one says so.
fn remarks(row: &Row) -> String {
    let mut text = String::new();
    if let Some(why) = &row.missing {
        write!(text, "\n- missing: {}: {why}\n", row.what).expect("a string takes it");
    }
    let Some(measured) = &row.measured else {
        return text;
    };
    if !measured.spent.is_empty() {
        let parts = measured.spent.iter();
        let parts = parts.map(|part| format!("{} {} {}", part.what, part.took, part.unit));
        let parts: Vec<String> = parts.collect();
        write!(text, "\n- {}: {}\n", row.what, parts.join("; ")).expect("a string takes it");
    }
    if let Some(note) = &measured.note {
        write!(text, "\n- {}: {note}\n", row.what).expect("a string takes it");
    }
    text
}

fn sums(report: &Report) -> String {
    let count = |which: &dyn Fn(&&Row) -> bool| report.rows.iter().filter(which).count();
    let reached = count(&|row| row.reached == Some(true));
    let goals = count(&|row| matches!(row.reach, Reach::AtMost(_) | Reach::AtLeast(_)));
    let missing = count(&|row| row.got.is_none());
    let mut text = format!("\n{reached} of {goals} goals reached; {missing} rows missing.\n");
    for row in report.rows.iter().filter(|row| row.reached == Some(false)) {
        let got = row.got.unwrap_or_default();
        writeln!(text, "- not reached: `{}`: {got}: {}", row.id, row.what)
            .expect("a string takes it");
    }
    text
}
