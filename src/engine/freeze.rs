//! Pausing a container: its cgroup is frozen, so that nothing in it runs until it is resumed.

use super::{
    ContainerId, EngineError,
    call::{CHANGE, absent, within},
    client::Client,
};

impl Client {
    /// Freezes a container, and resumes one that was frozen too late to be of use.
    pub(super) async fn freeze(&self, id: &ContainerId) -> Result<(), EngineError> {
        let call = format!("pause the container `{id}`");
        let frozen = within(&call, CHANGE, self.docker.pause_container(id.as_str())).await;
        let frozen = absent(frozen, "container", id.as_str());
        if frozen.is_err() {
            // The fault is what is told; where nothing was frozen there is nothing to resume.
            self.thaw(id).await.ok();
        }
        frozen
    }

    /// Resumes a container.
    pub(super) async fn thaw(&self, id: &ContainerId) -> Result<(), EngineError> {
        let call = format!("resume the container `{id}`");
        let thawed = within(&call, CHANGE, self.docker.unpause_container(id.as_str())).await;
        absent(thawed, "container", id.as_str())
    }
}
