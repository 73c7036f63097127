//! What is wanted of a pool, with what is alike joined: any of several roles may get such a slot.

use crate::name::Role;

use super::{
    super::{
        Labels,
        launch::{Launcher, Occupant},
    },
    Kind, Want,
};

/// Wants that are alike.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    /// One of them: any would make the same container.
    pub(super) want: Want,
    pub(super) roles: Vec<Role>,
    pub(super) coming: u32,
    pub(super) open: u32,
}

impl Asked {
    /// Joins wants that are alike.
    pub(super) fn all(launcher: &Launcher, wants: Vec<Want>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for want in wants {
            let kind = Kind {
                key: launcher.key(&want.occupant()),
                contents: want.contents.clone(),
            };
            let (role, coming, open) = (want.rights.role.clone(), want.coming, want.open);
            match all.iter_mut().find(|asked| asked.kind == kind) {
                Some(asked) => {
                    asked.roles.push(role);
                    asked.coming += coming;
                    asked.open += open;
                }
                None => all.push(Self {
                    kind,
                    want,
                    roles: vec![role],
                    coming,
                    open,
                }),
            }
        }
        all
    }
}

impl Want {
    /// Returns an occupant whose container would be this one.
    pub(super) fn occupant(&self) -> Occupant {
        Occupant {
            name: String::new(),
            rights: self.rights.clone(),
            labels: Labels {
                run: String::new(),
                task: String::new(),
                repository: String::new(),
                owner: String::new(),
            },
            home: self.home.clone(),
            image: self.image.clone(),
            given: Vec::new(),
        }
    }
}
