//! What the program printed when it ran against a server that works, refuses, is busy or hangs up
//! (`recorded/`, the pinned version), and what no honest program prints.

use std::{fmt::Write, time::Duration};

use proptest::prelude::{any, prop, proptest};

use super::{
    super::{Assignment, Launch, Provider, Reader, Remedy, Report, replay::tests::task},
    Claude,
    lines::{LINE_MAX, Lines},
    session,
};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("recorded/", $name, ".jsonl"))
    };
}

const WORK: &str = recorded!("work");

fn report(output: &[u8], code: i32) -> Report {
    in_pieces(output.chunks(output.len().max(1)), code)
}

fn in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>, code: i32) -> Report {
    let mut lines = Box::new(Lines::default());
    pieces.for_each(|piece| lines.read(piece));
    lines.report(code)
}

/// Why it failed and what helps, of an output that must be a failure.
fn trouble(output: &str, code: i32) -> (String, Remedy) {
    let trouble = report(output.as_bytes(), code).trouble.expect("a failure");
    (trouble.reason, trouble.remedy)
}

fn ending(fields: &str) -> String {
    format!(r#"{{"type":"result","subtype":"success","is_error":false,"result":"x"{fields}}}"#)
}

#[test]
fn work_that_was_done_is_a_success_with_its_last_words_and_what_it_used() {
    let report = report(WORK.as_bytes(), 0);
    assert_eq!((report.answer.as_str(), report.trouble), ("done", None));
    let spent = report.spent;
    assert_eq!(spent.model, "claude-opus-5-5");
    let tokens = spent.tokens;
    assert_eq!((spent.turns, tokens.input, tokens.output), (3, 30, 15));
    assert_eq!(
        (tokens.cache_written, tokens.cache_read, spent.cost_micros),
        (6, 9, 452)
    );
}

#[test]
fn a_refused_key_is_for_a_person() {
    let (reason, remedy) = trouble(recorded!("refused-key"), 1);
    assert_eq!(remedy, Remedy::Person);
    assert!(
        reason.contains("401 (authentication_error): Invalid API key"),
        "{reason}"
    );
}

#[test]
fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let (reason, remedy) = trouble(recorded!("too-many"), 1);
    assert_eq!(remedy, Remedy::Wait(Duration::from_secs(2)));
    assert!(
        reason.contains("429 (rate_limit_error)") && reason.contains("slow down"),
        "{reason}"
    );
    let slower =
        recorded!("too-many").replace("\"retry_delay_ms\":1229", "\"retry_delay_ms\":24729.4");
    assert_eq!(
        trouble(&slower, 1).1,
        Remedy::Wait(Duration::from_millis(24_729))
    );
    let (reason, remedy) = trouble(recorded!("overloaded"), 1);
    assert!(
        reason.contains("529 (overloaded_error)") && matches!(remedy, Remedy::Wait(_)),
        "{reason}"
    );
    assert!(matches!(
        trouble(recorded!("too-many-for-long"), 1).1,
        Remedy::Wait(_)
    ));
}

#[test]
fn a_connection_that_breaks_is_tried_again_later() {
    let (reason, remedy) = trouble(recorded!("dropped"), 1);
    assert!(
        reason.contains("Connection dropped") && matches!(remedy, Remedy::Wait(_)),
        "{reason}"
    );
}

#[test]
fn a_plan_that_is_used_up_is_waited_for_until_the_time_it_names() {
    let limited = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1795219841,"rateLimitType":"five_hour","isUsingOverage":false}}"#;
    let (reason, remedy) = trouble(&format!("{limited}\n{}", recorded!("too-many")), 1);
    assert_eq!(
        remedy,
        Remedy::Until("2026-11-21T00:10:41Z".parse().unwrap())
    );
    let silent = limited.replace("\"resetsAt\":1795219841,", "");
    let (_, remedy) = trouble(&format!("{silent}\n{}", recorded!("too-many")), 1);
    assert_eq!(remedy, Remedy::Person);
    assert!(
        reason.contains("`five_hour`") && reason.contains("2026-11-21T00:10:41Z"),
        "{reason}"
    );
    let warned = limited.replace("rejected", "allowed_warning");
    assert!(
        report(format!("{warned}\n{WORK}").as_bytes(), 0)
            .trouble
            .is_none()
    );
}

#[test]
fn an_exit_code_is_not_believed() {
    assert!(
        report(WORK.as_bytes(), 1).trouble.is_none(),
        "it finished, then failed to leave"
    );
    let (reason, remedy) = trouble("", 0);
    assert_eq!(remedy, Remedy::Again);
    assert!(
        reason.contains("exit code 0 and without a final result"),
        "{reason}"
    );
}

#[test]
fn an_end_that_is_no_success_is_none_whatever_its_subtype() {
    for (fields, word) in [
        (r#","is_error":true"#, "duplicate"),
        (r#","stop_reason":"refusal""#, "declined"),
    ] {
        let line = ending(fields);
        assert!(
            report(line.as_bytes(), 0).trouble.is_some(),
            "{word}: {line}"
        );
    }
    let turns = r#"{"type":"result","subtype":"error_max_turns","is_error":true,"errors":["Reached maximum number of turns (1)"]}"#;
    let (reason, remedy) = trouble(turns, 1);
    assert_eq!(remedy, Remedy::Again);
    assert!(
        reason.contains("error_max_turns") && reason.contains("Reached maximum"),
        "{reason}"
    );
}

#[test]
fn output_that_breaks_off_anywhere_is_no_success() {
    let last = WORK.trim_end().len();
    let from = WORK.trim_end().rfind('\n').expect("several lines");
    for at in (0..from).step_by(97).chain(from..last) {
        let report = report(&WORK.as_bytes()[..at], 143);
        assert!(report.trouble.is_some(), "cut at {at}");
    }
    assert!(
        report(&WORK.as_bytes()[..last], 0).trouble.is_none(),
        "only the line's end is missing"
    );
}

#[test]
fn lines_that_are_no_json_are_counted_and_the_rest_is_heard() {
    let noise = "warning: x\n{\"type\":\n[1]\n\u{0}\u{1b}[31m\nnull\n{}\n";
    assert!(
        report(format!("{noise}{WORK}{noise}").as_bytes(), 0)
            .trouble
            .is_none()
    );
    let (reason, _) = trouble(noise, 0);
    assert!(
        reason.contains("6 of its lines could not be read"),
        "{reason}"
    );
}

#[test]
fn a_line_without_end_takes_no_memory_and_no_turn() {
    let mut lines = Lines::default();
    let piece = vec![b'{'; 1 << 16];
    for _ in 0..1600 {
        lines.read(&piece);
        assert!(lines.held() <= LINE_MAX);
    }
    lines.read(b"\n");
    lines.read(WORK.as_bytes());
    assert!(Box::new(lines).report(0).trouble.is_none());
    let mut long = ending("");
    write!(long, "{}", " ".repeat(LINE_MAX)).expect("a string takes it");
    let (reason, _) = trouble(&long, 0);
    assert!(reason.contains("1 were too long"), "{reason}");
}

#[test]
fn what_it_says_is_cut_and_hostile_numbers_do_no_harm() {
    let text = "é".repeat(400_000);
    let said = format!(
        r#"{{"type":"result","subtype":"x","is_error":true,"result":"{text}","total_cost_usd":1e300,"num_turns":18446744073709551615}}"#
    );
    let report = report(said.as_bytes(), 0);
    assert!(report.trouble.expect("a failure").reason.len() < 2_000);
    assert!(report.answer.len() <= 64 * 1024 && report.spent.cost_micros == u64::MAX);
    for broken in [
        r#","usage":{"input_tokens":-1}"#,
        r#","num_turns":"many""#,
        r#","total_cost_usd":"1""#,
    ] {
        assert!(report_of(&ending(broken)).trouble.is_some(), "{broken}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        report_of(&ending(&format!(",\"usage\":{deep}")))
            .trouble
            .is_some()
    );
}

fn report_of(line: &str) -> Report {
    report(line.as_bytes(), 0)
}

#[test]
fn of_several_endings_the_last_counts() {
    let failed = ending("").replace("\"is_error\":false", "\"is_error\":true");
    assert!(
        report_of(&format!("{}\n{failed}", ending("")))
            .trouble
            .is_some()
    );
    assert!(
        report_of(&format!("{failed}\n{}", ending("")))
            .trouble
            .is_none()
    );
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(sizes in prop::collection::vec(1_usize..4000, 1..40)) {
        let mut rest = WORK.as_bytes();
        let mut pieces = Vec::new();
        for size in sizes {
            let (piece, left) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        pieces.push(rest);
        assert_eq!(in_pieces(pieces.into_iter(), 0), report(WORK.as_bytes(), 0));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), code in any::<i32>()) {
        let heard = report(&bytes, code);
        assert!(heard.trouble.is_some());
    }
}

fn launch() -> Launch {
    let task = task("store");
    let assignment = Assignment {
        task: &task,
        attempt: 1,
        brief: "# Task",
    };
    Claude.launch(&assignment).expect("a launch")
}

#[test]
fn it_is_started_without_a_terminal_and_without_what_the_repository_brings() {
    let launch = launch();
    let argv = launch.argv("/home/agent");
    assert_eq!(argv[0], "claude");
    for flag in [
        "-p",
        "--verbose",
        "--output-format=stream-json",
        "--setting-sources=user",
        "--strict-mcp-config",
    ] {
        assert!(argv.iter().any(|word| word == flag), "{flag}");
    }
    assert_eq!(
        launch.stdin, b"# Task",
        "the brief is no argument: `ps` shows those"
    );
    assert!(launch.files.is_empty());
}

#[test]
fn the_key_in_its_environment_is_a_placeholder() {
    let env = launch().env;
    let keys: Vec<_> = env
        .iter()
        .filter(|(name, _)| name.contains("KEY") || name.contains("TOKEN"))
        .collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(keys[0].1, "loki-placeholder-ANTHROPIC_API_KEY");
}

#[test]
fn every_attempt_is_a_session_of_its_own_named_by_a_uuid() {
    let (first, second) = (session().expect("a name"), session().expect("a name"));
    assert_ne!(first, second);
    let lengths: Vec<usize> = first.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!(first.as_bytes()[14], b'4', "{first}");
    assert!(b"89ab".contains(&first.as_bytes()[19]), "{first}");
}
