//! What programs are made of: the trees and programs that one program of an image brings along.
//!
//! Facts about distributions and upstream archives, found by running the programs under the
//! confinement. A path that an image does not have is skipped by the kernel's rules.

/// What comes with an allowed program: the trees it reads and the programs it is made of. Bare
/// names are programs; paths are read and, for `runs`, executed.
pub(super) struct Companions {
    /// The programs that bring them.
    of: &'static [&'static str],
    /// Trees that are read.
    pub(super) reads: &'static [&'static str],
    /// Programs and trees of programs that are read and executed.
    pub(super) runs: &'static [&'static str],
}

const COMPANIONS: [Companions; 10] = [
    Companions {
        of: &["git"],
        reads: &[],
        runs: &["/usr/lib/git-core", "/usr/libexec/git-core"],
    },
    Companions {
        of: &["python", "python3", "pip", "pip3", "pytest"],
        reads: &[
            "/usr/include/python3",
            "/usr/lib/python3",
            "/usr/lib/python3.9",
            "/usr/lib/python3.10",
            "/usr/lib/python3.11",
            "/usr/lib/python3.12",
            "/usr/lib/python3.13",
            "/usr/lib/python3.14",
            "/usr/local/lib/python3.9",
            "/usr/local/lib/python3.10",
            "/usr/local/lib/python3.11",
            "/usr/local/lib/python3.12",
            "/usr/local/lib/python3.13",
            "/usr/local/lib/python3.14",
        ],
        runs: &[],
    },
    Companions {
        of: &["node", "nodejs", "npm", "npx", "corepack", "pnpm", "yarn"],
        reads: &["/usr/include/node", "/usr/local/include/node"],
        runs: &[
            "/usr/lib/node_modules",
            "/usr/local/lib/node_modules",
            "/usr/share/nodejs",
        ],
    },
    Companions {
        of: &["perl", "prove"],
        reads: &["/usr/lib/perl5", "/usr/local/lib/x86_64-linux-gnu/perl"],
        runs: &[],
    },
    Companions {
        of: &[
            "cc", "c++", "gcc", "g++", "clang", "clang++", "cargo", "rustc", "go",
        ],
        reads: &["/usr/include", "/usr/local/include", "/usr/lib/llvm"],
        runs: &["as", "ar", "ld", "/usr/lib/gcc", "/usr/libexec/gcc"],
    },
    Companions {
        of: &["cargo", "rustc", "rustup", "rustfmt", "rustdoc"],
        reads: &["/usr/lib/rustlib"],
        runs: &["cc", "rustc", "/usr/local/cargo", "/usr/local/rustup"],
    },
    Companions {
        of: &["go", "gofmt"],
        reads: &[],
        runs: &["/usr/lib/go", "/usr/local/go", "/usr/share/go"],
    },
    Companions {
        of: &["java", "javac", "jar", "mvn", "gradle"],
        reads: &[],
        runs: &["/usr/lib/jvm"],
    },
    Companions {
        of: &["chromium", "chromium-browser", "chromedriver"],
        reads: &[],
        runs: &["chromium", "/usr/lib/chromium"],
    },
    Companions {
        of: &["gdb"],
        reads: &["/usr/include", "/usr/lib/debug", "/usr/lib/python3"],
        runs: &[],
    },
];

/// Returns what `program` brings along.
pub(super) fn of(program: &str) -> impl Iterator<Item = &'static Companions> {
    COMPANIONS
        .iter()
        .filter(move |companions| companions.of.contains(&program))
}
