//! Named groups of programs, so that `execute` lists stay short.
//!
//! A group is a fact about images: which names one has to be able to run for a kind of work. A
//! name that an image does not have is no fault, it is simply not there.

/// Every group: its name and the lists of programs of the image that it allows.
const GROUPS: [(&str, &[&[&str]]); 13] = [
    ("@text", &[TEXT]),
    ("@shell", &[TEXT, &["make", "perl"]]),
    (
        "@git",
        &[&[
            "git",
            "git-receive-pack",
            "git-shell",
            "git-upload-archive",
            "git-upload-pack",
        ]],
    ),
    ("@python", &[PYTHON]),
    (
        "@node",
        &[&[
            "node", "nodejs", "npm", "npx", "corepack", "yarn", "pnpm", "tsc", "esbuild",
        ]],
    ),
    ("@rust", &[RUST]),
    ("@go", &[&["go", "gofmt", "compile", "link", "asm"]]),
    (
        "@java",
        &[&["java", "javac", "jar", "jshell", "mvn", "gradle"]],
    ),
    ("@c", &[C]),
    (
        "@db",
        &[&[
            "sqlite3",
            "psql",
            "pg_dump",
            "pg_restore",
            "mysql",
            "mysqldump",
            "redis-cli",
        ]],
    ),
    (
        "@net",
        &[&[
            "curl", "wget", "nc", "ncat", "ssh", "scp", "openssl", "dig", "host", "getent",
        ]],
    ),
    ("@web", &[&["chromium", "chromium-browser", "chromedriver"]]),
    (
        "@debug",
        &[&["gdb", "gdbserver", "ltrace", "strace", "valgrind"]],
    ),
];

/// Shells and the tools of files and text. None of them can be made to run machine code of the
/// agent's own where its files cannot be executed.
const TEXT: &[&str] = &[
    // shells, and what starts other programs
    "sh",
    "bash",
    "dash",
    "env",
    "nice",
    "nohup",
    "timeout",
    "setsid",
    "stdbuf",
    "xargs",
    "time",
    // coreutils
    "[",
    "arch",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "basenc",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cksum",
    "comm",
    "cp",
    "csplit",
    "cut",
    "date",
    "dd",
    "df",
    "dir",
    "dircolors",
    "dirname",
    "du",
    "echo",
    "expand",
    "expr",
    "factor",
    "false",
    "fmt",
    "fold",
    "groups",
    "head",
    "hostid",
    "id",
    "install",
    "join",
    "link",
    "ln",
    "logname",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "nl",
    "nproc",
    "numfmt",
    "od",
    "paste",
    "pathchk",
    "pinky",
    "pr",
    "printenv",
    "printf",
    "ptx",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "stty",
    "sum",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "tty",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "users",
    "vdir",
    "wc",
    "who",
    "whoami",
    "yes",
    // findutils, grep, sed, awk, diff
    "find",
    "locate",
    "grep",
    "egrep",
    "fgrep",
    "rg",
    "sed",
    "awk",
    "gawk",
    "mawk",
    "nawk",
    "cmp",
    "diff",
    "diff3",
    "sdiff",
    "patch",
    "ed",
    // archives
    "tar",
    "gzip",
    "gunzip",
    "zcat",
    "zgrep",
    "bzip2",
    "bunzip2",
    "xz",
    "unxz",
    "xzcat",
    "zstd",
    "unzstd",
    "zip",
    "unzip",
    "cpio",
    // looking at the system and at data
    "ps",
    "pgrep",
    "pkill",
    "kill",
    "free",
    "uptime",
    "top",
    "watch",
    "hostname",
    "which",
    "file",
    "less",
    "more",
    "jq",
    "xxd",
    "hexdump",
    "strings",
    "tput",
    "clear",
    "getopt",
    "column",
    "rev",
    "bc",
    "dc",
    "flock",
    "tree",
    "getconf",
    "locale",
    "ldd",
];

const PYTHON: &[&str] = &[
    "python",
    "python3",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "pip",
    "pip3",
    "pytest",
    "uv",
    "uvx",
    "poetry",
    "ruff",
    "mypy",
    "black",
    "flake8",
    "tox",
    "coverage",
    "pydoc3",
];

const RUST: &[&str] = &[
    "cargo",
    "rustc",
    "rustdoc",
    "rustfmt",
    "rustup",
    "cargo-clippy",
    "clippy-driver",
    "cargo-fmt",
    "cargo-nextest",
    "cc",
    "gcc",
    "ld",
    "ld.lld",
    "lld",
    "rust-lld",
    "as",
    "ar",
    "collect2",
    "lto-wrapper",
];

const C: &[&str] = &[
    "cc",
    "c++",
    "gcc",
    "g++",
    "cpp",
    "cc1",
    "cc1plus",
    "collect2",
    "lto-wrapper",
    "lto1",
    "clang",
    "clang++",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "lld",
    "as",
    "ar",
    "ranlib",
    "nm",
    "objcopy",
    "objdump",
    "strip",
    "cmake",
    "ctest",
    "ninja",
    "pkg-config",
    "gdb",
];

/// Returns every group with its programs.
pub(super) fn groups() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    GROUPS
        .into_iter()
        .map(|(name, lists)| (name, lists.concat()))
}

/// Returns the programs of a group such as `@shell`, none when there is no such group.
pub(super) fn group(name: &str) -> Option<impl Iterator<Item = &'static str>> {
    GROUPS
        .iter()
        .find(|(group, _)| *group == name)
        .map(|(_, lists)| lists.iter().copied().flatten().copied())
}

/// Returns the names of all groups.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(name, _)| *name)
}

/// Returns whether `name` can be the bare name of a program.
pub(super) fn is_bare(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-');
    name == "["
        || (!name.is_empty()
            && name.len() <= 64
            && name.bytes().all(inner)
            && !name.starts_with(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_every_group_is_a_bare_name_and_stands_once() {
        for (name, lists) in GROUPS {
            let programs = lists.concat();
            for program in &programs {
                assert!(is_bare(program), "{name} holds {program:?}");
                assert_eq!(
                    programs.iter().filter(|other| *other == program).count(),
                    1,
                    "{name} {program}"
                );
            }
        }
    }

    #[test]
    fn the_shell_group_runs_ordinary_scripts_and_reaches_no_network() {
        let has = |name: &str, program: &str| group(name).unwrap().any(|other| other == program);
        for program in [
            "sh", "bash", "dash", "env", "cat", "touch", "mkdir", "ls", "cp", "mv", "rm", "find",
            "grep", "sed", "awk", "sort", "head", "tail", "wc", "id", "diff", "tar", "sleep",
            "test",
        ] {
            assert!(has("@text", program) && has("@shell", program), "{program}");
        }
        assert!(!has("@shell", "curl") && has("@net", "curl"));
    }

    #[test]
    fn the_text_group_has_no_interpreter_that_is_free_to_call_the_system() {
        let text: Vec<&str> = group("@text").unwrap().collect();
        let free = ["@python", "@node", "@java", "@c", "@debug", "@web"];
        let free = free.iter().flat_map(|name| group(name).unwrap());
        for program in free.chain(["make", "perl", "ruby", "php", "lua", "tclsh", "guile"]) {
            assert!(!text.contains(&program), "{program}");
        }
    }

    #[test]
    fn paths_and_options_are_no_bare_names() {
        for name in [
            "", "/bin/sh", "./x", "../sh", "-c", ".sh", "a b", "a\0", "sh;id", "$(id)", "a/b", "é",
        ] {
            assert!(!is_bare(name), "{name:?}");
        }
    }
}
