//! The least rights that recorded runs needed, as a policy file with its reasons.
//!
//! A journal knows what was connected to and what was committed. It does not know which programs
//! ran or what was read: those stay as the role has them, and the file says so.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    EgressRule, Glob, Globs, HostPattern, Origin, Permit, Policy, Target, decide, egress, written,
};
use crate::{
    event::{Breach, EgressKind, Event},
    name::{Role, TaskId},
    text::visible,
};

/// The most globs that are listed one by one; more are named by their directories.
const MOST: usize = 100;

/// What runs needed, by role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    roles: BTreeMap<Role, Need>,
    tasks: BTreeMap<TaskId, Role>,
}

/// What one role needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Need {
    connected: BTreeMap<(String, u16), u64>,
    /// With the last reason.
    denied: BTreeMap<(String, Option<u16>), (u64, String)>,
    /// Paths, each with the number of commits that changed it.
    wrote: BTreeMap<String, u64>,
    /// Paths that the gate refused.
    refused: BTreeMap<String, u64>,
    /// Whether the gate ever looked at its work. Else nothing is known of what it writes.
    gated: bool,
}

impl Needs {
    /// Adds what one event tells; `paths` says what a commit changed. Events of one run come in
    /// their order, after those of the run before.
    pub fn note(&mut self, event: &Event, paths: &dyn Fn(&str) -> Vec<String>) {
        match event {
            Event::RunStarted { .. } => self.tasks.clear(),
            Event::Planned { tasks } => {
                let of = |task: &crate::task::Task| (task.id.clone(), task.role.clone());
                self.tasks = tasks.iter().map(of).collect();
            }
            Event::SandboxStarted { role, .. } => drop(self.of(role)),
            Event::Egress { .. } => self.egress(event),
            Event::Gated { task, breaches, .. } => self.gated(task, breaches),
            Event::Committed { task, commit, .. } | Event::Waiting { task, commit, .. } => {
                if let Some(need) = self.of_task(task) {
                    for path in paths(commit) {
                        *need.wrote.entry(path).or_default() += 1;
                    }
                }
            }
            _ => {}
        }
    }

    fn of(&mut self, role: &Role) -> &mut Need {
        self.roles.entry(role.clone()).or_default()
    }

    fn of_task(&mut self, task: &TaskId) -> Option<&mut Need> {
        let role = self.tasks.get(task)?.clone();
        Some(self.of(&role))
    }

    fn egress(&mut self, event: &Event) {
        let Event::Egress {
            role,
            kind,
            host,
            port,
            allowed,
            reason,
            count,
            ..
        } = event
        else {
            return;
        };
        // What came of it follows as a decision of its own.
        if *kind == EgressKind::Ask {
            return;
        }
        let need = self.of(role);
        match (kind, allowed, port) {
            (EgressKind::Connect, true, Some(port)) => {
                *need.connected.entry((host.clone(), *port)).or_default() += count;
            }
            (_, false, _) => {
                let told = need.denied.entry((host.clone(), *port)).or_default();
                told.0 += count;
                told.1 = reason.clone().unwrap_or_default();
            }
            _ => {}
        }
    }

    fn gated(&mut self, task: &TaskId, breaches: &[Breach]) {
        if let Some(need) = self.of_task(task) {
            need.gated = true;
            for breach in breaches
                .iter()
                .filter(|breach| breach.rule == "write-globs")
            {
                *need.refused.entry(breach.path.clone()).or_default() += 1;
            }
        }
    }

    /// Returns the roles that did something.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.keys()
    }
}

/// Returns the policy file for all roles, or for one. `policy` says what the roles have now;
/// `source` says which runs the needs are from.
#[must_use]
pub fn yaml(needs: &Needs, policy: &Policy, (only, source): (Option<&Role>, &str)) -> String {
    let chosen = |(role, _): &(&Role, &Need)| only.is_none_or(|only| only == *role);
    let needs: Vec<(&Role, &Need)> = needs.roles.iter().filter(chosen).collect();
    let mut file = format!(
        "# The least rights that {} needed: hosts that were connected to, paths that were committed.\n\
         # What a journal does not hold is left as each role has it: which programs ran (`execute`)\n\
         # and what was read (`read`). Commented lines were asked for and denied.\n\
         version: 1\n",
        visible(source)
    );
    section(
        &mut file,
        "agents",
        needs
            .iter()
            .filter(|(role, _)| policy.rights(role).is_none())
            .map(|(role, _)| format!("  {role}: {{}} # no `agents` section names it today\n")),
    );
    section(
        &mut file,
        "permissions",
        needs
            .iter()
            .filter(|(_, need)| need.gated || !need.wrote.is_empty())
            .map(|(role, need)| format!("  {role}:\n{}", writes(need))),
    );
    section(
        &mut file,
        "network_policies",
        needs
            .iter()
            .map(|(role, need)| format!("  {role}:\n{}", connects(role, need, policy))),
    );
    file
}

fn section(file: &mut String, name: &str, entries: impl Iterator<Item = String>) {
    let entries: String = entries.collect();
    if !entries.is_empty() {
        write!(file, "\n{name}:\n{entries}").expect("a String takes every text");
    }
}

/// Returns a list with its comments; `items` and `denied` are whole lines without indent.
fn list(field: &str, items: &[String], denied: &[String]) -> String {
    let mut text = format!(
        "    {field}:{}\n",
        if items.is_empty() { " []" } else { "" }
    );
    let denied = denied.iter().map(|line| format!("# {line}"));
    for line in items.iter().cloned().chain(denied) {
        writeln!(text, "      {line}").expect("a String takes every text");
    }
    text
}

fn writes(need: &Need) -> String {
    let items: Vec<String> = globs(&need.wrote)
        .into_iter()
        .map(|(glob, (files, commits))| {
            let files = counted(files, "file");
            let commits = counted(commits, "change");
            format!("- {} # {files}, {commits}", written::quoted(&glob))
        })
        .collect();
    let refused = need.refused.iter().map(|(path, times)| {
        let times = counted(*times, "time");
        let path = written::quoted(&visible(path));
        format!("- {path} # refused {times} at the hand-over")
    });
    let unnamed = need.wrote.keys().filter(|path| !is_nameable(path));
    let unnamed = unnamed.map(|path| {
        let path = written::quoted(&visible(path));
        format!("- {path} # changed, but no glob can name it: name a directory above it")
    });
    let refused: Vec<String> = refused.chain(unnamed).collect();
    list("write", &items, &refused)
}

fn connects(role: &Role, need: &Need, policy: &Policy) -> String {
    let mut items = Vec::new();
    let mut denied = Vec::new();
    for ((host, port), count) in &need.connected {
        let times = counted(*count, "connection");
        match rules(role, (host, *port), policy) {
            Some(rules) => {
                items.extend(rules.iter().map(|rule| format!("- {rule} # {times}")));
            }
            None => denied.push(format!(
                "- {} # {times}; say what is spoken there: {{ host, port, protocol }}",
                written::quoted(&visible(&format!("{host}:{port}")))
            )),
        }
    }
    for ((host, port), (count, reason)) in &need.denied {
        let asked = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        denied.push(format!(
            "- {} # denied {}: {}",
            written::quoted(&visible(&asked)),
            counted(*count, "time"),
            visible(reason)
        ));
    }
    list("egress", &items, &denied)
}

/// Returns the rules for exactly one target. What is spoken and asked there is what the role's
/// policy has for it, else the port's usual protocol; none where neither says it.
fn rules(role: &Role, (host, port): (&str, u16), policy: &Policy) -> Option<Vec<String>> {
    let name = host.parse().ok()?;
    let target = Target { name, port };
    let rights = policy.rights(role);
    let egress = rights.as_ref().map(|rights| &rights.egress);
    let now = egress.and_then(|egress| decide(egress, &target).ok());
    let usual = egress::usual(port);
    let protocol = now.as_ref().map(Permit::protocol).or(usual)?;
    if let (Some(egress), true) = (egress, now.is_some_and(|permit| permit.inspected())) {
        let covering = egress
            .rules
            .iter()
            .filter(|rule| rule.covers_target(&target));
        let alone = |rule: &EgressRule| EgressRule {
            host: HostPattern::Exact(target.name.clone()),
            ..rule.clone()
        };
        let alone: Vec<EgressRule> = covering.map(alone).collect();
        return Some(written::rules(&alone));
    }
    let Target { name, .. } = target;
    Some(vec![if usual == Some(protocol) {
        written::quoted(&format!("{name}:{port}"))
    } else {
        format!("{{ host: {name}, port: {port}, protocol: {protocol} }}")
    }])
}

type Used = (u64, u64);

/// Returns globs that cover the paths and little more, each with how many files and changes it
/// stands for: a file by its name, several of one directory by `directory/*`.
fn globs(wrote: &BTreeMap<String, u64>) -> BTreeMap<String, Used> {
    let mut siblings = BTreeMap::<&str, u64>::new();
    for path in wrote.keys() {
        *siblings.entry(directory(path)).or_default() += 1;
    }
    let narrow = |path: &str| match (directory(path), siblings[directory(path)]) {
        ("", _) | (_, 1) => literal(path),
        (directory, _) => format!("{}/*", literal(directory)),
    };
    let narrow = grouped(wrote, &narrow);
    if narrow.len() <= MOST {
        return narrow;
    }
    let wide = |depth: usize| {
        move |path: &str| {
            let parts: Vec<&str> = directory(path).split('/').take(depth).collect();
            match parts.join("/").as_str() {
                "" => literal(path),
                directory => format!("{}/**", literal(directory)),
            }
        }
    };
    let two = grouped(wrote, &wide(2));
    if two.len() <= MOST {
        return two;
    }
    grouped(wrote, &wide(1))
}

fn grouped(wrote: &BTreeMap<String, u64>, glob: &dyn Fn(&str) -> String) -> BTreeMap<String, Used> {
    let mut globs = BTreeMap::<String, Used>::new();
    for (path, changes) in wrote.iter().filter(|(path, _)| is_nameable(path)) {
        let used = globs.entry(glob(path)).or_default();
        *used = (used.0 + 1, used.1 + changes);
    }
    globs
}

/// Returns whether some glob can name a path: one that is too long or too deep has none.
fn is_nameable(path: &str) -> bool {
    let glob = Glob::parse(&literal(path), Origin::default());
    glob.is_ok_and(|glob| Globs(vec![glob]).matches(path).is_some())
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Returns a glob for one path: `?` for every byte that a glob cannot hold as itself.
fn literal(path: &str) -> String {
    let mut glob = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        let sign = matches!(c, '*' | '?' | '{' | '}' | '[' | ']' | '\\');
        if sign || (at == 0 && matches!(c, '!' | '~')) || crate::text::is_hidden(c) {
            glob.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else {
            glob.push(c);
        }
    }
    glob
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer, Source};

    fn suggested(paths: &[&str]) -> Vec<String> {
        let wrote = paths.iter().map(|path| ((*path).to_owned(), 1)).collect();
        globs(&wrote).into_keys().collect()
    }

    #[test]
    fn files_are_named_and_directories_only_when_several_files_lie_in_them() {
        let paths = [
            "README.md",
            "src/a.rs",
            "src/b.rs",
            "src/deep/c.rs",
            "notes/x.md",
        ];
        assert_eq!(
            suggested(&paths),
            ["README.md", "notes/x.md", "src/*", "src/deep/c.rs"]
        );
    }

    #[test]
    fn many_directories_become_few_globs() {
        let paths: Vec<String> = (0..300).map(|n| format!("a/{}/{n}/x", n % 7)).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(suggested(&paths).len(), 7);
        let paths: Vec<String> = (0..300).map(|n| format!("a/{n}/x")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(suggested(&paths), ["a/**"]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

        #[test]
        fn every_path_is_covered_and_the_file_is_a_policy(
            paths in proptest::collection::vec("[-ab*?{}!~# :\"'.\\[\\]\\\\\u{202e}\n]{1,6}(/[ab*{}#]{1,3}){0,3}", 1..8),
        ) {
            let mut need = Need { gated: true, ..Need::default() };
            // What git commits is canonical.
            let real = |path: &&String| Globs(vec![Glob::parse("**", Origin::default()).unwrap()]).matches(path).is_some();
            for path in paths.iter().filter(real) {
                need.wrote.insert(path.clone(), 1);
            }
            need.denied.insert((paths[0].clone(), None), (1, paths[0].clone()));
            need.refused.insert(paths[0].clone(), 1);
            let role: Role = "eng-backend".parse().unwrap();
            let needs = Needs { roles: [(role.clone(), need.clone())].into(), ..Needs::default() };
            let now = Policy::check(&Policy::builtin_sources()).unwrap();
            let text = yaml(&needs, &now, (None, "run \u{1b} r1"));
            let mut sources = Policy::builtin_sources();
            sources.push(Source { layer: Layer::Given, file: "own.yaml".into(), text: text.clone() });
            let checked = Policy::check(&sources);
            proptest::prop_assert!(checked.is_ok(), "{text}\n{checked:?}");
            let rights = checked.unwrap().rights(&role).unwrap();
            for path in need.wrote.keys() {
                proptest::prop_assert!(rights.files.write.matches(path).is_some(), "{path:?}\n{text}");
            }
        }
    }
}
