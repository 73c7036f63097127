//! What Podman says of itself in the words of its own API: everything in one answer.
//!
//! Its answers to Docker's two questions have less in them, and each of the three has it look up
//! which packages its programs are from: 16 searches through the distribution's database for
//! Docker's two questions, 6 for this one, measured with Podman 4.3 on Debian 12.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    facts::{Cgroup, EngineReport, number},
    socket::Peer,
};

/// Where the profile stands that a distribution ships; one in `/etc` is the machine's own.
const DEFAULT_PROFILE: &str = "/usr/share/containers/seccomp.json";

/// The parts of the answer that are needed, under the names they came with.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Description {
    host: Host,
    store: Store,
    version: Version,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    cgroup_version: String,
    /// Those that this service may use.
    #[serde(default)]
    cgroup_controllers: Vec<String>,
    conmon: Program,
    oci_runtime: Program,
    security: Security,
}

/// A program, and what it printed when it was asked for its version.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Program {
    #[serde(default)]
    name: String,
    path: PathBuf,
    version: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Security {
    rootless: bool,
    seccomp_enabled: bool,
    #[serde(default)]
    seccomp_profile_path: String,
    #[serde(default, rename = "selinuxEnabled")]
    selinux: bool,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Store {
    graph_driver_name: String,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
}

impl Description {
    /// The programs whose versions it tells.
    pub(super) fn programs(&self) -> [&Path; 2] {
        [&self.host.conmon, &self.host.oci_runtime].map(|program| program.path.as_path())
    }

    /// Joins the answer with the version of Docker's API that is spoken besides, and with what the
    /// socket told.
    pub(super) fn report(self, api_version: String, peer: Peer) -> EngineReport {
        let Host {
            oci_runtime,
            security,
            ..
        } = self.host;
        let rootless = peer == Peer::User || security.rootless;
        let cgroup = match self.host.cgroup_version.as_str() {
            "v2" => Cgroup::V2,
            _ => Cgroup::old(),
        };
        let held = ["memory", "pids", "cpu"];
        let has = |name: &str| self.host.cgroup_controllers.iter().any(|one| one == name);
        let runtime_version = number(&oci_runtime.version).to_owned();
        let components = [
            ("conmon", number(&self.host.conmon.version)),
            ("podman engine", &self.version.version),
            (&oci_runtime.name, &runtime_version),
        ];
        let components: BTreeMap<_, _> = components
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .into();
        EngineReport {
            name: "podman",
            version: self.version.version,
            api_version,
            rootless,
            remapped: false,
            cgroup,
            runtime: oci_runtime.name,
            runtime_version,
            components,
            seccomp: security.profile(),
            selinux: security.selinux,
            storage: self.store.graph_driver_name,
            endpoint: String::new(),
            limits: held.into_iter().all(has) && !(rootless && cgroup != Cgroup::V2),
            tmpfs_inodes: false,
        }
    }
}

impl Security {
    fn profile(&self) -> String {
        match self.seccomp_profile_path.as_str() {
            _ if !self.seccomp_enabled => "none",
            "" | DEFAULT_PROFILE => "default",
            own => own,
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::recorded;

    fn changed(path: &str, value: serde_json::Value) -> EngineReport {
        let mut answers = recorded::answers("podman-4.3-rootful");
        *answers["libpod"].pointer_mut(path).unwrap() = value;
        recorded::read(answers, Peer::Root)
    }

    #[test]
    fn a_profile_of_the_machines_own_is_not_called_default() {
        let profile = "/host/security/seccompProfilePath";
        assert_eq!(changed(profile, "".into()).seccomp, "default");
        assert_eq!(changed(profile, DEFAULT_PROFILE.into()).seccomp, "default");
        let own = "/etc/containers/seccomp.json";
        assert_eq!(changed(profile, own.into()).seccomp, own);
        assert_eq!(changed(profile, "unconfined".into()).seccomp, "unconfined");
        let without = changed("/host/security/seccompEnabled", false.into());
        assert_eq!(without.seccomp, "none");
    }

    #[test]
    fn an_answer_that_lacks_what_is_needed_is_none() {
        for path in ["/host", "/host/ociRuntime", "/host/security", "/version"] {
            let mut answer = recorded::answers("podman-4.3-rootful")["libpod"].take();
            *answer.pointer_mut(path).unwrap() = serde_json::Value::Null;
            assert!(
                serde_json::from_value::<Description>(answer).is_err(),
                "{path}"
            );
        }
    }
}
