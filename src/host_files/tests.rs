use super::{Only, is_looked_for, kinds, named, of, of_link};

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
