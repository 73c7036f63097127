//! What the real server refuses, in its order: path, credential, version, form, content.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Asked, Reply};

/// The models there are.
const MODELS: [&str; 3] = ["claude-opus-", "claude-sonnet-", "claude-haiku-"];

/// Everything that may stand in a request.
const KEYS: [&str; 20] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "metadata",
    "stream",
    "stop_sequences",
    "temperature",
    "top_k",
    "top_p",
    "thinking",
    "service_tier",
    "container",
    "context_management",
    "mcp_servers",
    "output_config",
    "output_format",
    "diagnostics",
];

/// Returns the refusal of a request; none when the real server would answer it.
pub(super) fn refusal(asked: &Asked, key: &str) -> Option<Reply> {
    let path = asked.path.split('?').next().unwrap_or_default();
    if path != "/v1/messages" {
        return Some(Reply::refuse(404, "not_found_error", "Not found"));
    }
    if asked.method != "POST" {
        return Some(Reply::refuse(
            405,
            "invalid_request_error",
            "Method Not Allowed",
        ));
    }
    let credential = match (asked.header("x-api-key"), asked.header("authorization")) {
        (Some(given), None) if given == key => Ok(()),
        (Some(_), None) => Err("invalid x-api-key"),
        (None, None) => Err("x-api-key header is required"),
        _ => Err("more than one credential"),
    };
    if let Err(why) = credential {
        return Some(Reply::refuse(401, "authentication_error", why));
    }
    if asked.header("anthropic-version") != Some("2023-06-01") {
        return Some(invalid("anthropic-version: header is required"));
    }
    if asked.header("content-type") != Some("application/json") {
        return Some(invalid("content-type: must be application/json"));
    }
    content(&asked.body)
}

fn invalid(why: &str) -> Reply {
    Reply::refuse(400, "invalid_request_error", why)
}

fn content(body: &Value) -> Option<Reply> {
    let Some(fields) = body.as_object() else {
        return Some(invalid("the request body is not valid JSON"));
    };
    if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Some(invalid(&format!(
            "{unknown}: Extra inputs are not permitted"
        )));
    }
    let Some(model) = body["model"].as_str() else {
        return Some(invalid("model: Field required"));
    };
    if !MODELS.iter().any(|known| model.starts_with(known)) {
        return Some(Reply::refuse(
            404,
            "not_found_error",
            &format!("model: {model}"),
        ));
    }
    if body["max_tokens"].as_u64().is_none_or(|most| most == 0) {
        return Some(invalid("max_tokens: Field required"));
    }
    messages(body).err().map(|why| invalid(&why))
}

/// Messages begin with the user's, and each tool that was asked for has answered in the next.
fn messages(body: &Value) -> Result<(), String> {
    let messages = body["messages"].as_array().filter(|all| !all.is_empty());
    let messages = messages.ok_or("messages: at least one message is required")?;
    let mut open = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        let fits = if at == 0 {
            role == "user"
        } else {
            ["user", "assistant", "system"].contains(&role)
        };
        if !fits {
            return Err(format!("messages.{at}: unexpected role `{role}`"));
        }
        let blocks = message["content"].as_array().cloned().unwrap_or_default();
        if blocks.is_empty() && message["content"].as_str().is_none_or(str::is_empty) {
            return Err(format!("messages.{at}: content is empty"));
        }
        let ids = |kind: &str, field: &str| -> BTreeSet<String> {
            let of_kind = blocks.iter().filter(|block| block["type"] == kind);
            of_kind
                .filter_map(|block| block[field].as_str().map(str::to_owned))
                .collect()
        };
        if role == "user" {
            let answered = ids("tool_result", "tool_use_id");
            if answered != open {
                return Err(format!(
                    "messages.{at}: `tool_use` ids {open:?} were found without `tool_result`"
                ));
            }
            open.clear();
        } else if role == "assistant" {
            open = ids("tool_use", "id");
        }
    }
    Ok(())
}
