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
    cover::{Cover, Written},
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

/// Returns whether no lower rule for some of the same names says that something else is spoken:
/// which one counts depends on rules that a project may leave out.
fn agrees(rule: &EgressRule, lower: &[Placed<EgressRule>]) -> bool {
    lower.iter().all(|other| {
        let as_spoken = EgressRule {
            protocol: rule.protocol,
            ..other.value.clone()
        };
        let meets = as_spoken.covers(rule) || rule.covers(&as_spoken);
        !meets || other.value.protocol == rule.protocol
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
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::{Strategy, prop_assert, proptest};

    use crate::{
        diagnostic::Diagnostic,
        policy::{Act, Facts, Layer, Policy, Program, Rights, Source, Trust},
    };

    fn source(layer: Layer, text: &str) -> Source {
        Source {
            layer,
            file: format!("{layer:?}.yaml").into(),
            text: format!("version: 1\n{text}"),
        }
    }

    fn check(sources: &[Source], trust: Trust) -> Result<Policy, Vec<Diagnostic>> {
        let facts = Facts {
            trust,
            ..Facts::default()
        };
        Policy::check_knowing(sources, &facts)
    }

    #[track_caller]
    fn made(sources: &[Source], trust: Trust) -> Policy {
        check(sources, trust).unwrap_or_else(|faults| panic!("{}", shown(&faults)))
    }

    fn shown(remarks: &[Diagnostic]) -> String {
        let lines: Vec<_> = remarks.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn rights(policy: &Policy, role: &str) -> Rights {
        policy.rights(&role.parse().unwrap()).unwrap()
    }

    fn may(policy: &Policy, role: &str, act: &str) -> bool {
        rights(policy, role).judge(&act.parse().unwrap()).allowed
    }

    const LOWER: &str = "agents: { a: { image: base, tier: fast }, b: {} }\n\
        permissions:\n  a: { read: [\"**\"], write: [\"src/**\", \"docs/**\"], execute: [git, sh, \"./target/**\"] }\n\
        network_policies:\n  a: { egress: [\"*.example.com:443\", \"x.test:443\"] }\n\
        resources:\n  a: { memory: 1GiB, timeout: 1h }\n";

    #[test]
    fn a_denial_above_takes_shipped_rules_and_no_layer_below_gives_them_back() {
        let organisation = "permissions: { deny: { write: [\"docs/**\", \"src/keys/**\"], execute: [git] } }\n\
            network_policies: { deny: [\"*.example.com\"] }\n";
        let sources = [
            source(Layer::BuiltIn, LOWER),
            source(Layer::Organisation, organisation),
        ];
        let policy = made(&sources, Trust::No);
        let a = rights(&policy, "a");
        assert_eq!(a.files.write.0.len(), 1, "the covered glob is gone");
        assert_eq!(a.egress.rules.len(), 1, "the covered rule is gone");
        assert!(!a.programs.contains(&Program::Image("git".to_owned())));
        for (act, allowed) in [
            ("write src/a", true),
            ("write src/keys/a", false),
            ("read src/keys/a", true),
            ("write docs/a", false),
            ("run git", false),
            ("connect a.example.com:443", false),
            ("connect x.test:443", true),
        ] {
            assert_eq!(may(&policy, "a", act), allowed, "{act}");
        }
        let verdict = a.judge(&"write src/keys/a".parse().unwrap());
        assert_eq!(
            verdict.rule.as_deref(),
            Some("deny src/keys/** (Organisation.yaml:2)")
        );
        let user = source(
            Layer::User,
            "permissions: { a: { write: [\"src/keys/a\"] } }\nnetwork_policies: { a: { egress: [\"b.example.com:443\"] } }\n",
        );
        let faults = check(&[sources.as_slice(), &[user]].concat(), Trust::No).unwrap_err();
        insta::assert_snapshot!(shown(&faults), @r"
        User.yaml:2:29: `src/keys/a` can never match
        User.yaml:3:35: `b.example.com:443` can never match
        ");
    }

    #[test]
    fn a_denied_program_directory_takes_every_directory_it_touches() {
        let organisation = "permissions: { deny: { execute: [\"./target/debug/**\"] } }\n";
        let sources = [
            source(Layer::BuiltIn, LOWER),
            source(Layer::Organisation, organisation),
        ];
        let policy = made(&sources, Trust::No);
        assert!(!may(&policy, "a", "run ./target/release/x"));
        assert!(shown(policy.notes()).contains("`./target/**` is not run at all"));
    }

    #[test]
    fn a_maximum_lowers_what_is_above_it_and_refuses_what_is_beside_or_below_it() {
        let organisation = "resources: { maximum: { memory: 512MiB, timeout: 2h } }\nrate_limits: { maximum: { file_writes_per_minute: 100 } }\n";
        let sources = [
            source(Layer::BuiltIn, LOWER),
            source(Layer::Organisation, organisation),
        ];
        let a = rights(&made(&sources, Trust::No), "a");
        assert_eq!(a.resources.memory, 512 << 20);
        assert_eq!(a.resources.timeout, Duration::from_secs(3600));
        assert_eq!(
            a.rates.file_writes_per_minute,
            Some(100),
            "a default is lowered too"
        );
        let memory = &a.origins["memory"];
        assert_eq!((memory.layer, memory.line), (Layer::Organisation, 2));
        assert_eq!(a.origins["timeout"].layer, Layer::BuiltIn);
        for above in ["a: { memory: 1GiB }", "default: { memory: 1GiB }"] {
            let user = source(Layer::User, &format!("resources: {{ {above} }}\n"));
            let both = check(&[sources.as_slice(), &[user]].concat(), Trust::No);
            if above.starts_with('a') {
                let faults = both.unwrap_err();
                assert!(shown(&faults).contains("`memory: 1GiB` is above the maximum"));
            } else {
                // The role `b` takes it, `a` does not: one fault, for the one value.
                assert_eq!(both.unwrap_err().len(), 1);
            }
        }
        let higher = source(Layer::User, "resources: { maximum: { memory: 1TiB } }\n");
        let a = rights(
            &made(&[sources.as_slice(), &[higher]].concat(), Trust::No),
            "a",
        );
        assert_eq!(a.resources.memory, 512 << 20, "no maximum below raises it");
    }

    #[test]
    fn an_untrusted_project_narrows_and_what_widens_waits_for_trust() {
        let project = "permissions:\n  a: { write: [\"src/app/**\", \"**\"], execute: [git, curl], deny: { read: [\"src/keys/**\"] } }\n\
            network_policies: { a: { egress: [\"a.example.com:443\", \"new.test:443\"] } }\n\
            resources: { a: { memory: 8GiB, pids: 10 } }\n\
            minimum_isolation: { a: { landlock: 3 } }\n\
            agents: { a: { image: big, description: Ours. }, c: { extends: a } }\n";
        let sources = [
            source(Layer::BuiltIn, LOWER),
            source(Layer::Project, project),
        ];
        let policy = made(&sources, Trust::No);
        for (act, untrusted, trusted) in [
            ("write src/app/x", true, true),
            ("write docs/x", true, true),
            ("write other/x", false, true),
            ("write src/keys/x", false, false),
            ("read src/keys/x", false, false),
            ("run git", true, true),
            ("run sh", false, false),
            ("run curl", false, true),
            ("connect a.example.com:443", true, true),
            ("connect b.example.com:443", false, false),
            ("connect x.test:443", false, false),
            ("connect new.test:443", false, true),
        ] {
            assert_eq!(may(&policy, "a", act), untrusted, "untrusted: {act}");
            let policy = made(&sources, Trust::Pinned);
            assert_eq!(may(&policy, "a", act), trusted, "trusted: {act}");
        }
        let a = rights(&policy, "a");
        assert_eq!((a.resources.memory, a.resources.pids), (1 << 30, 10));
        assert_eq!((a.image.as_str(), a.minimum.landlock), ("base", 3));
        assert_eq!(a.description, "Ours.");
        assert_eq!(rights(&policy, "c").files.write.0, []);
        insta::assert_snapshot!(shown(policy.notes()), @r"
        Project.yaml:3:30: `write: **` would widen `a` and is ignored: the project is not trusted
        Project.yaml:3:52: `execute: curl` would widen `a` and is ignored: the project is not trusted
        Project.yaml:4:56: `egress: new.test:443` would widen `a` and is ignored: the project is not trusted
        Project.yaml:5:27: `memory: 8GiB` would widen `a` and is ignored: the project is not trusted
        Project.yaml:7:23: `image` would widen `a` and is ignored: the project is not trusted
        Project.yaml:7:64: `extends: a` would widen `c` and is ignored: the project is not trusted
        ");
        let policy = made(&sources, Trust::Pinned);
        assert!(policy.notes().is_empty());
        let a = rights(&policy, "a");
        assert_eq!((a.resources.memory, a.image.as_str()), (8 << 30, "big"));
        assert!(may(&policy, "c", "write other/x"));
        assert_ne!(policy.sha256(), made(&sources, Trust::No).sha256());
    }

    #[test]
    fn a_project_pins_no_names_and_gives_up_no_cgroups() {
        for text in [
            "hosts: { m.test: \"127.0.0.1:80\" }\n",
            "minimum_isolation: { default: { cgroup: none } }\n",
        ] {
            for trust in [Trust::No, Trust::Pinned] {
                assert!(
                    check(&[source(Layer::Project, text)], trust).is_err(),
                    "{text}"
                );
            }
        }
        let text = "agents: { a: {} }\nminimum_isolation: { default: { cgroup: none } }\n";
        for layer in [Layer::Organisation, Layer::User] {
            assert!(
                !rights(&made(&[source(layer, text)], Trust::No), "a")
                    .minimum
                    .cgroup
            );
        }
    }

    #[test]
    fn a_projects_own_expectations_are_about_what_its_files_mean() {
        let project =
            "permissions: { a: { execute: [curl] } }\nexpect:\n  - { role: a, allow: run curl }\n";
        let sources = [
            source(Layer::BuiltIn, LOWER),
            source(Layer::Project, project),
        ];
        assert!(!may(&made(&sources, Trust::No), "a", "run curl"));
        let user = source(Layer::User, "expect: [{ role: a, allow: run curl }]\n");
        let faults = check(&[sources.as_slice(), &[user]].concat(), Trust::No).unwrap_err();
        assert_eq!(faults.len(), 1, "{}", shown(&faults));
    }

    #[test]
    fn a_role_that_extends_another_starts_from_all_of_it() {
        let user = "agents: { z-new: { extends: a, description: New. } }\n\
            permissions:\n  z-*: { execute: [sh] }\n  z-new: { write: [docs/a] }\n  a: { deny: { read: [docs/secret] } }\n";
        let sources = [source(Layer::BuiltIn, LOWER), source(Layer::User, user)];
        let new = rights(&made(&sources, Trust::No), "z-new");
        assert_eq!(new.resources.memory, 1 << 30);
        assert_eq!(new.egress.rules.len(), 2);
        assert_eq!(new.programs, [Program::Image("sh".to_owned())]);
        assert!(new.files.write.matches("docs/a").is_some() && new.files.write.0.len() == 1);
        assert!(
            new.files.read.matches("docs/secret").is_none(),
            "denials are inherited"
        );
        assert_eq!(new.origins["write"].line, 5);
        assert_eq!(new.origins["memory"].layer, Layer::BuiltIn);
        assert_eq!(new.program_origins["sh"].line, 4);
    }

    #[test]
    fn a_secret_that_is_kept_may_be_named() {
        let sources = [source(
            Layer::User,
            "agents: { a: {} }\nsecrets: { a: [API_KEY] }\n",
        )];
        let facts = Facts {
            secrets: BTreeSet::from(["API_KEY".to_owned()]),
            trust: Trust::No,
        };
        let policy = Policy::check_knowing(&sources, &facts).unwrap();
        assert_eq!(rights(&policy, "a").secrets, ["API_KEY"]);
        let faults = Policy::check(&sources).unwrap_err();
        assert!(shown(&faults).contains("no secret is called `API_KEY`"));
    }

    #[test]
    fn what_nothing_acts_on_yet_is_noted() {
        let policy = made(
            &[source(
                Layer::User,
                "agent_pool: { max_total: 5 }\nrotation: { notify: [email] }\n",
            )],
            Trust::No,
        );
        assert_eq!(policy.agent_pool().max_total, 5);
        assert_eq!(policy.rotation().grace_period, Duration::from_secs(3600));
        insta::assert_snapshot!(shown(policy.notes()), @r"
        User.yaml:2:1: `agent_pool` is checked, but this version does not act on it yet
        User.yaml:3:1: `rotation` is checked, but this version does not act on it yet
        ");
    }

    /// Entries of one layer for the roles `a` and `a-b`, from few words, so that they meet.
    fn entries() -> impl Strategy<Value = String> {
        let some = |words: &'static [&'static str], often: f64| {
            let list = proptest::sample::subsequence(words.to_vec(), 1..=words.len().min(3));
            proptest::option::weighted(
                often,
                list.prop_map(|words| format!("[{}]", words.join(", "))),
            )
        };
        const GLOBS: &[&str] = &[
            "\"**\"",
            "\"a/**\"",
            "\"a/*\"",
            "\"a/b\"",
            "\"**/b\"",
            "\"{a,b}/**\"",
            "b",
        ];
        const PROGRAMS: &[&str] = &[
            "git",
            "sh",
            "\"@git\"",
            "\"./a/**\"",
            "\"./a/b\"",
            "\"./**\"",
        ];
        const HOSTS: &[&str] = &[
            "\"*.x.test:443\"",
            "\"a.x.test:443\"",
            "{ host: \"*.x.test\", port: 443, protocol: tcp }",
            "{ host: a.x.test, port: 443, protocol: tcp }",
            "\"b.test:80\"",
        ];
        let number = proptest::option::of(1u32..4);
        let fields = (
            some(GLOBS, 0.5),
            some(GLOBS, 0.5),
            some(PROGRAMS, 0.5),
            some(HOSTS, 0.5),
            number,
        );
        // Denials are few: most others would close a rule of their own layer, which is a fault.
        let bounds = (
            some(GLOBS, 0.05),
            some(&["git", "\"./a/b\""], 0.1),
            some(&["a.x.test", "\"*:80\""], 0.1),
        );
        let entry = (fields, bounds, proptest::bool::ANY);
        let keys = ["default", "a-*", "a", "a-b"];
        proptest::collection::vec(proptest::option::of(entry), 4).prop_map(move |all| {
            let (mut agents, mut files, mut net, mut caps) =
                (String::new(), String::new(), String::new(), String::new());
            for (key, entry) in keys.iter().zip(all) {
                let Some((
                    (read, write, execute, egress, number),
                    (no_write, no_run, no_host),
                    extends,
                )) = entry
                else {
                    continue;
                };
                if extends && *key == "a-b" {
                    agents.push_str("  a-b: { extends: a }\n");
                }
                let put = |name: &str, list: Option<String>| {
                    list.map_or_else(String::new, |list| format!("{name}: {list}, "))
                };
                files.push_str(&format!(
                    "  {key}: {{ {}{}{}deny: {{ {}{} }} }}\n",
                    put("read", read),
                    put("write", write),
                    put("execute", execute),
                    put("write", no_write),
                    put("execute", no_run)
                ));
                net.push_str(&format!(
                    "  {key}: {{ {}{} }}\n",
                    put("egress", egress),
                    put("deny", no_host)
                ));
                if let Some(number) = number {
                    caps.push_str(&format!("  {key}: {{ cpus: {number} }}\n"));
                }
            }
            let section = |name: &str, body: String| {
                if body.is_empty() {
                    body
                } else {
                    format!("{name}:\n{body}")
                }
            };
            format!(
                "{}{}{}{}",
                section("agents", agents),
                section("permissions", files),
                section("network_policies", net),
                section("resources", caps)
            )
        })
    }

    fn acts() -> Vec<Act> {
        let mut texts = vec![
            "run git".to_owned(),
            "run sh".to_owned(),
            "run git-shell".to_owned(),
        ];
        for path in ["a/a", "a/b", "a/b/b", "b", "b/b", "c", "c/b"] {
            texts.extend(["read", "write", "run"].map(|verb| format!("{verb} ./{path}")));
        }
        for host in ["a.x.test:443", "b.x.test:443", "b.test:80", "a.b.test:80"] {
            texts.push(format!("connect {host}"));
        }
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(128))]
        /// The one promise about a project that nobody trusts.
        #[test]
        fn an_untrusted_project_never_gives_more_than_the_layers_below(lower in entries(), upper in entries(), project in entries()) {
            let roles = source(Layer::BuiltIn, "agents: { a: {}, a-b: {} }\n");
            let below = [roles, source(Layer::User, &lower), source(Layer::Given, &upper)];
            let with = [below.as_slice(), &[source(Layer::Project, &project)]].concat();
            // Rules that their own denials close are faults, and then nothing runs at all.
            if let (Ok(below), Ok(with)) = (check(&below, Trust::No), check(&with, Trust::No)) {
                for role in ["a", "a-b"] {
                    let (below, with) = (rights(&below, role), rights(&with, role));
                    for act in acts() {
                        let (more, less) = (with.judge(&act), below.judge(&act));
                        prop_assert!(!more.allowed || less.allowed, "{role} may {act}: {more:?}, below {less:?}\n{project}");
                    }
                    prop_assert!(with.resources.cpus <= below.resources.cpus);
                    for name in ["a.x.test", "b.x.test"] {
                        let ports = |rights: &Rights| crate::policy::name_ports(&rights.egress, &name.parse().unwrap());
                        for port in ports(&with) {
                            prop_assert!(ports(&below).contains(&port), "{role} speaks {port:?} with {name}\n{project}");
                        }
                    }
                }
            }
        }
    }
}
