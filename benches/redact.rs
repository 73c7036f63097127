//! How fast output is masked, with few and many secrets, and how long learning them takes. Prints
//! one JSON object; `make bench-redact` runs it.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{hint::black_box, time::Instant};

use loki::redact::{Redactor, Values};
use zeroize::Zeroizing;

/// Bytes of a part, as an agent's output is read.
const PART: usize = 16 * 1024;
/// Bytes that are masked for each number.
const TOTAL: usize = 256 << 20;

fn values(count: usize) -> Values {
    let each = (0..count).map(|at| {
        let value = format!("sk-ant-api03-{at:04}-{}", "Zm9vYmFy/+=".repeat(8));
        (format!("KEY_{at}"), Zeroizing::new(value))
    });
    each.collect()
}

/// Text like that of a build, in which a value stands now and then.
fn output(values: &Values) -> Vec<u8> {
    let value = values.get("KEY_0").expect("there is a first value");
    let mut text = String::new();
    while text.len() < 1 << 20 {
        for line in 0..200 {
            text.push_str(&format!(
                "   Compiling something v1.{line}.0 (/work/src/sk-ant/{line})\n"
            ));
        }
        text.push_str(value);
    }
    text.into_bytes()
}

fn measured(count: usize) -> serde_json::Value {
    let values = values(count);
    let begun = Instant::now();
    let redactor = Redactor::new(&values);
    let learnt = begun.elapsed();
    let output = output(&values);
    let mut stream = redactor.stream();
    let begun = Instant::now();
    let mut seen = 0;
    while seen < TOTAL {
        for part in output.chunks(PART) {
            black_box(stream.push(part));
        }
        seen += output.len();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let rate = seen as f64 / begun.elapsed().as_secs_f64() / 1e6;
    serde_json::json!({
        "secrets": count,
        "megabytes_per_second": rate.round(),
        "learnt_in_ms": learnt.as_millis(),
    })
}

fn main() {
    let rows: Vec<_> = [1, 10, 100].into_iter().map(measured).collect();
    println!("{}", serde_json::json!({ "schema": 1, "mask": rows }));
}
