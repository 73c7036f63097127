//! Records as events of the Open Cybersecurity Schema Framework.
//!
//! | event | class | activity |
//! |---|---|---|
//! | `egress` of a name | DNS Activity 4003 | Query |
//! | `egress` of a connection or request | Network Activity 4001 | Open when allowed, else Refuse |
//! | `egress_closed` with an answer's status | HTTP Activity 4002 | by its method |
//! | `egress_closed` otherwise | Network Activity 4001 | Close |
//! | `sandbox_started`, `sandbox_ended` | Process Activity 1007 | Launch, Terminate |
//! | `agent_ended`, `checked` | Process Activity 1007 | Terminate |
//! | `run_started`, `run_ended` | Application Lifecycle 6002 | Start, Stop |
//! | `gated` with breaches, `overrun`, `reviewed` that failed | Detection Finding 2004 | Create |
//! | every other | API Activity 6003 | Other, the event's type as operation |
//!
//! The whole event stands under `unmapped`, so nothing is lost.

use serde_json::{Map, Value, json};

use crate::{event::Record, name::RunId};

/// The version of the schema. Consumers of later 1.x versions read it.
pub const VERSION: &str = "1.3.0";

/// A class by its number, and one of its activities.
struct Class(u32, u32);

const INFORMATIONAL: u32 = 1;
const LOW: u32 = 2;
const MEDIUM: u32 = 3;
const HIGH: u32 = 4;

pub(super) fn event(run: &RunId, record: &Record) -> Value {
    let event = serde_json::to_value(&record.event).unwrap_or(Value::Null);
    let kind = event["type"].as_str().unwrap_or("unknown").to_owned();
    let (class, mut fields) = of_kind(&kind, &event, record);
    let (severity, failed) = judged(&kind, &event);
    let Class(class, activity) = class;
    let common = json!({
        "category_uid": class / 1000,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "time": record.ts.as_millisecond(),
        "severity_id": severity,
        "metadata": {
            "version": VERSION,
            "product": product(),
            "uid": record.hash.to_string(),
            "sequence": record.seq,
            "correlation_uid": run.as_str(),
            "original_time": format!("{:.6}", record.ts),
            "log_name": "journal",
            "event_code": kind,
        },
    });
    extend(&mut fields, common);
    if activity == 99 {
        extend(&mut fields, json!({ "activity_name": kind }));
    }
    // A finding's status is its own life, not what came of an act.
    if class != 2004 {
        extend(
            &mut fields,
            json!({ "status_id": if failed { 2 } else { 1 } }),
        );
    }
    extend(&mut fields, json!({ "unmapped": event }));
    Value::Object(fields)
}

fn of_kind(kind: &str, event: &Value, record: &Record) -> (Class, Map<String, Value>) {
    let (class, fields) = match kind {
        "egress" if event["kind"] == "name" => (Class(4003, 1), name(event)),
        "egress" if event["kind"] == "ask" => (Class(4001, 99), connection(event)),
        "egress" if event["allowed"] == true => (Class(4001, 1), connection(event)),
        "egress" => (Class(4001, 5), connection(event)),
        "egress_closed" if event["status"].is_u64() => {
            (Class(4002, method(&event["method"])), answered(event))
        }
        "egress_closed" => (Class(4001, 2), closed(event)),
        "sandbox_started" => (Class(1007, 1), sandbox(event)),
        "sandbox_ended" => (Class(1007, 2), sandbox(event)),
        "agent_ended" => (Class(1007, 2), agent(event)),
        "checked" => (Class(1007, 2), checked(event, record)),
        "run_started" => (Class(6002, 3), application()),
        "run_ended" => (Class(6002, 4), application()),
        "overrun" => (Class(2004, 1), finding(event, record, "limit")),
        "gated" if is_breached(event) => (Class(2004, 1), finding(event, record, "breaches")),
        "reviewed" if event["passed"] == false => {
            (Class(2004, 1), finding(event, record, "findings"))
        }
        _ => (Class(6003, 99), operation(kind, event)),
    };
    match fields {
        Value::Object(fields) => (class, fields),
        _ => (class, Map::new()),
    }
}

fn judged(kind: &str, event: &Value) -> (u32, bool) {
    match kind {
        "overrun" => (HIGH, true),
        "gated" if is_breached(event) => (HIGH, true),
        "egress" if event["allowed"] == false => (LOW, true),
        "task_failed" => (MEDIUM, true),
        "run_ended" if event["outcome"] != "done" => (MEDIUM, true),
        "checked" | "reviewed" if event["passed"] == false => (MEDIUM, true),
        "agent_ended" if event["code"] != 0 => (LOW, true),
        _ => (INFORMATIONAL, false),
    }
}

fn is_breached(event: &Value) -> bool {
    event["breaches"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
}

fn product() -> Value {
    json!({ "name": "Loki", "vendor_name": "Loki", "version": env!("CARGO_PKG_VERSION") })
}

/// The sandbox as the end of a connection that asks.
fn asker(event: &Value) -> Value {
    json!({ "name": text(&event["sandbox"]), "type_id": 99, "type": "Container" })
}

fn target(event: &Value) -> Value {
    let mut target = Map::new();
    target.insert("hostname".to_owned(), text(&event["host"]));
    if event["port"].as_u64().is_some_and(|port| port > 0) {
        target.insert("port".to_owned(), event["port"].clone());
    }
    Value::Object(target)
}

fn name(event: &Value) -> Value {
    json!({
        "query": { "hostname": text(&event["host"]) },
        "src_endpoint": asker(event),
        "dst_endpoint": { "name": "gateway" },
        "count": event["count"],
    })
}

fn connection(event: &Value) -> Value {
    let mut fields = json!({
        "src_endpoint": asker(event),
        "dst_endpoint": target(event),
        "count": event["count"],
    });
    if event["path"].is_string() {
        fields["url"] = json!({ "hostname": text(&event["host"]), "path": event["path"] });
    }
    fields
}

fn traffic(event: &Value) -> Value {
    let (out, back) = (&event["sent"], &event["received"]);
    let sum = out
        .as_u64()
        .unwrap_or(0)
        .saturating_add(back.as_u64().unwrap_or(0));
    json!({ "bytes_out": out, "bytes_in": back, "bytes": sum })
}

fn closed(event: &Value) -> Value {
    json!({
        "src_endpoint": asker(event),
        "dst_endpoint": target(event),
        "traffic": traffic(event),
        "duration": event["elapsed_ms"],
    })
}

fn answered(event: &Value) -> Value {
    let path = event["path"].as_str().unwrap_or("*");
    let mut request = json!({ "url": { "hostname": text(&event["host"]), "path": path } });
    // Others are no values of the schema; what was asked stands under `unmapped`.
    if method(&event["method"]) != 99 {
        request["http_method"] = event["method"].clone();
    }
    json!({
        "src_endpoint": asker(event),
        "dst_endpoint": target(event),
        "traffic": traffic(event),
        "duration": event["elapsed_ms"],
        "http_request": request,
        "http_response": { "code": event["status"] },
    })
}

fn method(method: &Value) -> u32 {
    match method.as_str().unwrap_or_default() {
        "CONNECT" => 1,
        "DELETE" => 2,
        "GET" => 3,
        "HEAD" => 4,
        "OPTIONS" => 5,
        "POST" => 6,
        "PUT" => 7,
        "TRACE" => 8,
        _ => 99,
    }
}

/// What a container is to this schema: a device of another type.
fn container(name: &Value) -> Value {
    json!({ "type_id": 99, "type": "Container", "name": text(name) })
}

fn loki() -> Value {
    json!({ "app_name": "loki" })
}

fn sandbox(event: &Value) -> Value {
    let mut device = container(&event["sandbox"]);
    if event["container"].is_string() {
        device["uid"] = event["container"].clone();
    }
    json!({
        "actor": loki(),
        "device": device,
        "process": { "name": "sandbox", "uid": text(&event["sandbox"]) },
    })
}

fn agent(event: &Value) -> Value {
    let sandbox = format!(
        "{}-{}",
        event["task"].as_str().unwrap_or("?"),
        event["attempt"]
    );
    json!({
        "actor": loki(),
        "device": container(&json!(sandbox)),
        "process": { "name": "agent", "uid": sandbox },
        "exit_code": event["code"],
        "duration": event["elapsed_ms"],
    })
}

fn checked(event: &Value, record: &Record) -> Value {
    json!({
        "actor": loki(),
        "device": container(&json!("checks")),
        "process": {
            "name": "check",
            "uid": format!("check-{}", record.seq),
            "cmd_line": text(&event["command"]),
        },
        "duration": event["elapsed_ms"],
    })
}

fn application() -> Value {
    json!({ "app": product() })
}

fn finding(event: &Value, record: &Record, kind: &str) -> Value {
    let title = match kind {
        "breaches" => "Work was refused at the hand-over",
        "limit" => "A sandbox went over a limit and was ended",
        _ => "A reviewer found faults",
    };
    let who = ["sandbox", "task", "role"].map(|name| &event[name]);
    let who = who.into_iter().find(|value| value.is_string());
    json!({
        "finding_info": {
            "title": title,
            "uid": record.hash.to_string(),
            "types": [kind],
        },
        "message": format!("{title}: {}", who.and_then(Value::as_str).unwrap_or("?")),
    })
}

fn operation(kind: &str, event: &Value) -> Value {
    let mut fields = json!({
        "actor": loki(),
        "api": { "operation": kind },
        "src_endpoint": { "name": "loki" },
    });
    if event["task"].is_string() {
        fields["resources"] = json!([{ "name": event["task"], "type": "task" }]);
    }
    fields
}

fn text(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        _ => json!("?"),
    }
}

fn extend(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}
