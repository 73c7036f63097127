//! How many tests an output says were run. A test command that exits 0 without having run any test
//! proves nothing.
//!
//! Reads the closing lines of unittest, pytest, cargo test, nextest, go test, node --test, jest,
//! vitest and mocha; several in one output add up. Skipped tests did not run. It does not judge
//! whether they passed: the exit code does.

/// What one line adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many tests were run.
    Ran(u64),
    /// So many of those counted elsewhere were skipped.
    Skipped(u64),
}

/// Returns how many tests were run: none when no known test program closed its output, 0 when one
/// did and had nothing to run.
#[must_use]
pub(super) fn tests_run(output: &str) -> Option<u64> {
    let mut ran: Option<u64> = None;
    let mut skipped = 0_u64;
    for line in output.lines() {
        match read(plain(line).trim()) {
            Some(Line::Ran(n)) => ran = Some(ran.unwrap_or_default().saturating_add(n)),
            Some(Line::Skipped(n)) => skipped = skipped.saturating_add(n),
            None => {}
        }
    }
    if let Some(n) = go(output) {
        ran = Some(ran.unwrap_or_default().saturating_add(n));
    }
    ran.map(|n| n.saturating_sub(skipped))
}

/// Returns a line without colours.
fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(part.len(), |at| at + 1);
        text.push_str(part.get(end..).unwrap_or_default());
    }
    text
}

fn read(line: &str) -> Option<Line> {
    unittest(line)
        .or_else(|| pytest(line))
        .or_else(|| rust(line))
        .or_else(|| node(line))
        .or_else(|| jest(line))
        .or_else(|| mocha(line))
}

/// `Ran 3 tests in 0.1s`, then `OK (skipped=1)` or `FAILED (failures=1, skipped=1)`.
fn unittest(line: &str) -> Option<Line> {
    if let Some(rest) = line.strip_prefix("Ran ") {
        let (count, rest) = number(rest)?;
        return (rest.starts_with(" test in ") || rest.starts_with(" tests in "))
            .then_some(Line::Ran(count));
    }
    if line == "NO TESTS RAN" {
        return Some(Line::Ran(0));
    }
    let rest = line
        .strip_prefix("OK (")
        .or_else(|| line.strip_prefix("FAILED ("))
        .or_else(|| line.strip_prefix("NO TESTS RAN ("))?;
    let (_, after) = rest.split_once("skipped=")?;
    number(after).map(|(count, _)| Line::Skipped(count))
}

/// `=== 2 passed, 1 skipped in 0.1s ===`, `3 failed in 1s`, `no tests ran in 0.1s`.
fn pytest(line: &str) -> Option<Line> {
    let line = line.trim_matches(['=', ' ']);
    let (counts, time) = line.rsplit_once(" in ")?;
    if !time
        .split(['s', ' ', ':'])
        .next()?
        .parse::<f64>()
        .is_ok_and(f64::is_finite)
    {
        return None;
    }
    if counts == "no tests ran" {
        return Some(Line::Ran(0));
    }
    let known = ["passed", "failed", "error", "errors", "xfailed", "xpassed"];
    listed(
        counts,
        ", ",
        &known,
        &["skipped", "deselected", "warning", "warnings", "rerun"],
    )
    .map(Line::Ran)
}

/// `test result: ok. 3 passed; 0 failed; …`, `Summary [ 0.1s] 5 tests run: 5 passed, 0 skipped`.
fn rust(line: &str) -> Option<Line> {
    if let Some(rest) = line.strip_prefix("test result: ") {
        let (_, counts) = rest.split_once(". ")?;
        let counts = counts.split("; finished").next()?;
        return listed(
            counts,
            "; ",
            &["passed", "failed", "measured"],
            &["ignored", "filtered out"],
        )
        .map(Line::Ran);
    }
    let (_, counts) = line.strip_prefix("Summary [")?.split_once("] ")?;
    let (count, rest) = number(counts.trim_start())?;
    (rest.starts_with(" test run:") || rest.starts_with(" tests run:") || rest.starts_with('/'))
        .then_some(Line::Ran(count))
}

/// `# tests 3` and `# skipped 1`, with `ℹ` in place of `#` on a terminal.
fn node(line: &str) -> Option<Line> {
    let rest = line
        .strip_prefix("# ")
        .or_else(|| line.strip_prefix("ℹ "))?;
    let (word, count) = rest.split_once(' ')?;
    let count = count.parse().ok()?;
    match word {
        "tests" => Some(Line::Ran(count)),
        "skipped" | "todo" => Some(Line::Skipped(count)),
        _ => None,
    }
}

/// `Tests:  1 failed, 2 passed, 3 total` of jest, `Tests  1 failed | 2 passed (3)` of vitest.
fn jest(line: &str) -> Option<Line> {
    let rest = line.strip_prefix("Tests")?;
    let run = ["passed", "failed"];
    let not_run = ["skipped", "todo", "total", "pending"];
    if let Some(counts) = rest.strip_prefix(':') {
        return listed(counts.trim(), ", ", &run, &not_run).map(Line::Ran);
    }
    let (counts, total) = rest.rsplit_once(" (")?;
    number(total).filter(|(_, rest)| *rest == ")")?;
    listed(counts.trim(), " | ", &run, &not_run).map(Line::Ran)
}

/// `5 passing (10ms)`, `1 failing`; and what jest and vitest say when they find nothing.
fn mocha(line: &str) -> Option<Line> {
    if line.starts_with("No tests found, exiting")
        || line.starts_with("No test files found, exiting")
    {
        return Some(Line::Ran(0));
    }
    let (count, rest) = number(line)?;
    let is_passing = rest.starts_with(" passing (") && rest.ends_with(')');
    (is_passing || rest == " failing").then_some(Line::Ran(count))
}

/// Test by test, `--- PASS: TestX (0.00s)`; else package by package, `ok` and its columns: each had
/// one test at least.
fn go(output: &str) -> Option<u64> {
    let (mut tests, mut packages, mut seen) = (0_u64, 0_u64, false);
    for line in output.lines() {
        let outcome = line.strip_prefix("--- ");
        tests += u64::from(
            outcome.is_some_and(|rest| rest.starts_with("PASS: ") || rest.starts_with("FAIL: ")),
        );
        let skipped = outcome.is_some_and(|rest| rest.starts_with("SKIP: "));
        let mut columns = line.split('\t').map(str::trim);
        let (state, is_package) = (columns.next().unwrap_or_default(), line.contains('\t'));
        let empty = line.contains("[no test") || line.contains("failed]");
        let closes = is_package && matches!(state, "ok" | "FAIL" | "?");
        packages += u64::from(closes && !empty && state != "?");
        seen |= closes || skipped;
    }
    let verbose = output.lines().any(|line| line.starts_with("=== RUN "));
    seen.then_some(if verbose { tests } else { packages.max(tests) })
}

/// Splits a number off the front of a text.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text.get(..end)?.parse().ok()?, text.get(end..)?))
}

/// Sums the counts of a list such as `2 passed, 1 failed` whose words are in `run`; none when it
/// is no such list.
fn listed(text: &str, between: &str, run: &[&str], not_run: &[&str]) -> Option<u64> {
    let mut sum = 0_u64;
    for part in text.split(between) {
        let (count, word) = number(part)?;
        let word = word.trim();
        if run.contains(&word) {
            sum = sum.saturating_add(count);
        } else if !not_run.contains(&word) {
            return None;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, an output, and how many tests it says were run.
    const OUTPUTS: &[(&str, &str, Option<u64>)] = &[
        (
            "unittest",
            "..\n---\nRan 22 tests in 0.6s\n\nOK\n",
            Some(22),
        ),
        (
            "unittest one",
            "Ran 1 test in 0.000s\n\nFAILED (failures=1)\n",
            Some(1),
        ),
        ("unittest none", "\nRan 0 tests in 0.000s\n\nOK\n", Some(0)),
        (
            "unittest 3.12 none",
            "Ran 0 tests in 0.000s\n\nNO TESTS RAN\n",
            Some(0),
        ),
        (
            "unittest skipped",
            "Ran 3 tests in 0.1s\n\nOK (skipped=3)\n",
            Some(0),
        ),
        (
            "unittest mixed",
            "Ran 5 tests in 0.1s\n\nFAILED (failures=1, skipped=2)\n",
            Some(3),
        ),
        (
            "pytest",
            "===== 2 failed, 3 passed, 1 skipped, 4 warnings in 0.12s =====\n",
            Some(5),
        ),
        ("pytest quiet", "...\n3 passed in 0.01s\n", Some(3)),
        ("pytest long", "== 3 passed in 75.31s (0:01:15) ==", Some(3)),
        ("pytest none", "=== no tests ran in 0.01s ===", Some(0)),
        ("pytest skipped", "=== 4 skipped in 0.01s ===", Some(0)),
        (
            "pytest deselected",
            "=== 4 deselected in 0.01s ===",
            Some(0),
        ),
        (
            "pytest colour",
            "\u{1b}[32m===\u{1b}[0m \u{1b}[32m\u{1b}[1m1 passed\u{1b}[0m\u{1b}[32m in 0.0s\u{1b}[0m",
            Some(1),
        ),
        (
            "cargo",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            Some(5),
        ),
        (
            "cargo none",
            "test result: ok. 0 passed; 0 failed; 9 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            Some(0),
        ),
        (
            "nextest",
            "     Summary [   0.005s] 5 tests run: 5 passed, 2 skipped\n",
            Some(5),
        ),
        (
            "nextest cut",
            "     Summary [   0.005s] 3/5 tests run: 2 passed, 1 failed, 0 skipped\n",
            Some(3),
        ),
        (
            "go",
            "ok  \texample.com/a\t0.004s\nok  \texample.com/b\t(cached)\n",
            Some(2),
        ),
        (
            "go verbose",
            "=== RUN   TestA\n--- PASS: TestA (0.00s)\n    --- PASS: TestA/x (0.00s)\nPASS\nok  \ta\t0.1s\n",
            Some(1),
        ),
        (
            "go failed",
            "--- FAIL: TestA (0.00s)\nFAIL\nFAIL\ta\t0.1s\n",
            Some(1),
        ),
        (
            "go no files",
            "?   \texample.com/a\t[no test files]\n",
            Some(0),
        ),
        (
            "go no tests",
            "ok  \texample.com/a\t0.1s [no tests to run]\n",
            Some(0),
        ),
        (
            "go skipped",
            "=== RUN   TestA\n--- SKIP: TestA (0.00s)\nPASS\nok  \ta\t0.1s\n",
            Some(0),
        ),
        ("go broken", "FAIL\texample.com/a [build failed]\n", Some(0)),
        (
            "node tap",
            "1..3\n# tests 3\n# suites 0\n# pass 2\n# fail 0\n# cancelled 0\n# skipped 1\n# todo 0\n",
            Some(2),
        ),
        (
            "node spec",
            "ℹ tests 4\nℹ pass 4\nℹ fail 0\nℹ skipped 0\nℹ todo 0\n",
            Some(4),
        ),
        ("node none", "# tests 0\n# pass 0\n", Some(0)),
        (
            "jest",
            "Test Suites: 1 passed, 1 total\nTests:       1 failed, 1 skipped, 2 passed, 4 total\n",
            Some(3),
        ),
        (
            "jest none",
            "No tests found, exiting with code 0\n",
            Some(0),
        ),
        (
            "vitest",
            " Test Files  1 passed (1)\n      Tests  1 failed | 2 passed | 1 skipped (4)\n",
            Some(3),
        ),
        (
            "vitest none",
            "No test files found, exiting with code 0\n",
            Some(0),
        ),
        (
            "mocha",
            "\n  5 passing (10ms)\n  2 pending\n  1 failing\n",
            Some(6),
        ),
        ("mocha none", "\n  0 passing (1ms)\n", Some(0)),
        (
            "two programs",
            "Ran 2 tests in 0.1s\n\nOK\n# tests 3\n# skipped 0\n",
            Some(5),
        ),
        ("silence", "", None),
        (
            "prose",
            "all 5 tests passed in time\nok 1 - works\nTests are good (really)\n# skipped 3\n",
            None,
        ),
        (
            "echo",
            "5 passed in spirit\nRan away\n3 passing clouds\n",
            None,
        ),
    ];

    #[test]
    fn closing_lines_are_counted() {
        for (name, output, expected) in OUTPUTS {
            assert_eq!(tests_run(output), *expected, "{name}");
        }
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let huge = u64::MAX;
        assert_eq!(
            tests_run(&format!("Ran {huge} tests in 1s\nRan {huge} tests in 1s\n")),
            Some(huge)
        );
        assert_eq!(tests_run("Ran 99999999999999999999999 tests in 1s\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_output_may_stand_before_a_closing_line(output in "(\u{1b}\\[|[0-9]{1,3}|Ran |tests? in |passed|, |; | in |s|\t|ok|Tests|:|\\(|\\)|\n|ü|--- PASS: ){0,30}") {
            let closed = format!("{output}\nRan 7 tests in 0.1s\n");
            proptest::prop_assert!(tests_run(&closed).is_some());
        }
    }
}
