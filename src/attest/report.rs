//! What an attestation says, and the form in which it is signed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    engine::EngineReport,
    event::Isolation,
    journal::{Forged, Key, NotHex, PublicKey, Signature},
};

use super::probe::Probe;

/// The version of the form.
const SCHEMA: u32 = 1;
/// What a signature of an attestation begins with.
const PURPOSE: &str = "loki attestation 1";
/// The largest file that is read.
const LARGEST: usize = 1 << 20;

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The sandbox held, and the control shows that the probe would have noticed.
    Pass,
    /// The sandbox did not hold, or nothing was shown.
    Fail,
    /// The row does not apply to a sandbox of this machine; the reason says why.
    NotApplicable,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its row in the list of threats.
    pub id: String,
    /// What must hold.
    pub title: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// How long it took, in milliseconds, waiting for its turn included.
    pub milliseconds: u64,
}

impl Row {
    /// Joins what came of the attack and of its control.
    pub(super) fn of(
        probe: &Probe,
        held: Result<(), String>,
        shown: Result<String, String>,
        milliseconds: u64,
    ) -> Self {
        let (outcome, reason) = match (held, shown) {
            (Err(breach), _) => (Outcome::Fail, breach),
            (Ok(()), Err(missing)) => (
                Outcome::Fail,
                format!("nothing was shown, for the control failed: {missing}"),
            ),
            (Ok(()), Ok(control)) => (Outcome::Pass, format!("held; control: {control}")),
        };
        Self {
            id: probe.id.to_owned(),
            title: probe.title.to_owned(),
            outcome,
            reason,
            milliseconds,
        }
    }

    /// Makes the line of a threat that no probe stands for.
    #[must_use]
    pub fn not_applicable(id: &str, title: &str, reason: &str) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            outcome: Outcome::NotApplicable,
            reason: reason.to_owned(),
            milliseconds: 0,
        }
    }
}

/// The engine as it stands in an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// `docker` or `podman`.
    pub engine: String,
    /// Its version.
    pub version: String,
    /// Whether it runs without root.
    pub rootless: bool,
    /// The host's cgroup version.
    pub cgroup: String,
    /// The OCI runtime.
    pub oci_runtime: String,
    /// Its version, empty where the engine does not tell.
    pub oci_runtime_version: String,
    /// The kernel's release.
    pub kernel: String,
}

impl Runtime {
    /// Takes over what an engine says.
    #[must_use]
    pub fn of(report: &EngineReport, kernel: String) -> Self {
        Self {
            engine: report.name.to_owned(),
            version: report.version.clone(),
            rootless: report.rootless,
            cgroup: report.cgroup.to_string(),
            oci_runtime: report.runtime.clone(),
            oci_runtime_version: report.runtime_version.clone(),
            kernel,
        }
    }
}

/// What came of attacking the sandbox of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The version of this form.
    pub schema: u32,
    /// The version of Loki.
    pub loki: String,
    /// When it began.
    pub made: Timestamp,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// Engine and kernel.
    pub runtime: Runtime,
    /// What was enforced on the sandboxes, read back after the start.
    pub isolation: Isolation,
    /// The role.
    pub role: String,
    /// The hash of the policy.
    pub policy: String,
    /// The image, by digest.
    pub image: String,
    /// The rows that were asked for; empty is all.
    pub only: Vec<String>,
    /// The table.
    pub rows: Vec<Row>,
}

impl Attestation {
    /// The version that this program writes.
    pub const SCHEMA: u32 = SCHEMA;

    /// Returns how many rows ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows
            .iter()
            .filter(|row| row.outcome == outcome)
            .count()
    }

    /// Returns whether something passed and nothing failed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.count(Outcome::Fail) == 0 && self.count(Outcome::Pass) > 0
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &Key) -> Signed {
        let signature = key.sign(PURPOSE, &canonical(&self)).to_string();
        Signed {
            attestation: self,
            public_key: key.public().to_string(),
            signature,
        }
    }
}

/// Returns the bytes that are signed: JSON without white space, the keys of every object in the
/// order of their bytes, in UTF-8, escaped only where JSON must.
fn canonical(attestation: &Attestation) -> Vec<u8> {
    let value = serde_json::to_value(attestation).expect("an attestation is JSON");
    serde_json::to_vec(&sorted(&value)).expect("an attestation is JSON")
}

/// Orders keys, whatever the library does.
fn sorted(value: &Value) -> Ordered<'_> {
    match value {
        Value::Object(map) => Ordered::Object(
            map.iter()
                .map(|(key, value)| (key.as_str(), sorted(value)))
                .collect(),
        ),
        Value::Array(items) => Ordered::Array(items.iter().map(sorted).collect()),
        plain => Ordered::Plain(plain),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Ordered<'a> {
    Object(BTreeMap<&'a str, Self>),
    Array(Vec<Self>),
    Plain(&'a Value),
}

/// A signed attestation, as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// What is signed.
    pub attestation: Attestation,
    /// The key that signed it, 64 hexadecimal digits.
    pub public_key: String,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
}

/// Why a file is no attestation to go by.
#[derive(Debug, thiserror::Error)]
pub enum NotSound {
    /// It is not one of this form.
    #[error("it is not an attestation of this form: {0}")]
    Form(#[source] serde_json::Error),
    /// It is larger than an attestation can be.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// It has another version.
    #[error(
        "it has version {0} of the form, this program knows {SCHEMA}; use the loki that wrote it"
    )]
    Version(u32),
    /// Its key or its signature is none.
    #[error(transparent)]
    NotHex(#[from] NotHex),
    /// Another key signed it.
    #[error("it was signed with another key, {0}; `--key` names the one to trust")]
    OtherKey(PublicKey),
    /// The signature does not fit.
    #[error(transparent)]
    Forged(#[from] Forged),
}

impl Signed {
    /// Reads what was saved and checks it against the key that is trusted.
    ///
    /// # Errors
    /// Why it cannot be trusted.
    pub fn verified(text: &[u8], trusted: &PublicKey) -> Result<Self, NotSound> {
        if text.len() > LARGEST {
            return Err(NotSound::TooLarge);
        }
        // Unknown and repeated fields are refused, so that nothing stands in it unsigned.
        let signed: Self = serde_json::from_slice(text).map_err(NotSound::Form)?;
        if signed.attestation.schema != SCHEMA {
            return Err(NotSound::Version(signed.attestation.schema));
        }
        let key: PublicKey = signed.public_key.parse()?;
        if key != *trusted {
            return Err(NotSound::OtherKey(key));
        }
        let signature: Signature = signed.signature.parse()?;
        key.verify(PURPOSE, &canonical(&signed.attestation), &signature)?;
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attestation() -> Attestation {
        Attestation {
            schema: SCHEMA,
            loki: "0.1.0".to_owned(),
            made: "2026-01-02T03:04:05Z".parse().unwrap(),
            milliseconds: 5,
            runtime: Runtime {
                engine: "docker".to_owned(),
                version: "1".to_owned(),
                rootless: false,
                cgroup: "v2".to_owned(),
                oci_runtime: "runc".to_owned(),
                oci_runtime_version: "\"\\\n\u{1f}é".to_owned(),
                kernel: "6".to_owned(),
            },
            isolation: Isolation::default(),
            role: "eng-backend".to_owned(),
            policy: "0".to_owned(),
            image: "sha256:0".to_owned(),
            only: Vec::new(),
            rows: vec![Row::not_applicable("N8", "a title", "a reason")],
        }
    }

    fn key() -> (tempfile::TempDir, Key) {
        let home = tempfile::tempdir().unwrap();
        let key = Key::open_or_make(home.path()).unwrap();
        (home, key)
    }

    #[test]
    fn the_signed_bytes_are_exactly_these() {
        let text = String::from_utf8(canonical(&attestation())).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"image":"sha256:0","isolation":{"cgroup":"","cgroup_limits":false,"components":{},"engine":"","#,
                r#""held":{"by":"nothing","memory":null,"millicpus":null,"processes":null},"landlock_abi":0,"#,
                r#""landlock_lacks":[],"no_capabilities":false,"no_network":false,"no_new_privs":false,"#,
                r#""noexec":[],"rootless":false,"runtime":"","seccomp":false,"selinux_label_off":false,"uid":0,"#,
                r#""write_meter":false},"loki":"0.1.0","#,
                r#""made":"2026-01-02T03:04:05Z","milliseconds":5,"only":[],"policy":"0","role":"eng-backend","#,
                r#""rows":[{"id":"N8","milliseconds":0,"outcome":"not_applicable","reason":"a reason","#,
                r#""title":"a title"}],"runtime":{"cgroup":"v2","engine":"docker","kernel":"6","oci_runtime":"runc","#,
                r#""oci_runtime_version":"\"\\\n\u001fé","rootless":false,"version":"1"},"schema":1}"#
            )
        );
    }

    #[test]
    fn a_signed_attestation_holds_however_its_json_is_laid_out() {
        let (_home, key) = key();
        let signed = attestation().sign(&key);
        for text in [
            serde_json::to_vec(&signed).unwrap(),
            serde_json::to_vec_pretty(&signed).unwrap(),
        ] {
            assert_eq!(Signed::verified(&text, &key.public()).unwrap(), signed);
        }
    }

    #[test]
    fn no_byte_that_means_something_can_be_changed() {
        let (_home, key) = key();
        let text = serde_json::to_string(&attestation().sign(&key)).unwrap();
        let (_other, stranger) = self::key();
        for (from, to) in [
            ("not_applicable", "pass"),
            ("a reason", "another"),
            ("\"only\":[]", "\"only\":[\"N8\"]"),
            ("\"uid\":0", "\"uid\":1"),
            ("\"schema\":1", "\"schema\":2"),
            ("{\"attestation\":{", "{\"attestation\":{\"extra\":1,"),
            (
                "\"role\":\"eng-backend\"",
                "\"role\":\"eng-backend\",\"role\":\"eng-qa\"",
            ),
            ("\"signature\":\"", "\"signature\":\"0"),
            (&key.public().to_string(), &stranger.public().to_string()),
        ] {
            assert!(text.contains(from), "{from}");
            let changed = text.replacen(from, to, 1);
            assert!(
                Signed::verified(changed.as_bytes(), &key.public()).is_err(),
                "{from} → {to}"
            );
        }
        let own = attestation().sign(&stranger);
        let text = serde_json::to_vec(&own).unwrap();
        assert!(matches!(
            Signed::verified(&text, &key.public()),
            Err(NotSound::OtherKey(_))
        ));
    }

    #[test]
    fn an_attestation_in_which_nothing_passed_is_not_sound() {
        let mut found = attestation();
        assert!(!found.is_sound());
        found.rows.push(Row {
            outcome: Outcome::Pass,
            ..found.rows[0].clone()
        });
        assert!(found.is_sound());
        found.rows.push(Row {
            outcome: Outcome::Fail,
            ..found.rows[0].clone()
        });
        assert!(!found.is_sound());
    }
}
