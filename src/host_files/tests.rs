use super::{Only, alternatives, directories_of, is_looked_for, kinds, named, of, of_link};

/// Paths that an agent may plant, and of which kind each is.
const MATRIX: &[(&str, &str)] = &[
    (".envrc", "direnv"),
    (".vscode/tasks.json", "vscode"),
    (".vscode/settings.json", "vscode"),
    (".idea/runConfigurations/x.xml", "idea"),
    ("Makefile", "makefile"),
    ("deep/below/GNUmakefile", "makefile"),
    ("justfile", "task-runner"),
    ("Taskfile.yml", "task-runner"),
    ("web/package.json", "package-scripts"),
    (".npmrc", "npm-config"),
    (".pnp.cjs", "npm-config"),
    ("build.rs", "cargo-build"),
    (".cargo/config.toml", "cargo-build"),
    ("rust-toolchain.toml", "rust-toolchain"),
    ("tests/conftest.py", "pytest"),
    ("setup.py", "python-build"),
    ("lib/sitecustomize.py", "python-startup"),
    ("noxfile.py", "task-runner"),
    (".github/workflows/ci.yml", "github-workflows"),
    (".gitlab-ci.yml", "gitlab-ci"),
    ("Jenkinsfile", "jenkins"),
    (".circleci/config.yml", "circleci"),
    (".devcontainer/devcontainer.json", "devcontainer"),
    ("Dockerfile", "dockerfile"),
    ("docker-compose.override.yml", "compose"),
    ("compose.yaml", "compose"),
    (".claude/settings.json", "claude"),
    ("CLAUDE.md", "claude"),
    (".mcp.json", "mcp"),
    (".cursor/rules/x.mdc", "cursor"),
    ("AGENTS.md", "agent-instructions"),
    ("GEMINI.md", "gemini"),
    (".codex/config.toml", "codex"),
    (".aider.conf.yml", "aider"),
    (".pre-commit-config.yaml", "pre-commit"),
    ("lefthook.yml", "lefthook"),
    (".husky/pre-commit", "husky"),
    (".githooks/post-checkout", "git-hooks"),
    (".gitattributes", "git-attributes"),
    (".gitmodules", "git-modules"),
    (".gitconfig", "git-config"),
    (".vimrc", "vim"),
    (".exrc", "vim"),
    (".nvimrc", "vim"),
    (".dir-locals.el", "emacs"),
    (".tool-versions", "tool-versions"),
    ("mise.toml", "tool-versions"),
    (".bazelrc", "bazel"),
    ("gradlew", "gradle"),
    ("app/build.gradle.kts", "gradle"),
    ("gradle/wrapper/gradle-wrapper.properties", "gradle"),
    ("pom.xml", "maven"),
    (".mvn/extensions.xml", "maven"),
    ("src/CMakeLists.txt", "cmake"),
    ("Rakefile", "ruby"),
    ("Gemfile", "ruby"),
    ("x.code-workspace", "vscode"),
    (".zed/tasks.json", "zed"),
    (".env", "dotenv"),
    ("hooks/reference-transaction", "git-hooks"),
    (".hg/hgrc", "other-vcs"),
    (".jj/repo/config.toml", "other-vcs"),
    (".envrc.local", "direnv"),
    (".rvmrc", "node-version"),
    ("a/.bsp/x.json", "sbt"),
    (".luarc.json", "editor-project"),
    ("native/binding.gyp", "npm-config"),
    ("Procfile.dev", "deploy-hooks"),
    ("App.slnx", "visual-studio"),
    ("Properties/launchSettings.json", "visual-studio"),
    ("prisma/schema.prisma", "js-config"),
    ("docs/conf.py", "python-startup"),
    ("docs/source/conf.py", "python-startup"),
    ("src/__pycache__/app.cpython-312.pyc", "python-startup"),
    ("src/fast.so", "python-startup"),
    ("config/runtime.exs", "other-builds"),
    ("DEPS", "other-builds"),
    ("renovate.json", "other-ci"),
    (".github/agents/x.md", "other-agents"),
    ("app.config.ts", "js-config"),
    ("tsconfig.build.json", "typescript"),
    ("libs/a/project.json", "nx"),
];

fn names(path: &str) -> Vec<&'static str> {
    let kinds = of(path.as_bytes()).into_iter();
    let always = kinds.filter(|kind| kind.only.is_none());
    always.map(|kind| kind.name.as_str()).collect()
}

#[test]
fn there_are_more_than_forty_kinds_each_told_apart_and_explained() {
    assert!(kinds().len() >= 60, "{}", kinds().len());
    for kind in kinds() {
        let inner = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(kind.name.bytes().all(inner), "{}", kind.name);
        assert!(kind.runs.len() > 12, "{}: what runs it?", kind.name);
        assert!(!kind.paths.is_empty(), "{}", kind.name);
        assert_eq!(
            named(&kind.name),
            Some(kind),
            "two are called {}",
            kind.name
        );
        for path in &kind.paths {
            assert_eq!(
                *path,
                path.to_lowercase(),
                "{}: names are folded",
                kind.name
            );
        }
    }
    assert_eq!(named("all"), None, "`all` is a word of policies");
}

#[test]
fn the_files_of_the_attack_matrix_are_known() {
    for (path, kind) in MATRIX {
        assert!(names(path).contains(kind), "{path} is {:?}", names(path));
    }
}

#[test]
fn ordinary_sources_are_of_no_kind() {
    for path in [
        "src/main.rs",
        "src/todo/store.py",
        "tests/test_store.py",
        "web/index.html",
        "web/app.js",
        "notes/guide.md",
        "README.md",
        "src/build/plan.rs",
        "src/hooks/use-cart.ts",
        "migrations/0001_init.sql",
        "src/environment.ts",
        "src/makefile_parser.rs",
        "api/openapi.yaml",
        "src/Main.java",
        "data/package.csv",
        "src/app/app.config.ts",
        "shop/tasks/__init__.py",
        "analysis/model.do",
        "deps/left-pad.js",
        "src/project.ts",
        "src/moon.ts",
        "src/prisma.ts",
    ] {
        assert_eq!(names(path), Vec::<&str>::new(), "{path}");
    }
}

#[test]
fn names_that_some_file_system_holds_for_one_are_one() {
    for path in [
        ".VSCode/Tasks.JSON",
        ".vscode./tasks.json ",
        ".vs\u{200c}code/tasks.json",
        "a\\.vscode\\tasks.json",
        ".vscode/tasks.json::$DATA",
        "\u{212a}ustom/../.vſcode/tasks.json",
    ] {
        assert!(names(path).contains(&"vscode"), "{path}");
    }
}

#[test]
fn a_link_brings_the_kinds_of_the_directory_it_stands_for() {
    let link = |path: &str| -> Vec<&str> {
        of_link(path.as_bytes())
            .iter()
            .map(|kind| kind.name.as_str())
            .collect()
    };
    assert!(link(".vscode").contains(&"vscode"));
    assert!(link(".github").contains(&"github-workflows"));
    assert!(link("deep/workflows").contains(&"github-workflows"));
    assert_eq!(link("a/Makefile"), ["makefile"]);
    assert_eq!(link("src/other"), Vec::<&str>::new());
    for path in [".github/x/y", "a/.vscode", "Makefile", "bin/x"] {
        assert!(is_looked_for(path.as_bytes()), "{path}");
    }
    assert!(!is_looked_for(b"src/other") && !is_looked_for(b"other/file"));
    assert_eq!(names(".vscode"), Vec::<&str>::new());
}

#[test]
fn conditions_are_those_of_the_file() {
    let scripts = named("package-scripts").unwrap();
    assert!(scripts.keys.contains(&"scripts".to_owned()));
    assert!(scripts.keys.contains(&"bin".to_owned()));
    assert_eq!(named("programs").unwrap().only, Some(Only::Executable));
    assert_eq!(named("makefile").unwrap().only, None);
}

#[test]
fn attack_g11_a_link_counts_by_every_directory_that_a_kind_has() {
    let mut names = 0;
    for kind in kinds() {
        for name in kind.paths.iter().flat_map(|path| directories_of(path)) {
            names += 1;
            let link = format!("src/{}", name.replace('*', "x"));
            let brought = of_link(link.as_bytes());
            assert!(brought.contains(&kind), "{link} is not of {}", kind.name);
            assert!(is_looked_for(link.as_bytes()), "{link}");
        }
    }
    assert!(names > 100, "{names}");
    for link in [".venv", "venv", ".mise", "mise", ".roo", "App.xcodeproj"] {
        assert!(
            !of_link(format!("src/{link}").as_bytes()).is_empty(),
            "{link}"
        );
    }
}

#[test]
fn braces_stand_for_each_of_their_choices() {
    for (glob, all) in [
        ("a/b", vec!["a/b"]),
        ("{.,}venv/**", vec![".venv/**", "venv/**"]),
        (
            ".config/mise{.toml,/**}",
            vec![".config/mise.toml", ".config/mise/**"],
        ),
        ("{a,b}{,c/d}", vec!["a", "ac/d", "b", "bc/d"]),
        ("{a,{b,c}d}e", vec!["ae", "bde", "cde"]),
    ] {
        assert_eq!(alternatives(glob), all, "{glob}");
    }
}
