//! Idleness. A day of it by a clock that jumps from one thing to do to the next, which is what
//! watching a sandbox takes and nothing else; and a minute by the real one, of everything.

use std::time::{Duration, Instant};

use loki::sandbox::Spoken;
use serde_json::{Value, json};

use super::rounded;
use crate::{
    Effort,
    harness::{Engine, Stand},
    idle,
    tools::{processor, resident},
};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// No cap of the sandbox's ends the day.
const CAPS: &str = "resources: { eng-backend: { timeout: 48h, idle_timeout: 48h } }";

/// Watches one sandbox whose agent sleeps for a simulated day.
async fn simulated() -> Value {
    let standing = Stand::on(Engine::Docker).await.launch("day", CAPS).await;
    let agent = standing.start(&["sleep", "86400"]).await;
    let this = std::process::id();
    let memory = || resident(this).expect("it runs");
    let (before, used) = (memory(), processor(this).expect("it runs"));
    let begun = Instant::now();
    tokio::time::pause();
    let spoken = Spoken::default();
    let over = tokio::time::timeout(DAY, standing.sandbox.overrun(&spoken)).await;
    tokio::time::resume();
    assert!(over.is_err(), "an idle sandbox was ended: {over:?}");
    let used = processor(this).expect("it runs") - used;
    let told = json!({
        "simulated hours": 24,
        "real seconds": rounded(begun.elapsed().as_secs_f64()),
        "processor seconds": rounded(used),
        "of one processor, over the day": rounded(used / DAY.as_secs_f64()),
        "memory gained, MB": rounded(memory() - before),
    });
    drop(agent);
    standing.sandbox.end().await.expect("it ends");
    told
}

pub(crate) fn measure(sandboxes: usize) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let day = runtime.expect("a runtime starts").block_on(simulated());
    let effort = Effort {
        idle: sandboxes,
        while_idle: MINUTE,
        ..Effort::asked()
    };
    let minute = idle::measure(effort).measured;
    let of = |id: &str| {
        minute
            .iter()
            .find(|row| row.id == id)
            .map(|row| row.loki.median)
    };
    json!({
        "watching one idle sandbox for a simulated day": day,
        "a real minute of a whole run, everything in it": {
            "idle sandboxes": sandboxes,
            "orchestrator, of one processor": of("idle/processor"),
            "orchestrator, resident MB": of("idle/orchestrator"),
            "guest, resident MB": of("idle/guest"),
            "guest, of one processor": of("idle/guest-processor"),
        },
    })
}
