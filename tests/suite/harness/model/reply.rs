//! What the server answers: a turn of the model, streamed or whole, or trouble of every kind.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// The model uses a tool.
    Tool(&'static str, Value),
    /// The model says something and is done.
    Text(String),
    /// A refusal: status, the type of the error, its message, further headers.
    Refusal(u16, &'static str, String, Vec<(&'static str, String)>),
    /// The connection ends in the middle of a streamed answer.
    Cut,
    /// The connection ends without an answer.
    Dropped,
}

/// Numbers answers, so that the ids of tools differ.
static ANSWERS: AtomicU64 = AtomicU64::new(1);

impl Reply {
    /// Refuses a request.
    pub(crate) fn refuse(status: u16, kind: &'static str, why: &str) -> Self {
        Self::Refusal(status, kind, why.to_owned(), Vec::new())
    }

    /// Refuses a request for now: too many were made.
    pub(crate) fn too_many(retry_after: u32) -> Self {
        let wait = vec![("retry-after", retry_after.to_string())];
        Self::Refusal(
            429,
            "rate_limit_error",
            "This request would exceed your rate limit.".to_owned(),
            wait,
        )
    }

    /// Returns the status it has; 0 when there is no answer.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Tool(..) | Self::Text(_) | Self::Cut => 200,
            Self::Refusal(status, ..) => *status,
            Self::Dropped => 0,
        }
    }

    /// Writes it, and returns whether the connection goes on.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<bool> {
        let number = ANSWERS.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Dropped => return Ok(false),
            Self::Refusal(status, kind, why, headers) => {
                let body = json!({"type": "error", "error": {"type": kind, "message": why}, "request_id": format!("req_{number}")});
                let body = body.to_string();
                write!(
                    out,
                    "HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n"
                )?;
                write!(
                    out,
                    "request-id: req_{number}\r\ncontent-length: {}\r\n",
                    body.len()
                )?;
                for (name, value) in headers {
                    write!(out, "{name}: {value}\r\n")?;
                }
                write!(out, "\r\n{body}")?;
            }
            Self::Tool(..) | Self::Text(_) | Self::Cut => return self.stream(out, number),
        }
        Ok(true)
    }

    fn stream(&self, out: &mut impl Write, number: u64) -> io::Result<bool> {
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        )?;
        write!(
            out,
            "request-id: req_{number}\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
        )?;
        for event in self.events(number) {
            let kind = event["type"].as_str().unwrap_or_default();
            let text = format!("event: {kind}\ndata: {event}\n\n");
            write!(out, "{:x}\r\n{text}\r\n", text.len())?;
            out.flush()?;
            if matches!(self, Self::Cut) && kind == "content_block_delta" {
                return Ok(false);
            }
        }
        write!(out, "0\r\n\r\n")?;
        Ok(true)
    }

    fn events(&self, number: u64) -> Vec<Value> {
        let (block, delta, stop) = match self {
            Self::Tool(name, input) => (
                json!({"type": "tool_use", "id": format!("toolu_{number:024}"), "name": name, "input": {}}),
                json!({"type": "input_json_delta", "partial_json": input.to_string()}),
                "tool_use",
            ),
            Self::Text(text) => (
                json!({"type": "text", "text": ""}),
                json!({"type": "text_delta", "text": text}),
                "end_turn",
            ),
            _ => (
                json!({"type": "text", "text": ""}),
                json!({"type": "text_delta", "text": "I will now"}),
                "end_turn",
            ),
        };
        let usage = json!({"input_tokens": 1000, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 300, "output_tokens": 1});
        let message = json!({
            "id": format!("msg_{number:024}"), "type": "message", "role": "assistant", "model": "claude-opus-4-5-20251101",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
        });
        vec![
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
            json!({"type": "ping"}),
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 50}}),
            json!({"type": "message_stop"}),
        ]
    }
}
