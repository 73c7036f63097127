//! Makes rights of the fields that are said about a role: bounds applied, defaults filled in, every
//! value with its origin.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Egress, Files, Globs, HostEntry, HostKind, Layer, Origin, Program, Rates, Rights, Tier, Trust,
    delivery::{self, Given},
    denials,
    fields::{Fields, List},
    file::Content,
    host_files::{self, Granted},
    layers::{Stack, View, Widening},
    limits::{self, Limit},
    provider::{self, is_internal},
    sheet::{Place, Placed, Sheet},
};
use crate::name::Role;

/// The rights of every role.
pub(super) type Roles = BTreeMap<Role, (Arc<Rights>, Option<Tier>)>;

/// What makes the widenings of a project take effect.
pub(super) const TRUST: &str = "look at it, then run `loki policy trust`";

/// Where fields become rights, and what was found on the way.
pub(super) struct Bench<'b, 'a, 'c> {
    pub(super) sheets: &'b mut [Sheet<'a>],
    pub(super) stack: &'b Stack<'c>,
    pub(super) hosts: Vec<HostEntry>,
    /// Whose needs are added to every role that works.
    pub(super) provider: Option<Role>,
    pub(super) widenings: Vec<(Role, Widening)>,
}

impl Bench<'_, '_, '_> {
    /// Returns the rights of `roles`, the project held to what `trust` gives it.
    pub(super) fn roles(&mut self, roles: &BTreeSet<Role>, trust: Trust) -> Roles {
        let mut made = Roles::new();
        let needs = self.provider.as_ref().map(|entry| match trust {
            Trust::Pinned => self.stack.fields(entry, View::Whole),
            Trust::No => self.stack.narrowed(entry).0,
        });
        for role in roles {
            let mut fields = match trust {
                Trust::Pinned => self.stack.fields(role, View::Whole),
                Trust::No => {
                    let (fields, widenings) = self.stack.narrowed(role);
                    let widenings = widenings.into_iter().map(|one| (role.clone(), one));
                    self.widenings.extend(widenings);
                    fields
                }
            };
            if let Some(needs) = needs.as_ref().filter(|_| !is_internal(role)) {
                provider::add(&mut fields, needs.clone());
            }
            made.insert(role.clone(), self.rights(role.clone(), fields));
        }
        made
    }

    /// Tries every `expect` case. Those of an untrusted project are about what its files mean, so
    /// they are tried as if it were trusted: it cannot make a start fail by not being trusted.
    pub(super) fn expect(
        &mut self,
        contents: &[Content],
        roles: &BTreeSet<Role>,
        (made, trust): (&Roles, Trust),
    ) {
        let is_project = |sheet: &Sheet<'_>| sheet.source().layer == Layer::Project;
        let untrusted = trust == Trust::No && self.sheets.iter().any(is_project);
        let meant = untrusted.then(|| self.roles(roles, Trust::Pinned));
        for (sheet, content) in self.sheets.iter_mut().zip(contents) {
            let tried = match &meant {
                Some(meant) if is_project(sheet) => meant,
                _ => made,
            };
            for case in &content.cases {
                let rights = tried.get(&case.role).map(|(rights, _)| rights);
                if let Some((message, help)) = rights.and_then(|rights| case.failure(rights)) {
                    sheet.fault(case.act.place.at, message, Some(help));
                }
            }
        }
    }

    /// Notes everything of the project that was ignored, once, with the roles it was meant for.
    pub(super) fn say_widenings(&mut self) {
        let mut said: Vec<(Widening, Vec<Role>)> = Vec::new();
        for (role, widening) in std::mem::take(&mut self.widenings) {
            match said.iter_mut().find(|(known, _)| *known == widening) {
                Some((_, roles)) => roles.push(role),
                None => said.push((widening, vec![role])),
            }
        }
        for (Widening { place, what }, roles) in said {
            let whom = match roles.as_slice() {
                [one] => format!("`{one}`"),
                more => format!("{} roles", more.len()),
            };
            let message =
                format!("`{what}` would widen {whom} and is ignored: the project is not trusted");
            self.sheets[place.sheet].note(place.at, message, Some(TRUST.to_owned()));
        }
    }

    fn origin(&self, place: Place) -> Origin {
        self.sheets[place.sheet].origin(place.at)
    }

    fn rights(&mut self, role: Role, mut fields: Fields) -> (Arc<Rights>, Option<Tier>) {
        self.bound(&mut fields);
        let origins = self.origins(&fields);
        let tier = fields.tier.map(|said| said.value);
        let bounds = fields.bounds;
        let (programs, gone) = denials::programs_left(listed(fields.execute), &bounds.execute);
        self.say_gone(gone);
        let kinds = host_files::left(listed(fields.host_executable), &bounds.host_executable);
        let given = values(listed(fields.secrets));
        let number = |limit: Limit| {
            let said = fields.limits.get(&limit);
            said.map_or_else(|| limit.default(), |said| said.value)
        };
        let reads: Vec<_> = bounds.read.iter().collect();
        let writes: Vec<_> = bounds.write.iter().chain(&bounds.read).collect();
        let rights = Rights {
            role,
            description: fields
                .description
                .map(|said| said.value)
                .unwrap_or_default(),
            image: fields
                .image
                .map_or_else(|| "base".to_owned(), |said| said.value),
            files: Files {
                read: denials::globs_left(listed(fields.read), &reads),
                write: denials::globs_left(listed(fields.write), &writes),
            },
            host_executable: self.host_kinds(kinds),
            program_origins: self.program_origins(&programs),
            programs: values(programs),
            egress: Egress {
                rules: denials::rules_left(listed(fields.egress), &bounds.hosts),
                hosts: self.hosts.clone(),
                denied: values(bounds.hosts),
                ask: number(Limit::OnDeny) > 0.0,
            },
            resources: limits::resources(number),
            rates: Rates {
                uncounted: Globs(values(listed(fields.uncounted))),
                ..limits::rates(number)
            },
            minimum: limits::minimum(number),
            secrets: delivery::names(&given),
            deliveries: given.into_iter().filter_map(Given::delivery).collect(),
            origins,
        };
        (Arc::new(rights), tier)
    }

    fn say_gone(&mut self, gone: Vec<(Place, String)>) {
        for (place, program) in gone {
            let message =
                format!("`{program}` is not run at all: a `deny` entry covers a part of it");
            let help =
                "the kernel's rules hold whole directories: list those that may run".to_owned();
            self.sheets[place.sheet].note(place.at, message, Some(help));
        }
    }

    /// Holds numbers to every `maximum`. A number of an earlier layer is lowered; one of the same
    /// or a later layer is a fault.
    fn bound(&mut self, fields: &mut Fields) {
        for (limit, most) in std::mem::take(&mut fields.bounds.maximum) {
            let said = fields.limits.get(&limit).copied();
            let value = said.map_or_else(|| limit.default(), |said| said.value);
            if !limit.is_looser(value, most.value) {
                continue;
            }
            if let Some(said) = said.filter(|said| said.place.layer >= most.place.layer) {
                let message = format!(
                    "`{}: {}` is above the maximum",
                    limit.name(),
                    limit.show(value)
                );
                let help = format!(
                    "{} allows at most {}",
                    self.origin(most.place),
                    limit.show(most.value)
                );
                let sheet = &mut self.sheets[said.place.sheet];
                sheet.fault(said.place.at, message, Some(help));
            }
            fields.limits.insert(limit, most);
        }
    }

    fn origins(&self, fields: &Fields) -> BTreeMap<&'static str, Origin> {
        let places = [
            (
                "description",
                fields.description.as_ref().map(|said| said.place),
            ),
            ("extends", fields.extends.as_ref().map(|said| said.place)),
            ("image", fields.image.as_ref().map(|said| said.place)),
            ("tier", fields.tier.as_ref().map(|said| said.place)),
            ("read", fields.read.as_ref().map(|said| said.place)),
            ("write", fields.write.as_ref().map(|said| said.place)),
            ("execute", fields.execute.as_ref().map(|said| said.place)),
            (
                "host_executable",
                fields.host_executable.as_ref().map(|said| said.place),
            ),
            ("egress", fields.egress.as_ref().map(|said| said.place)),
            (
                "uncounted",
                fields.uncounted.as_ref().map(|said| said.place),
            ),
            ("secrets", fields.secrets.as_ref().map(|said| said.place)),
        ];
        let limits = fields
            .limits
            .iter()
            .map(|(limit, said)| (limit.name(), Some(said.place)));
        let all = places.into_iter().chain(limits);
        all.filter_map(|(name, place)| Some((name, self.origin(place?))))
            .collect()
    }

    fn host_kinds(&self, kinds: Vec<Placed<Granted>>) -> Vec<HostKind> {
        let kind = |kind: Placed<Granted>| HostKind {
            origin: self.origin(kind.place),
            kind: kind.value.0,
        };
        kinds.into_iter().map(kind).collect()
    }

    fn program_origins(&self, programs: &[Placed<Program>]) -> BTreeMap<String, Origin> {
        let image = programs.iter().filter_map(|program| match &program.value {
            Program::Image(name) => Some((name.clone(), self.origin(program.place))),
            Program::Worktree(_) => None,
        });
        image.collect()
    }
}

fn listed<T>(list: Option<List<T>>) -> Vec<Placed<T>> {
    list.map_or_else(Vec::new, |list| list.value)
}

fn values<T>(items: Vec<Placed<T>>) -> Vec<T> {
    items.into_iter().map(|item| item.value).collect()
}
