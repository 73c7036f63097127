//! The roles that come with Loki: all are there, each has what its work needs and no more, and
//! `docs/roles.md` says the same as the policy.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use loki::{
    engine::images,
    name::Role,
    policy::{Policy, Program, Rights, Tier},
};

use super::harness::source::root;

/// Every role that a person is promised, by swarm.
const SWARMS: [(&str, &str, &[&str]); 7] = [
    (
        "Engineering",
        "eng",
        &[
            "frontend", "backend", "database", "mobile", "api", "qa", "perf", "infra",
        ],
    ),
    (
        "Operations",
        "ops",
        &[
            "devops",
            "sre",
            "security",
            "monitor",
            "incident",
            "release",
            "cost",
            "compliance",
        ],
    ),
    (
        "Business",
        "biz",
        &[
            "marketing",
            "sales",
            "finance",
            "legal",
            "support",
            "hr",
            "investor",
            "partnerships",
        ],
    ),
    ("Data", "data", &["ml", "eng", "analytics"]),
    ("Product", "prod", &["pm", "design", "techwriter"]),
    (
        "Growth",
        "growth",
        &["hacker", "community", "success", "lifecycle"],
    ),
    ("Review", "review", &["code", "business", "security"]),
];
/// Loki's own: for copies that are thrown away, and what agent programs need.
const INTERNAL: [&str; 3] = ["check", "install", "provider-claude"];

/// Programs that run any code they are given, free to call the system as they like.
const INTERPRETERS: [&str; 9] = [
    "python3", "node", "perl", "java", "gcc", "rustc", "go", "make", "gdb",
];

/// What runs on a person's machine or in a pipeline, outside every sandbox.
const RUNS_OUTSIDE: [&str; 27] = [
    ".git/hooks/pre-commit",
    ".gitattributes",
    ".gitmodules",
    ".github/workflows/ci.yml",
    ".gitlab-ci.yml",
    ".circleci/config.yml",
    ".buildkite/pipeline.yml",
    ".travis.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "Jenkinsfile",
    ".ci/run",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".devcontainer/devcontainer.json",
    ".husky/pre-commit",
    ".pre-commit-config.yaml",
    ".envrc",
    ".npmrc",
    ".cargo/config.toml",
    ".mcp.json",
    ".claude/settings.json",
    "AGENTS.md",
    "Makefile",
    "build.rs",
    "package.json",
    "setup.py",
];

fn policy() -> Policy {
    Policy::check(&Policy::builtin_sources()).expect("the shipped policies are valid")
}

fn rights(policy: &Policy, role: &str) -> Rights {
    let role: Role = role.parse().expect("a role's name");
    policy
        .rights(&role)
        .unwrap_or_else(|| panic!("there is no role `{role}`"))
}

fn promised() -> Vec<String> {
    let of = |swarm: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{swarm}-{name}")).collect()
    };
    SWARMS
        .iter()
        .flat_map(|(_, swarm, names)| of(swarm, names))
        .collect()
}

fn runs(rights: &Rights, program: &str) -> bool {
    rights
        .programs
        .contains(&Program::Image(program.to_owned()))
}

fn own_programs(rights: &Rights) -> Vec<&str> {
    let own = rights.programs.iter().filter_map(|program| match program {
        Program::Worktree(glob) => Some(glob.text.as_str()),
        Program::Image(_) => None,
    });
    own.collect()
}

fn written(rights: &Rights) -> Vec<&str> {
    let globs = rights.files.write.0.iter();
    globs.map(|glob| glob.text.as_str()).collect()
}

#[test]
fn roles_are_the_promised_ones_and_loki_s_own() {
    let policy = policy();
    let there: BTreeSet<String> = policy.roles().map(ToString::to_string).collect();
    let expected: BTreeSet<String> = promised()
        .into_iter()
        .chain(INTERNAL.map(str::to_owned))
        .collect();
    assert_eq!(promised().len(), 37);
    assert_eq!(there, expected);
}

#[test]
fn roles_have_a_description_a_tier_and_an_image_that_exists() {
    let policy = policy();
    let known = [images::known(), images::layers()].concat();
    let mut said = BTreeSet::new();
    for role in policy.roles() {
        let rights = rights(&policy, role.as_str());
        assert!(
            rights.description.ends_with('.') && rights.description.len() > 20,
            "{role}"
        );
        assert!(
            said.insert(rights.description.clone()),
            "{role} says what another says"
        );
        let is_provider = role.as_str().starts_with("provider-");
        assert_eq!(policy.tier(role).is_none(), is_provider, "{role}");
        let lies_over = images::layers().contains(&rights.image.as_str());
        assert_eq!(lies_over, is_provider, "{role}");
        assert!(
            known.contains(&rights.image.as_str()),
            "{role}: {}",
            rights.image
        );
    }
    assert_eq!(rights(&policy, "eng-backend").image, "base");
}

#[test]
fn roles_that_judge_read_everything_write_nothing_and_reach_nothing() {
    let policy = policy();
    for role in promised().iter().filter(|role| role.starts_with("review-")) {
        let rights = rights(&policy, role);
        assert!(rights.is_read_only(), "{role}");
        assert!(
            rights.files.read.matches("any/where/.hidden").is_some(),
            "{role}"
        );
        assert!(
            own_programs(&rights).is_empty() && rights.egress.rules.is_empty(),
            "{role}"
        );
    }
}

#[test]
fn roles_write_directories_of_their_own_and_nothing_that_runs_outside_a_sandbox() {
    let policy = policy();
    for role in promised() {
        let rights = rights(&policy, &role);
        assert_eq!(
            rights.is_read_only(),
            role.starts_with("review-"),
            "{role} writes nothing, or a reviewer something"
        );
        for glob in written(&rights) {
            let directory = glob.strip_suffix("/**");
            let plain =
                directory.is_some_and(|path| !path.is_empty() && !path.contains(['*', '{']));
            assert!(plain, "{role}: `{glob}` is no directory below the root");
            let hidden = glob.split('/').any(|part| part.starts_with('.'));
            assert!(!hidden, "{role}: `{glob}`");
        }
        for path in RUNS_OUTSIDE {
            assert!(
                rights.files.write.matches(path).is_none(),
                "{role} may write `{path}`"
            );
        }
    }
}

#[test]
fn roles_may_run_what_they_build_below_their_own_globs_and_nowhere_else() {
    let policy = policy();
    for role in promised() {
        let rights = rights(&policy, &role);
        let (own, written) = (own_programs(&rights), written(&rights));
        assert!(
            own.is_empty() || own == written,
            "{role} runs {own:?} and writes {written:?}"
        );
        let builds = role.starts_with("eng-") && role != "eng-infra"
            || ["data-ml", "data-eng"].contains(&role.as_str());
        assert_eq!(!own.is_empty(), builds, "{role}");
    }
}

#[test]
fn roles_that_build_nothing_have_no_interpreter_and_no_compiler() {
    let policy = policy();
    let asks_python = |role: &str| role.starts_with("review-") || role == "data-analytics";
    for role in promised() {
        let rights = rights(&policy, &role);
        if !own_programs(&rights).is_empty() {
            continue;
        }
        for program in INTERPRETERS {
            let allowed = program == "python3" && asks_python(&role);
            assert_eq!(runs(&rights, program), allowed, "{role} and {program}");
        }
    }
}

#[test]
fn roles_reach_nothing_but_finance_its_payments_and_a_provider_its_model() {
    let policy = policy();
    for role in policy.roles() {
        let egress = rights(&policy, role.as_str()).egress;
        assert_eq!(
            egress.rules.is_empty(),
            !["biz-finance", "provider-claude"].contains(&role.as_str()),
            "{role}"
        );
    }
    let finance = rights(&policy, "biz-finance");
    assert_eq!(reaches(&finance), "`api.stripe.com:443`");
    assert!(runs(&finance, "curl"));
    assert_eq!(written(&finance), ["finance/**", "docs/finance/**"]);
}

#[test]
fn roles_that_deal_with_people_do_not_see_the_source() {
    let policy = policy();
    for role in promised() {
        let rights = rights(&policy, &role);
        let outside = role.starts_with("biz-") || role.starts_with("growth-");
        for path in ["src/main.rs", "tests/secret.py", ".env"] {
            let seen = rights.files.read.matches(path).is_some();
            assert_eq!(seen, !outside, "{role} and `{path}`");
        }
        assert!(
            rights.files.read.matches("docs/guide.md").is_some(),
            "{role}"
        );
    }
}

fn reaches(rights: &Rights) -> String {
    let rules = rights.egress.rules.iter();
    let shown: Vec<String> = rules
        .map(|rule| match &rule.host {
            loki::policy::HostPattern::Exact(name) => format!("`{name}:{}`", rule.port),
            loki::policy::HostPattern::Wildcard(name) => format!("`*.{name}:{}`", rule.port),
        })
        .collect();
    if shown.is_empty() {
        "–".to_owned()
    } else {
        shown.join(" ")
    }
}

fn code(globs: &[&str]) -> String {
    if globs.is_empty() {
        return "nothing".to_owned();
    }
    let quoted: Vec<String> = globs.iter().map(|glob| format!("`{glob}`")).collect();
    quoted.join(" ")
}

fn row(policy: &Policy, role: &str) -> String {
    let rights = rights(policy, role);
    let tier = match policy.tier(&rights.role) {
        Some(Tier::Planning) => "planning",
        Some(Tier::Development) => "development",
        Some(Tier::Fast) => "fast",
        None => "–",
    };
    let read: Vec<&str> = rights
        .files
        .read
        .0
        .iter()
        .map(|glob| glob.text.as_str())
        .collect();
    let read = if read == ["**"] {
        "everything".to_owned()
    } else {
        code(&read)
    };
    format!(
        "| `{role}` | {} | {} | {tier} | {read} | {} | {} |\n",
        rights.description.trim_end_matches('.'),
        rights.image,
        code(&written(&rights)),
        reaches(&rights)
    )
}

/// The part of `docs/roles.md` between its two marks, as the policy has it.
fn tables() -> String {
    let policy = policy();
    let mut text = String::new();
    for (title, swarm, names) in SWARMS {
        write!(text, "\n### {title}\n\n| role | for | image | tier | reads | writes | reaches |\n|---|---|---|---|---|---|---|\n")
            .expect("a string takes every text");
        for name in names {
            text.push_str(&row(&policy, &format!("{swarm}-{name}")));
        }
    }
    text.push('\n');
    text
}

#[test]
fn roles_that_build_write_at_a_pace_that_does_not_slow_them_and_others_at_the_default() {
    let policy = Policy::check(&Policy::builtin_sources()).expect("the shipped policy is valid");
    let roles = SWARMS
        .iter()
        .flat_map(|(_, swarm, roles)| roles.iter().map(move |role| format!("{swarm}-{role}")))
        .chain(INTERNAL.map(str::to_owned));
    for name in roles {
        let role: Role = name.parse().expect("a role's name");
        let rates = policy.rights(&role).expect("the role is there").rates;
        let builds = name.starts_with("eng-") || ["check", "data-ml", "data-eng"].contains(&&*name);
        let expected = match &*name {
            "install" => (None, 0),
            _ if builds => (Some(6000), 6),
            _ => (Some(600), 0),
        };
        let found = (rates.file_writes_per_minute, rates.uncounted.0.len());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn roles_on_the_page_are_those_of_the_policy() {
    let path = root().join("docs/roles.md");
    let page = fs::read_to_string(&path).expect("docs/roles.md is there");
    let (marks, tables) = (["<!-- roles -->\n", "<!-- end of roles -->"], tables());
    let (head, rest) = page
        .split_once(marks[0])
        .expect("the page has its first mark");
    let (shown, tail) = rest
        .split_once(marks[1])
        .expect("the page has its second mark");
    if shown != tables && std::env::var_os("UPDATE_DOCS").is_some() {
        let whole = [head, marks[0], &tables, marks[1], tail].concat();
        fs::write(&path, whole).expect("docs/roles.md can be written");
        return;
    }
    assert!(
        shown == tables,
        "docs/roles.md is stale: run `UPDATE_DOCS=1 cargo test --test main roles_on_the_page`, then look at the difference"
    );
}
