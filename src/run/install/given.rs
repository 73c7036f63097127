//! What a sandbox is given of what was installed: read-only mounts, and what has programs find them.

use loki_guest::PathRule;

use crate::{
    deps::Lease,
    engine::Mount,
    install::Want,
    sandbox::{Grant, Home},
};

/// Where git looks for names that it leaves out, in every repository of a home.
const IGNORED: &str = ".config/git/ignore";

/// What was installed for a sandbox. While it is held, nobody removes any of it.
#[derive(Debug, Default)]
pub(in crate::run) struct Given {
    parts: Vec<(Want, Lease)>,
}

impl Given {
    pub(super) fn add(&mut self, want: Want, lease: Lease) {
        self.parts.push((want, lease));
    }

    /// The mounts.
    pub(in crate::run) fn mounts(&self) -> Vec<Mount> {
        let mount = |(want, lease): &(Want, Lease)| Mount {
            source: lease.tree.clone(),
            target: want.at(),
            read_only: true,
        };
        self.parts.iter().map(mount).collect()
    }

    /// The environment of programs.
    pub(in crate::run) fn environment(&self) -> Vec<(String, String)> {
        let parts = self.parts.iter();
        parts.flat_map(|(want, _)| want.environment()).collect()
    }

    /// Files of the home directory.
    pub(in crate::run) fn home(&self) -> Vec<Home> {
        let files = self.parts.iter().flat_map(|(want, _)| want.files());
        let covers = self.parts.iter().filter_map(|(want, _)| want.covers());
        let ignored: String = covers.map(|path| format!("/{path}/\n")).collect();
        let ignored = (!ignored.is_empty()).then(|| (IGNORED.to_owned(), ignored));
        files
            .chain(ignored)
            .map(|(path, text)| Home {
                path,
                contents: text.into_bytes(),
                executable: false,
            })
            .collect()
    }

    /// Adds the right to read what was installed and to run it: whoever is given it may run the
    /// program that runs it anyway.
    pub(in crate::run) fn grant(&self, mut grant: Grant) -> Grant {
        grant
            .extra
            .extend(self.parts.iter().map(|(want, _)| PathRule {
                path: want.at(),
                read: true,
                write: false,
                execute: true,
            }));
        grant
    }
}
