//! Pausing a container: its cgroup is frozen, so that nothing in it runs until it is resumed.

use super::{
    ContainerId, EngineError,
    call::{CHANGE, absent, within},
    client::Client,
};

/// How often a container is paused that does not come to rest.
const TRIES: u32 = 3;

/// Whether the runtime gave up on a cgroup in which something kept starting programs: on hosts with
/// old cgroups a busy machine has it give up at times, and the next try succeeds.
fn is_restless(fault: &EngineError) -> bool {
    matches!(fault, EngineError::Api { message, .. } if message.contains("unable to freeze"))
}

impl Client {
    /// Freezes a container, and resumes one that was frozen too late to be of use.
    pub(super) async fn freeze(&self, id: &ContainerId) -> Result<(), EngineError> {
        let call = format!("pause the container `{id}`");
        let mut tries = 0;
        loop {
            let frozen = within(&call, CHANGE, self.docker.pause_container(id.as_str())).await;
            let frozen = absent(frozen, "container", id.as_str());
            let Err(fault) = frozen else {
                return Ok(());
            };
            // The fault is what is told; where nothing was frozen there is nothing to resume.
            self.thaw(id).await.ok();
            tries += 1;
            if tries == TRIES || !is_restless(&fault) {
                return Err(fault);
            }
        }
    }

    /// Resumes a container.
    pub(super) async fn thaw(&self, id: &ContainerId) -> Result<(), EngineError> {
        let call = format!("resume the container `{id}`");
        let thawed = within(&call, CHANGE, self.docker.unpause_container(id.as_str())).await;
        absent(thawed, "container", id.as_str())
    }
}
