//! `deny` and `maximum`: read, checked against the rules they close, and taken out of rights.
//!
//! A denial holds for every layer: it only adds up. A rule that a denial covers whole is gone; of
//! one that is covered in part, the part is gone.

use super::{
    DeniedHost, EgressRule, Glob, Globs, Program,
    cover::{self, Cover, Written},
    execute,
    fields::{self, Bounds, Fields, Section, globs, map, text, unknown},
    host_files,
    limits::Limit,
    request::denied,
    sheet::{Place, Placed, Sheet},
    yaml::{Node, Value},
};

/// Reads the value of `deny` or `maximum` in `section`.
pub(super) fn bound(sheet: &mut Sheet<'_>, bounds: &mut Bounds, section: Section, node: &Node) {
    match section {
        Section::Permissions => permissions(sheet, bounds, node),
        Section::NetworkPolicies => {
            bounds.hosts = fields::list(sheet, node, "[\"*.example.com\"]", host).value;
        }
        _ => maximum(sheet, bounds, section, node),
    }
}

fn permissions(sheet: &mut Sheet<'_>, bounds: &mut Bounds, node: &Node) {
    for (key, at, value) in map(sheet, node, "`deny`") {
        match key {
            "read" => bounds.read = globs(sheet, value).value,
            "write" => bounds.write = globs(sheet, value).value,
            "execute" => bounds.execute = execute::list(sheet, value).value,
            "host_executable" => {
                bounds.host_executable = host_files::list(sheet, value).value;
            }
            _ => {
                let known = ["read", "write", "execute", "host_executable"];
                unknown(sheet, (key, at), &known);
            }
        }
    }
}

fn maximum(sheet: &mut Sheet<'_>, bounds: &mut Bounds, section: Section, node: &Node) {
    for (key, at, value) in map(sheet, node, "`maximum`") {
        let Some(limit) = Limit::named(section, key) else {
            let known: Vec<_> = section.limits().map(Limit::name).collect();
            unknown(sheet, (key, at), &known);
            continue;
        };
        let number = limit.read(sheet, value);
        let placed = number.map(|number| (limit, sheet.placed(number, value.at)));
        bounds.maximum.extend(placed);
    }
}

/// Reads `*.example.com`, `api.example.com:443` or `*`, or which requests are denied.
fn host(sheet: &mut Sheet<'_>, node: &Node) -> Option<DeniedHost> {
    if matches!(node.value, Value::Map(_)) {
        return denied::entry(sheet, node);
    }
    let given = text(sheet, node, "a host such as \"*.example.com\"")?;
    let (names, port) = match given.rsplit_once(':') {
        Some((names, port)) if !names.contains(':') => (names, Some(port)),
        _ => (given, None),
    };
    let port = match port.map(|port| (port.parse::<u16>(), port)) {
        None => None,
        Some((Ok(number), port)) if number > 0 && !port.starts_with('+') => Some(number),
        Some((_, port)) => {
            let message = format!("`{}` is not a port", port.escape_debug());
            sheet.fault(node.at, message, Some("ports are 1 to 65535".to_owned()));
            return None;
        }
    };
    match names.parse() {
        Ok(names) => Some(DeniedHost {
            names,
            port,
            request: None,
            origin: sheet.origin(node.at),
        }),
        Err(error) => {
            let error: super::HostError = error;
            let help = "a denial names a host, `*.example.com` for all below one, or `*`";
            sheet.fault(node.at, error.to_string(), Some(help.to_owned()));
            None
        }
    }
}

/// A rule that can never match, and the denial that sees to that.
pub(super) struct Dead {
    pub(super) place: Place,
    pub(super) rule: String,
    pub(super) denial: Place,
}

/// Returns the rules of an entry's `fields` that `bounds` of the same or an earlier layer close
/// altogether. Items that stand at one place, such as the programs of a group, die together.
pub(super) fn dead(fields: &Fields, bounds: &Bounds) -> Vec<Dead> {
    let mut dead = Vec::new();
    let reads: Vec<_> = bounds.read.iter().collect();
    let writes: Vec<_> = bounds.write.iter().chain(&bounds.read).collect();
    let programs: Vec<_> = bounds.execute.iter().collect();
    let hosts: Vec<_> = bounds.hosts.iter().collect();
    let kinds: Vec<_> = bounds.host_executable.iter().collect();
    closed(&mut dead, fields.read.as_ref(), &reads);
    closed(&mut dead, fields.write.as_ref(), &writes);
    closed(&mut dead, fields.execute.as_ref(), &programs);
    closed(&mut dead, fields.egress.as_ref(), &hosts);
    closed(&mut dead, fields.host_executable.as_ref(), &kinds);
    dead
}

fn closed<T: Written, D: Cover<T>>(
    dead: &mut Vec<Dead>,
    list: Option<&fields::List<T>>,
    denials: &[&Placed<D>],
) {
    let items = list.map_or(&[][..], |list| &list.value);
    let covering = |item: &Placed<T>| {
        let covers = |denial: &&&Placed<D>| {
            denial.place.layer <= item.place.layer && denial.value.covers(&item.value)
        };
        denials.iter().find(covers).map(|denial| denial.place)
    };
    for group in items.chunk_by(|a, b| a.place == b.place) {
        let covered: Option<Vec<Place>> = group.iter().map(covering).collect();
        if let Some(denial) = covered.and_then(|places| places.first().copied()) {
            dead.push(Dead {
                place: group[0].place,
                rule: group[0].value.written(),
                denial,
            });
        }
    }
}

/// Returns what denials leave of globs.
pub(super) fn globs_left(globs: Vec<Placed<Glob>>, denials: &[&Placed<Glob>]) -> Globs {
    let open = |glob: &Placed<Glob>| {
        !denials
            .iter()
            .any(|denial| denial.value.covers(&glob.value))
    };
    let left = |glob: Placed<Glob>| {
        let touching = denials
            .iter()
            .filter(|denial| !cover::apart(&denial.value, &glob.value));
        Glob {
            except: touching.map(|denial| denial.value.clone()).collect(),
            ..glob.value
        }
    };
    Globs(globs.into_iter().filter(open).map(left).collect())
}

/// Returns the programs that denials leave, and those that are gone although only a part of them
/// is denied: the kernel's rules hold whole directories, and nothing else looks at what runs.
pub(super) fn programs_left(
    programs: Vec<Placed<Program>>,
    denials: &[Placed<Program>],
) -> (Vec<Placed<Program>>, Vec<(Place, String)>) {
    let touches = |program: &Program| {
        denials.iter().any(|denial| match (&denial.value, program) {
            (Program::Worktree(denial), Program::Worktree(glob)) => !cover::apart(denial, glob),
            (denial, program) => denial.covers(program),
        })
    };
    let (gone, left): (Vec<_>, Vec<_>) = programs.into_iter().partition(|one| touches(&one.value));
    let in_part = gone.into_iter().filter(|program| {
        !denials
            .iter()
            .any(|denial| denial.value.covers(&program.value))
    });
    let in_part = in_part.map(|program| (program.place, program.value.written()));
    (left, in_part.collect())
}

/// Returns the egress rules that no denial closes whole.
pub(super) fn rules_left(
    rules: Vec<Placed<EgressRule>>,
    denials: &[Placed<DeniedHost>],
) -> Vec<EgressRule> {
    let open = |rule: &EgressRule| !denials.iter().any(|denial| denial.value.covers(rule));
    rules
        .into_iter()
        .map(|rule| rule.value)
        .filter(open)
        .collect()
}
