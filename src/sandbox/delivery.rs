//! Secrets that a role sees, put into its sandbox: as files that no disk of the host holds, or as
//! variables. What stays at the gateway never comes here.
//!
//! A file is written from within, by `cat` with the agent's user and no other right than to write
//! there; its value comes through a pipe. Programs of the role may read the files that its rights
//! name and change none.

use std::sync::Arc;

use loki_guest::PathRule;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use crate::{
    policy::{Delivery, Files, Form, Program, Rights},
    redact::{Redactor, Values},
};

use super::{
    confine::Grant,
    fault::SandboxError,
    launch::Launcher,
    standing::{Sandbox, is_reserved},
};

/// The directory of the files, a tmpfs of the container's own.
pub(super) const FILES: &str = "/run/secrets";
/// Bytes that fit into it: more than all that a store may hold.
pub(super) const FILES_SIZE: u64 = 4 << 20;

/// Writes standard input to a file that only its owner may read, and nobody write.
const WRITE: &str = "umask 0377 && cat >\"$1\"";

/// Returns whether any secret of the role comes as a file.
pub(super) fn has_files(rights: &Rights) -> bool {
    files(rights).next().is_some()
}

fn files(rights: &Rights) -> impl Iterator<Item = &Delivery> {
    let all = rights.deliveries.iter();
    all.filter(|delivery| delivery.form == Form::File)
}

fn path(name: &str) -> String {
    format!("{FILES}/{name}")
}

/// Returns what lets the role's programs read its files.
pub(super) fn rules(rights: &Rights) -> impl Iterator<Item = PathRule> {
    files(rights).map(|delivery| PathRule {
        path: path(&delivery.name),
        read: true,
        write: false,
        execute: false,
    })
}

impl Launcher {
    /// Gives roles the secrets that their rights name, out of these.
    #[must_use]
    pub fn with_secrets(mut self, kept: Arc<Values>) -> Self {
        self.redactor = Redactor::new(&kept);
        let values = Arc::clone(&kept);
        self.secrets = Arc::new(move |name| {
            let value = values.get(name)?;
            Some(zeroize::Zeroizing::new(value.to_owned()))
        });
        self.kept = kept;
        self
    }
}

impl Sandbox {
    /// Gives the role what its rights name. Nothing of the role's runs yet.
    pub(super) async fn deliver(&mut self, kept: &Values) -> Result<(), SandboxError> {
        for Delivery { name, form } in self.rights.deliveries.clone() {
            let refused = |why| SandboxError::Secret {
                name: name.clone(),
                why,
            };
            let value = kept
                .get(&name)
                .ok_or_else(|| refused("it is not kept; `loki secrets set NAME` keeps it"))?;
            match form {
                Form::Env if is_reserved(&name) => {
                    return Err(refused(
                        "only Loki sets a variable of this name; deliver a file",
                    ));
                }
                Form::Env => {
                    let value = Zeroizing::new(value.to_owned());
                    self.variables.push((name, value));
                }
                Form::File => {
                    if !self.write(&path(&name), value).await? {
                        return Err(refused(
                            "its file could not be written; has the image `sh` and `cat`?",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a file from within and returns whether that went well.
    async fn write(&self, path: &str, value: &str) -> Result<bool, SandboxError> {
        let rights = Rights {
            programs: ["sh", "cat"]
                .map(|name| Program::Image(name.to_owned()))
                .into(),
            files: Files::default(),
            deliveries: Vec::new(),
            ..(*self.rights).clone()
        };
        let grant = Grant {
            extra: vec![PathRule {
                path: FILES.to_owned(),
                read: true,
                write: true,
                execute: false,
            }],
            read_only: true,
        };
        let argv = ["sh", "-c", WRITE, "sh", path].map(str::to_owned);
        let mut process = self.run(&argv, &[], self.held(&rights, &grant)).await?;
        let fed = match process.stdin.take() {
            Some(mut stdin) => stdin.write_all(value.as_bytes()).await.is_ok(),
            None => false,
        };
        Ok(process.wait().await?.code == 0 && fed)
    }
}
