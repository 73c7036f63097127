//! The groups that are programs of their own: each is run here and what it printed becomes rows.

use std::{
    collections::HashMap,
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    Effort,
    group::{Group, parts},
    sheet::row::{Other, Spread},
    tools::{self, environment, laid_out, sandbox_runtime},
};

/// The programs, by the names of their targets.
const PROGRAMS: [&str; 7] = [
    "checkpoint",
    "decide",
    "gateway",
    "git",
    "journal",
    "meter",
    "redact",
];

/// How the variables begin that cargo sets for a program of a package.
const OF_A_PACKAGE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];

/// Has cargo build them, which it has done before as a rule, and tell where they are.
pub(crate) fn programs() -> Result<HashMap<String, PathBuf>, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["bench", "--locked", "--no-run", "--message-format", "json"]);
    command.args(["--profile", tools::profile()]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo told this program of its package would be news to a dependency's build script, and
    // everything above it would be compiled anew, and again by the next `make bench`.
    let told = env::vars_os().map(|(name, _)| name);
    let told = told.filter(|name| {
        let name = name.to_string_lossy();
        OF_A_PACKAGE.iter().any(|of| name.starts_with(of))
    });
    for name in told {
        command.env_remove(name);
    }
    for program in PROGRAMS {
        command.args(["--bench", program]);
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let built = text.lines().filter_map(|line| {
        let told: Value = serde_json::from_str(line).ok()?;
        let name = told["target"]["name"].as_str()?.to_owned();
        let bench = told["target"]["kind"][0] == "bench";
        Some((
            name,
            PathBuf::from(told["executable"].as_str().filter(|_| bench)?),
        ))
    });
    match output.status.success() {
        true => Ok(built.collect()),
        false => Err(format!(
            "cargo cannot build the benchmarks: {}",
            output.status
        )),
    }
}

/// What one of them printed. It may have failed, where a goal of its own is missed by far.
fn told(program: &PathBuf, words: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(program);
    command.args(words).envs(environment());
    command.env("LOKI_BENCH_SRT", sandbox_runtime());
    if !PathBuf::from("/usr/sbin/squid").exists() {
        command.env("LOKI_BENCH_SQUID", laid_out().join("root"));
    }
    let output = command.stderr(Stdio::piped()).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let name = program.display();
        format!("{name} {words:?}: {}: {}", output.status, last.join(" / "))
    })
}

/// Runs one of them and takes its rows; says why there are none.
pub(crate) fn group(name: &str, program: &PathBuf, effort: Effort) -> Group {
    let mut group = Group::default();
    let mut take =
        |words: &[&str], ids: &str, rows: fn(&mut Group, &Value)| match told(program, words) {
            Ok(told) => rows(&mut group, &told),
            Err(why) => group.lacks(ids, &why),
        };
    let requests = effort.requests.to_string();
    match name {
        "gateway" => {
            take(&["open"], "egress/open", open);
            take(&["inspected"], "egress/inspected", inspected);
            take(&["memory", &requests], "egress/inspected-memory", memory);
        }
        "meter" => take(&[], "meter", meter),
        "checkpoint" => take(&[], "checkpoint", checkpoint),
        "journal" => take(&[], "queue/events", journal),
        "git" => take(&[], "others", git),
        "decide" => take(&[], "others/decisions", decide),
        _ => take(&[], "others/masking", redact),
    }
    group
}

/// What one side came to in one measure of the gateway's.
fn side(told: &Value, measure: &str, side: &str) -> Result<Spread, String> {
    let rows = told["rows"].as_array().into_iter().flatten();
    let mut rows = rows.filter(|row| row["measure"] == measure && row["side"] == side);
    let Some(row) = rows.next() else {
        let missing = told["missing"].as_array().into_iter().flatten();
        let mut missing = missing.filter_map(Value::as_str);
        let why = missing.find(|why| why.starts_with(side));
        return Err(why.unwrap_or("it was not measured").to_owned());
    };
    let median = row["value"].as_f64();
    let median = median
        .ok_or_else(|| format!("{side}: {}", row["failed"].as_str().unwrap_or("no number")))?;
    Ok(Spread {
        p95: row["p95"].as_f64(),
        ..Spread::median(median, count(&row["rounds"]))
    })
}

fn count(number: &Value) -> usize {
    let number = number
        .as_u64()
        .and_then(|number| usize::try_from(number).ok());
    number.unwrap_or(1)
}

/// Adds a row of Loki's and another side's numbers of one measure.
fn beside(group: &mut Group, told: &Value, (id, measure, other): (&str, &str, &str)) {
    let took = |name| side(told, measure, name);
    match took("loki").and_then(|ours| Ok((ours, took(other)?))) {
        Ok((ours, theirs)) => {
            let other = Other {
                name: other.to_owned(),
                took: theirs,
            };
            group.take(id, ours, Some(other));
            group.spent(id, of_processors(told, measure));
        }
        Err(why) => group.lacks(id, &why),
    }
}

/// What the proxies used of the processors for each: of what is not a wait.
fn of_processors(told: &Value, measure: &str) -> Vec<crate::sheet::row::Part> {
    let rows = told["rows"].as_array().into_iter().flatten();
    let rows = rows.filter(|row| row["measure"] == measure && row["side"] == "loki");
    let used: Vec<f64> = rows.filter_map(|row| row["cpu_ns_each"].as_f64()).collect();
    parts(
        "ns",
        &[("the gateway's own processor time for each", &used)],
    )
}

fn open(group: &mut Group, told: &Value) {
    let (connect, one, eight) = ("connect and echo", "one stream", "eight streams");
    let (questions, sixteen) = (
        "small questions, one connection",
        "small questions, 16 connections",
    );
    for row in [
        ("egress/open-connect", connect, "direct"),
        ("egress/open-one-stream", one, "direct"),
        ("egress/open-eight-streams", eight, "direct"),
        ("egress/open-questions", questions, "direct"),
        ("egress/open-questions-16", sixteen, "direct"),
        ("egress/open-connect-of-squid", connect, "squid"),
        ("egress/open-questions-16-of-squid", sixteen, "squid"),
        ("egress/open-one-stream-of-runtime", one, "sandbox-runtime"),
    ] {
        beside(group, told, row);
    }
}

fn inspected(group: &mut Group, told: &Value) {
    for (id, measure) in [
        ("egress/inspected-p50", "16 agents, p50"),
        ("egress/inspected-p99", "16 agents, p99"),
    ] {
        let took = |name| side(told, measure, name);
        match took("loki").and_then(|ours| Ok((ours, took("direct")?))) {
            Ok((ours, direct)) => {
                let added = Spread::median(ours.median - direct.median, ours.rounds);
                group.take(id, added, None);
            }
            Err(why) => group.lacks(id, &why),
        }
    }
    let stream = "one stream";
    match side(told, stream, "loki") {
        Ok(ours) => group.take("egress/inspected-stream", ours, None),
        Err(why) => group.lacks("egress/inspected-stream", &why),
    }
    beside(
        group,
        told,
        ("egress/inspected-stream-of-direct", stream, "direct"),
    );
    beside(
        group,
        told,
        (
            "egress/inspected-requests-of-runtime",
            "16 agents, requests",
            "sandbox-runtime",
        ),
    );
}

fn memory(group: &mut Group, told: &Value) {
    let id = "egress/inspected-memory";
    let first = told["steps"][0]["resident_mb"].as_f64();
    let Some((end, first)) = told["end_mb"].as_f64().zip(first) else {
        return group.lacks(id, "the gateways told no memory");
    };
    let other = Other {
        name: "after a tenth".to_owned(),
        took: Spread::median(first, 1),
    };
    group.take(id, Spread::median(end, 1), Some(other));
    let requests = &told["steps"][9]["requests"];
    group.note(id, format!("16 gateways, {requests} requests in all"));
}

fn meter(group: &mut Group, told: &Value) {
    let rounds = count(&told["rounds"]);
    let row = |kind: &str| {
        let rows = told["rows"].as_array().into_iter().flatten();
        rows.clone().find(|row| row["kind"] == kind)
    };
    let spread = |row: &Value, side: &str| -> Option<Spread> {
        let p95 = Some(row[side]["p95"].as_f64()?);
        Some(Spread {
            p95,
            ..Spread::median(row[side]["p50"].as_f64()?, rounds)
        })
    };
    let of = |kind: &str| {
        let row = row(kind)?;
        Some((spread(row, "metered")?, spread(row, "bare")?))
    };
    match of("write-open") {
        Some((metered, bare)) => {
            let added = Spread::median(metered.median - bare.median, rounds);
            let tail = metered
                .p95
                .zip(bare.p95)
                .map(|(with, without)| with - without);
            group.take("meter/write-open", Spread { p95: tail, ..added }, None);
        }
        None => group.lacks("meter/write-open", "the probe told no number"),
    }
    match of("read-open") {
        Some((metered, bare)) => {
            let other = Other {
                name: "without a meter".to_owned(),
                took: bare,
            };
            group.take("meter/read-open", metered, Some(other));
        }
        None => group.lacks("meter/read-open", "the probe told no number"),
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_f64).collect()
}

fn checkpoint(group: &mut Group, told: &Value) {
    let all = |name: &str| numbers(&told["rounds"][name]);
    let full = all("full_seconds");
    group.beside(
        "checkpoint/full",
        &full,
        ("tar | zstd -1", &all("tar_zstd_1_seconds")),
    );
    group.beside(
        "checkpoint/delta-time",
        &all("delta_seconds"),
        ("a whole one", &full),
    );
    let mb = |bytes: Vec<f64>| -> Vec<f64> { bytes.iter().map(|bytes| bytes / 1e6).collect() };
    let whole = told["full_bytes"].as_f64().into_iter().collect();
    group.beside(
        "checkpoint/delta-bytes",
        &mb(all("delta_bytes")),
        ("a whole one", &mb(whole)),
    );
}

fn journal(group: &mut Group, told: &Value) {
    let all = |name: &str| numbers(&told["rounds"][name]);
    let written = all("written");
    group.alone("queue/events", &written);
    group.beside(
        "queue/events-of-floor",
        &written,
        ("bytes written and synced", &all("floor")),
    );
}

fn git(group: &mut Group, told: &Value) {
    let rounds = count(&told["rounds"]);
    let mut row = |id: &str, (ours, theirs): (&Value, &Value), name: &str| {
        let Some((ours, theirs)) = ours["ms"].as_f64().zip(theirs["ms"].as_f64()) else {
            return group.lacks(id, "it told no number");
        };
        let other = Other {
            name: name.to_owned(),
            took: Spread::median(theirs, rounds),
        };
        group.take(id, Spread::median(ours, rounds), Some(other));
    };
    let (worktree, gate) = (&told["worktree"], &told["gate"]);
    let both = (&worktree["loki_next"], &worktree["git_worktree_add"]);
    row("others/worktree-of-git", both, "git worktree add");
    row(
        "others/gate-of-git-add",
        (&gate["loki"], &gate["git_add"]),
        "git add",
    );
}

fn decide(group: &mut Group, told: &Value) {
    group.alone(
        "others/decisions",
        &told["allowed_per_second"]
            .as_f64()
            .into_iter()
            .collect::<Vec<_>>(),
    );
}

fn redact(group: &mut Group, told: &Value) {
    let ten = told["mask"].as_array().into_iter().flatten();
    let ten = ten.filter(|row| row["secrets"] == 10);
    let rates: Vec<f64> = ten
        .filter_map(|row| row["megabytes_per_second"].as_f64())
        .collect();
    group.alone("others/masking", &rates);
}
