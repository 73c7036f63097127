//! Which roles run machine code of their own: only these get file systems from which it may run.
//!
//! A role without such a program gets them `noexec`. Then not even the dynamic loader starts a
//! program from there, which Landlock alone cannot refuse: to it, loading is reading.

use crate::policy::{Program, Rights};

/// Programs that load or make machine code: languages with native modules, and compilers. Shells
/// are not among them: what they start is a program of the image or has a glob of its own.
const LOADING: [&str; 45] = [
    "ar", "as", "bun", "c++", "cargo", "cc", "clang", "clang++", "cmake", "corepack", "deno",
    "dotnet", "g++", "gcc", "gdb", "go", "gradle", "java", "javac", "jshell", "ld", "lua", "make",
    "mvn", "mypy", "ninja", "node", "nodejs", "npm", "npx", "perl", "php", "pip", "pip3", "pnpm",
    "poetry", "pytest", "ruby", "rustc", "rustup", "tox", "uv", "uvx", "valgrind", "yarn",
];

/// Returns whether a role has machine code of its own to run: it may run programs that it builds,
/// or has a program that loads or makes them.
pub(super) fn runs_own_code(rights: &Rights) -> bool {
    rights.programs.iter().any(|program| match program {
        Program::Worktree(_) => true,
        Program::Image(name) => LOADING.contains(&name.as_str()) || name.starts_with("python"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::sample::shipped;

    #[test]
    fn whoever_builds_or_interprets_runs_own_code_and_nobody_else() {
        let mut rights = shipped("eng-backend");
        assert!(runs_own_code(&rights));
        let glob = rights
            .programs
            .iter()
            .find(|program| matches!(program, Program::Worktree(_)))
            .cloned()
            .unwrap();
        for (programs, own) in [
            (vec![], false),
            (vec!["git", "cat", "sh", "bash", "awk", "sed"], false),
            (vec!["git", "python3.12"], true),
            (vec!["node"], true),
        ] {
            let image = |name: &str| Program::Image(name.to_owned());
            rights.programs = programs.into_iter().map(image).collect();
            assert_eq!(runs_own_code(&rights), own, "{:?}", rights.programs);
        }
        rights.programs = vec![glob];
        assert!(runs_own_code(&rights));
    }

    #[test]
    fn the_list_is_sorted_and_says_nothing_twice() {
        assert!(LOADING.is_sorted_by(|a, b| a < b));
    }
}
