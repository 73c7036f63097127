//! Lays the entries of all files over each other, and holds an untrusted project to narrowing.
//!
//! ```text
//! for each role: its base's entries, then default < patterns < its own; within a key by layer
//! project trusted ── View::Whole ─────────────────────────────────────────► fields
//! else: View::Narrowing ── narrowed to what View::Lower gives ─► fields + what was ignored
//! ```
//! Narrowing needs a proof ([`Cover`]): what is not provably less than the lower layers give is
//! ignored and said to be.

use super::{
    EgressRule, Layer,
    cover::{Cover, Written, is_at},
    denials,
    fields::{Fields, List},
    file::{Content, Entry, Key},
    sheet::{Place, Placed},
};
use crate::name::Role;

/// Which entries count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Those of every layer.
    Whole,
    /// Those of the layers that need no trust.
    Lower,
    /// Those of every layer, but no role starts from another because the project says so.
    Narrowing,
}

/// All entries, in the order in which they are laid over each other.
pub(super) struct Stack<'c> {
    entries: Vec<&'c Entry>,
}

impl<'c> Stack<'c> {
    pub(super) fn new(contents: &'c [Content]) -> Self {
        let entries = contents.iter().flat_map(|content| &content.entries);
        let mut entries: Vec<_> = entries.collect();
        // Stable: within one key the layers keep their order, the later one last.
        entries.sort_by_key(|entry| (rank(&entry.key), entry.layer));
        Self { entries }
    }

    pub(super) fn entries(&self) -> &[&'c Entry] {
        &self.entries
    }

    /// Returns the role that `role` starts from, none when it starts from nothing.
    pub(super) fn base(&self, role: &Role, view: View) -> Option<&'c Placed<Role>> {
        let own = |entry: &&&Entry| {
            let counts = view == View::Whole || entry.layer != Layer::Project;
            counts && matches!(&entry.key, Key::Exact(exact) if exact == role)
        };
        let bases = self.entries.iter().filter(own);
        bases
            .filter_map(|entry| entry.fields.extends.as_ref())
            .next_back()
    }

    /// Returns the role, its base, the base of that, and so on until nothing new comes.
    pub(super) fn lineage(&self, role: &Role, view: View) -> Vec<Role> {
        let mut line = vec![role.clone()];
        while let Some(base) = self.base(line.last().unwrap_or(role), view) {
            if line.contains(&base.value) {
                break;
            }
            line.push(base.value.clone());
        }
        line
    }

    /// Returns what all entries say together about a role.
    pub(super) fn fields(&self, role: &Role, view: View) -> Fields {
        let mut line = self.lineage(role, view);
        line.reverse();
        let mut fields = Fields::default();
        for (generation, role) in line.iter().enumerate() {
            let older = &line[..generation];
            for entry in &self.entries {
                let counts = view != View::Lower || entry.layer != Layer::Project;
                let is_new = !older.iter().any(|role| entry.key.covers(role));
                if counts && is_new && entry.key.covers(role) {
                    fields.overlay(&entry.fields);
                }
            }
        }
        fields
    }

    /// Returns what holds for a role while the project is not trusted.
    pub(super) fn narrowed(&self, role: &Role) -> (Fields, Vec<Widening>) {
        let fields = self.fields(role, View::Narrowing);
        let lower = self.fields(role, View::Lower);
        let mut ignored = Vec::new();
        let fields = narrow(fields, lower, &mut ignored);
        let held = self.base(role, View::Lower).map(|base| &base.value);
        let base = self.base(role, View::Whole);
        let base = base.filter(|base| is_project(base.place) && held != Some(&base.value));
        ignored.extend(base.map(|base| Widening {
            place: base.place,
            what: format!("extends: {}", base.value),
        }));
        (fields, ignored)
    }
}

/// Returns how specific a key is: `default`, then patterns by length, then roles.
fn rank(key: &Key) -> (u8, usize) {
    match key {
        Key::Default => (0, 0),
        Key::Pattern(length, _) => (1, *length),
        Key::Exact(_) => (2, 0),
    }
}

/// Something of an untrusted project that would give a role more.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Widening {
    pub(super) place: Place,
    pub(super) what: String,
}

fn is_project(place: Place) -> bool {
    place.layer == Layer::Project
}

fn narrow(mut fields: Fields, lower: Fields, ignored: &mut Vec<Widening>) -> Fields {
    let Fields {
        read,
        write,
        execute,
        host_executable,
        egress,
        uncounted,
        secrets,
        ..
    } = lower;
    list("read", &mut fields.read, read, ignored, |_, _| true);
    list("write", &mut fields.write, write, ignored, |_, _| true);
    // What a denial took whole is gone below too: a part of it would be more.
    let execute = execute.map(|list| Placed {
        value: denials::programs_left(list.value, &lower.bounds.execute).0,
        ..list
    });
    list("execute", &mut fields.execute, execute, ignored, |_, _| {
        true
    });
    list(
        "host_executable",
        &mut fields.host_executable,
        host_executable,
        ignored,
        |_, _| true,
    );
    list("egress", &mut fields.egress, egress, ignored, agrees);
    list(
        "uncounted",
        &mut fields.uncounted,
        uncounted,
        ignored,
        |_, _| true,
    );
    list("secrets", &mut fields.secrets, secrets, ignored, |_, _| {
        true
    });
    same("image", &mut fields.image, lower.image, ignored);
    same("tier", &mut fields.tier, lower.tier, ignored);
    let project = fields
        .limits
        .clone()
        .into_iter()
        .filter(|(_, value)| is_project(value.place));
    for (limit, value) in project {
        let held = lower.limits.get(&limit).copied();
        let than = held.map_or_else(|| limit.default(), |held| held.value);
        if !limit.is_looser(value.value, than) {
            continue;
        }
        ignored.push(Widening {
            place: value.place,
            what: format!("{}: {}", limit.name(), limit.show(value.value)),
        });
        fields.limits.remove(&limit);
        fields.limits.extend(held.map(|held| (limit, held)));
    }
    fields
}

/// Keeps of a project's list what the lower layers give, and of theirs what the project names.
fn list<T: Cover<T> + Written + Clone>(
    name: &str,
    mine: &mut Option<List<T>>,
    lower: Option<List<T>>,
    ignored: &mut Vec<Widening>,
    agrees: impl Fn(&T, &[Placed<T>]) -> bool,
) {
    let Some(list) = mine.as_mut().filter(|list| is_project(list.place)) else {
        return;
    };
    let lower = lower.map_or_else(Vec::new, |list| list.value);
    let asked = std::mem::take(&mut list.value);
    for item in &asked {
        let given = lower.iter().any(|given| given.value.covers(&item.value));
        if given && agrees(&item.value, &lower) {
            list.value.push(item.clone());
        } else {
            ignored.push(Widening {
                place: item.place,
                what: format!("{name}: {}", item.value.written()),
            });
        }
    }
    for given in &lower {
        let named = asked.iter().any(|item| item.value.covers(&given.value));
        let kept = list
            .value
            .iter()
            .any(|item| item.value.covers(&given.value));
        if named && !kept && agrees(&given.value, &lower) {
            list.value.push(given.clone());
        }
    }
}

/// Returns whether no lower rule for some of the same names says that something else is spoken, or
/// that another credential is added: which one counts depends on rules that a project may leave
/// out.
fn agrees(rule: &EgressRule, lower: &[Placed<EgressRule>]) -> bool {
    let credential = |rule: &EgressRule| rule.request.as_ref()?.credential.clone();
    lower.iter().map(|other| &other.value).all(|other| {
        let meets = is_at(other, rule) || is_at(rule, other);
        !meets || (other.protocol == rule.protocol && credential(other) == credential(rule))
    })
}

/// Puts back a value of the project's that is not the lower layers' own.
fn same<T: PartialEq + Clone>(
    name: &str,
    mine: &mut Option<Placed<T>>,
    lower: Option<Placed<T>>,
    ignored: &mut Vec<Widening>,
) {
    let Some(asked) = mine.clone().filter(|value| is_project(value.place)) else {
        return;
    };
    if lower
        .as_ref()
        .is_some_and(|lower| lower.value == asked.value)
    {
        return;
    }
    ignored.push(Widening {
        place: asked.place,
        what: name.to_owned(),
    });
    *mine = lower;
}

#[cfg(test)]
mod tests;
