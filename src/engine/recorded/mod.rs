//! What real engines said of themselves, for tests of modes that cannot be had on every machine.
//! Each file holds the answers to `GET /version` and `GET /info` as they came, unneeded fields left
//! out.

use bollard::models::{SystemInfo, SystemVersion};
use serde_json::Value;

use super::{EngineReport, socket::Peer};

/// Returns the recorded answers of one engine.
pub(super) fn answers(name: &str) -> Value {
    let file = format!(
        "{}/src/engine/recorded/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Returns the report that comes of answers.
pub(super) fn read(mut answers: Value, peer: Peer) -> EngineReport {
    let version: SystemVersion = serde_json::from_value(answers["version"].take()).unwrap();
    let info: SystemInfo = serde_json::from_value(answers["info"].take()).unwrap();
    EngineReport::of(&version, &info, peer)
}

/// Returns the report of one recorded engine.
pub(super) fn report(name: &str, peer: Peer) -> EngineReport {
    read(answers(name), peer)
}
