//! The kernel and the function that computes rules for it, asked the same questions about random
//! globs and paths: they must agree.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use loki::{
    policy::{Glob, Layer, Origin, Policy, Source},
    sandbox::{Grant, confinement},
};

use super::harness::{World, on_each};

const PROBE: &str = include_str!("harness/probes/agree.py");
const FOLDERS: [&str; 5] = ["src", "a", "docs", "lib", "d.x"];
const PATTERNS: [&str; 6] = ["*", "**", "s*", "{a,lib}", "???", "*.x"];
const POLICIES: usize = 3;

/// Numbers that look random and are the same each time (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// A glob: up to three folders, then perhaps a pattern.
    fn glob(&mut self) -> String {
        loop {
            let mut parts: Vec<&str> = (0..=self.below(3)).map(|_| self.pick(&FOLDERS)).collect();
            parts.push(self.pick(&PATTERNS));
            if self.below(2) == 0 {
                parts.push("file");
            }
            let text = parts.join("/");
            if Glob::parse(&text, Origin::default()).is_ok() {
                return text;
            }
        }
    }

    fn globs(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.glob()).collect()
    }
}

/// Every folder of up to three levels, each with a file that can run.
fn files() -> Vec<String> {
    let mut folders = vec![String::new()];
    for level in 0..3 {
        let below: Vec<String> = folders
            .iter()
            .filter(|folder| folder.matches('/').count() == level)
            .flat_map(|folder| FOLDERS.map(|name| format!("{folder}{name}/")))
            .collect();
        folders.extend(below);
    }
    folders
        .iter()
        .map(|folder| format!("{folder}file"))
        .collect()
}

#[test]
fn live_the_kernel_holds_exactly_what_the_function_says() {
    let files = files();
    on_each(|engine| {
        let world = World::on(engine);
        for file in &files {
            world.write(file, "#!/bin/sh\n");
            fs::set_permissions(world.path(file), fs::Permissions::from_mode(0o755)).unwrap();
        }
        world.commit();
        let asked: String = files.iter().map(|file| format!("/work/{file}\n")).collect();
        let mut dice = Dice(11);
        let mut seen = [0_usize; 3];
        for _ in 0..POLICIES {
            let (write, run) = (dice.globs(5), dice.globs(3));
            let run: Vec<String> = run.iter().map(|glob| format!("./{glob}")).collect();
            let text = format!(
                "version: 1\nagents: {{ eng-dice: {{ image: base }} }}\npermissions:\n  eng-dice:\n    read: [\"**\"]\n    write: {write:?}\n    execute: {:?}\n",
                [&["python3".to_owned(), "sh".to_owned()], &run[..]].concat()
            );
            world.write("p.yaml", &text);
            let role = [
                "sandbox", "run", "--role", "eng-dice", "--policy", "p.yaml", "--",
            ];
            let said = world
                .loki_fed(&[&role[..], &["python3", "-c", PROBE]].concat(), &asked)
                .exits(0);
            let mut sources = Policy::builtin_sources();
            sources.push(Source {
                layer: Layer::Given,
                file: "p.yaml".into(),
                text,
            });
            let policy = Policy::check(&sources).unwrap();
            let rights = policy.rights(&"eng-dice".parse().unwrap()).unwrap();
            let rules = confinement(&rights, &Grant::default()).paths;
            assert_eq!(said.stdout.lines().count(), files.len(), "{said}");
            for line in said.stdout.lines() {
                let (got, path) = line.split_once(' ').unwrap();
                let beneath =
                    |rule: &&loki_guest::PathRule| Path::new(path).starts_with(&rule.path);
                let writes = rules.iter().filter(beneath).any(|rule| rule.write);
                let runs = rules.iter().filter(beneath).any(|rule| rule.execute);
                let expected = match (writes, runs) {
                    (true, true) => "wcxr",
                    (true, false) => "wc-r",
                    (false, true) => "--xr",
                    (false, false) => "---r",
                };
                assert_eq!(got, expected, "{path} under {write:?} and {run:?}");
                for (count, holds) in seen.iter_mut().zip([writes, runs, !writes && !runs]) {
                    *count += usize::from(holds);
                }
            }
        }
        assert!(
            seen.iter().all(|count| *count > 10),
            "too few of a kind were asked: {seen:?}"
        );
    });
}
