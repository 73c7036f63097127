//! What two sandboxes must have in common for one prepared container to do for either.
//!
//! The key is the whole blueprint, without what names a container and its place: whatever a role's
//! rights change about a container, now or in future, makes another key by itself.

use std::path::{Path, PathBuf};

use crate::{digest::Digest, engine::ContainerSpec};

use super::slot::Slot;

/// Everything that the making of a container fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct Key(ContainerSpec);

impl Key {
    /// Takes out of a blueprint what is of this one container alone: its name and labels, where its
    /// slot stands, and that its user is one of its own.
    pub(super) fn of(spec: &ContainerSpec, slot: &Slot) -> Self {
        let mut spec = spec.clone();
        spec.name.clear();
        spec.labels.clear();
        spec.user = (0, 0);
        for mount in &mut spec.mounts {
            if let Ok(within) = mount.source.strip_prefix(slot.path()) {
                mount.source = anywhere(within);
            }
        }
        Self(spec)
    }

    /// Returns twelve hexadecimal digits that tell this key from others, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let digest = Digest::of(format!("{:?}", self.0).as_bytes());
        format!("{digest:.12}")
    }

    /// Returns the image, by digest.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.0.image
    }
}

fn anywhere(within: &Path) -> PathBuf {
    Path::new("slot").join(within)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Labels, Place, blueprint,
        sample::{self, labels, policy},
    };
    use super::*;
    use crate::policy::{Delivery, Form, Program, Rights};

    fn place(user: u32) -> Place {
        Place {
            home_runs: true,
            ..sample::place(user)
        }
    }

    fn key_at(at: &str, rights: &Rights, place: &Place) -> Key {
        let slot = Slot::at(at.into());
        let labels = Labels {
            run: at.to_owned(),
            task: at.to_owned(),
            ..labels()
        };
        Key::of(&blueprint(at, rights, &slot, place, &labels), &slot)
    }

    fn key(rights: &Rights) -> Key {
        key_at("/slots/a", rights, &place(7))
    }

    #[test]
    fn name_labels_slot_and_user_are_of_one_container_alone() {
        let role = sample::shipped("eng-backend");
        let other = Rights {
            role: "eng-other".parse().unwrap(),
            ..role.clone()
        };
        assert_eq!(key(&role), key_at("/elsewhere/b", &other, &place(8)));
        assert_eq!(key(&role).short(), key(&other).short());
        assert_eq!(key(&role).short().len(), 12);
    }

    #[test]
    fn rights_that_change_anything_of_the_container_never_share_one() {
        type Change = (&'static str, fn(&mut Rights));
        let changes: [Change; 8] = [
            ("memory", |rights| rights.resources.memory /= 2),
            ("pids", |rights| rights.resources.pids += 1),
            ("cpus", |rights| rights.resources.cpus /= 2.0),
            ("disk", |rights| rights.resources.disk /= 2),
            ("a worktree that is only read", |rights| {
                rights.files.write.0.clear();
            }),
            ("no programs of its own", |rights| {
                rights.programs = vec![Program::Image("cat".to_owned())];
            }),
            ("secrets in files", |rights| {
                rights.deliveries.push(Delivery {
                    name: "TOKEN".to_owned(),
                    form: Form::File,
                });
            }),
            ("more secrets, less memory", |rights| {
                rights.resources.memory /= 4;
                rights.deliveries.push(Delivery {
                    name: "TOKEN".to_owned(),
                    form: Form::File,
                });
            }),
        ];
        let base = sample::shipped("eng-backend");
        let mut keys = vec![("as it is", key(&base))];
        for (what, change) in changes {
            let mut changed = base.clone();
            change(&mut changed);
            keys.push((what, key(&changed)));
        }
        let images = [
            ("another image", "sha256:1", true),
            ("a home that runs nothing", "sha256:0", false),
        ];
        for (what, image, home_runs) in images {
            let place = Place {
                image: image.to_owned(),
                home_runs,
                ..place(7)
            };
            let mut reader = base.clone();
            reader.programs.clear();
            keys.push((what, key_at("/slots/a", &reader, &place)));
        }
        for (at, (one, first)) in keys.iter().enumerate() {
            for (other, second) in &keys[at + 1..] {
                assert_ne!(first, second, "{one} and {other} share a container");
                assert_ne!(first.short(), second.short(), "{one} and {other}");
            }
        }
    }

    /// Whatever shipped roles differ in, a shared key means an equal container.
    #[test]
    fn shipped_roles_share_exactly_where_their_containers_are_equal() {
        let policy = policy();
        let all: Vec<Rights> = policy
            .roles()
            .filter_map(|role| policy.rights(role))
            .collect();
        let plain = |rights: &Rights| {
            let (slot, place) = (Slot::at("/slot".into()), place(7));
            let mut spec = blueprint("n", rights, &slot, &place, &labels());
            spec.labels.clear();
            spec
        };
        for one in &all {
            for other in &all {
                let equal = plain(one) == plain(other);
                assert_eq!(key(one) == key(other), equal, "{} {}", one.role, other.role);
            }
        }
    }
}
