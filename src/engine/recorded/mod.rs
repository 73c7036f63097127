//! What real engines said of themselves, for tests of modes that cannot be had on every machine.
//! Each file of Docker's holds the answers to `GET /version` and `GET /info` as they came, each of
//! Podman's the one to `GET /libpod/info` and the version of the API from `GET /_ping`; unneeded
//! fields are left out.

use bollard::models::{SystemInfo, SystemVersion};
use serde_json::Value;

use super::{EngineReport, libpod::Description, socket::Peer};

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
    if let Some(api) = answers["api"].as_str().map(str::to_owned) {
        let told: Description = serde_json::from_value(answers["libpod"].take()).unwrap();
        return told.report(api, peer);
    }
    let version: SystemVersion = serde_json::from_value(answers["version"].take()).unwrap();
    let info: SystemInfo = serde_json::from_value(answers["info"].take()).unwrap();
    EngineReport::of(&version, &info, peer)
}

/// Returns the report of one recorded engine.
pub(super) fn report(name: &str, peer: Peer) -> EngineReport {
    read(answers(name), peer)
}
