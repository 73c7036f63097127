//! Runs probes where they must succeed: in a container that is open.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::{
    engine::{Engine, EngineError, Opened, OpenedContainer},
    sandbox::Launcher,
};

use super::{
    probe::{Output, Probe},
    stage::StageError,
};

/// Puts things within reach; every control begins with it.
const OPENING: &str = include_str!("probes/opening.py");
/// Where the sink of a control listens, inside the opened container.
const SINK_PORT: u16 = 8088;

/// The opened container of an attestation. One program runs in it at a time, for they change it.
pub(super) struct Open {
    engine: Arc<dyn Engine>,
    container: Mutex<OpenedContainer>,
}

impl Open {
    /// Creates and starts it.
    pub(super) async fn start(launcher: &Launcher, opened: Opened) -> Result<Self, StageError> {
        let engine = Arc::clone(&launcher.engine);
        let opening = async move { engine.open(&opened).await };
        let container = launcher.see_through(opening).await?;
        Ok(Self {
            engine: Arc::clone(&launcher.engine),
            container: Mutex::new(container.map_err(StageError::Opened)?),
        })
    }

    /// Runs a probe after its opening.
    pub(super) async fn run(&self, probe: &Probe, opening: &str) -> Result<Output, EngineError> {
        let container = self.container.lock().await;
        let argv = ["python3", "-c", &script(probe, opening)].map(str::to_owned);
        let said = self.engine.run_opened(&container, &argv).await?;
        Ok(Output {
            stdout: said.stdout,
            stderr: said.stderr,
            hits: probe.hits,
        })
    }

    /// Removes it.
    pub(super) async fn end(self) -> Result<(), EngineError> {
        self.engine.remove(self.container.into_inner().id()).await
    }
}

/// A JSON string is a Python string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn script(probe: &Probe, opening: &str) -> String {
    let neighbour = quoted(probe.neighbour.unwrap_or_default());
    let program = quoted(probe.program);
    format!(
        "{OPENING}\nSINK_PORT = {SINK_PORT}\nos.environ[\"SINK_PORT\"] = str(SINK_PORT)\n\
         NEIGHBOUR = {neighbour}\nPROBE = {program}\n{opening}\nup(b\"lo\")\n\
         exec(compile(PROBE, \"probe\", \"exec\"), {{\"__name__\": \"__main__\"}})\n"
    )
}
