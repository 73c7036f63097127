//! Reading a container back: what it is, not what it was asked to be.

use serde_json::Value;

use super::{
    ContainerId, ContainerSpec, ContainerState, Engine, EngineError, body, client::Client, raw,
};

impl Client {
    /// Reads a container back, and removes it unless it is what was asked for.
    pub(super) async fn confirmed(
        &self,
        id: &ContainerId,
        spec: &ContainerSpec,
    ) -> Result<ContainerState, EngineError> {
        let fault = match self.inspect_whole(id).await {
            Ok(found) => {
                let faults = body::faults(spec, &found, &self.dialect);
                if faults.is_empty() {
                    return Ok(found);
                }
                EngineError::Mismatch { faults }
            }
            Err(fault) => fault,
        };
        self.remove(id).await?;
        Err(fault)
    }

    /// Like inspect, with the runtime that Podman tells only in the words of its own API: asked
    /// meanwhile.
    async fn inspect_whole(&self, id: &ContainerId) -> Result<ContainerState, EngineError> {
        if !self.report.is_podman() {
            return self.inspect(id).await;
        }
        let call = format!("tell the runtime of the container `{id}`");
        let path = format!("/v4.0.0/libpod/containers/{id}/json");
        let own = raw::get::<Value>(&self.socket, &path, &call);
        let (found, own) = futures_util::try_join!(self.inspect(id), own)?;
        let runtime = own["OCIRuntime"].as_str().unwrap_or_default();
        // A path, where the service's settings name one.
        let name = runtime.rsplit('/').next().unwrap_or_default();
        Ok(ContainerState {
            runtime: name.to_owned(),
            ..found
        })
    }
}
