//! A repository full of what no sandbox may see, to attack sandboxes with: what is ignored,
//! untracked, unlisted, stashed or on another branch, a remote with a token, objects borrowed from
//! another repository, and links out of the tree.
//!
//! It refuses to be made where something is already.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
};

use super::{
    GitError, Repository,
    command::{Call, Place},
    error::At,
};

/// Who made its commits.
const WHO: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "Loki"),
    ("GIT_AUTHOR_EMAIL", "loki@localhost"),
    ("GIT_COMMITTER_NAME", "Loki"),
    ("GIT_COMMITTER_EMAIL", "loki@localhost"),
];

/// Makes one in `dir/repository`, which is new, and opens it. All that must stay out of sight holds
/// the canary; what stands in `listed/` of its commit may be seen and holds none.
///
/// # Errors
/// When `dir` is there already or cannot be written, or git fails.
pub fn make_decoy(dir: &Path, canary: &str) -> Result<Repository, GitError> {
    fs::create_dir(dir).at("create", dir)?;
    let (top, other) = (dir.join("repository"), dir.join("other.git"));
    let init = || Call::new("init").args(["--quiet", "--initial-branch=main"]);
    init().arg(&top).run()?;
    init().arg("--bare").arg(&other).run()?;
    let place = Place::open(&top.join(".git"), &top)?;
    write(&top.join(".gitignore"), ".env\n")?;
    write(&top.join("listed/plain.txt"), "listed\n")?;
    write(&top.join("unlisted/secret.txt"), canary)?;
    links(dir, &top, canary)?;
    place.git("add").arg("--all").run()?;
    let base = commit(&place, "refs/heads/main")?;
    place.git("read-tree").arg(&base).run()?;
    for path in [".env", "listed/.env", "listed/untracked.txt"] {
        write(&top.join(path), canary)?;
    }
    hidden_commits(&place, &top, &base)?;
    let remote = format!("https://user:{canary}@example.test/repository.git");
    place
        .git("config")
        .args(["remote.origin.url", &remote])
        .run()?;
    borrow(&top, &other, canary)?;
    Repository::open(&top)
}

/// Two symbolic links and a hard one that lead out of the tree.
fn links(dir: &Path, top: &Path, canary: &str) -> Result<(), GitError> {
    let (outside, twin) = (dir.join("outside.txt"), dir.join("twin.txt"));
    write(&outside, canary)?;
    write(&twin, "the same file\n")?;
    let listed = top.join("listed");
    let hard = listed.join("hard.txt");
    fs::hard_link(&twin, &hard).at("link", &hard)?;
    for (name, target) in [
        ("absolute", outside.as_path()),
        ("relative", Path::new("../../outside.txt")),
    ] {
        let link = listed.join(name);
        symlink(target, &link).at("link", &link)?;
    }
    Ok(())
}

/// Another branch and a stash, which hold what is untracked.
fn hidden_commits(place: &Place, top: &Path, base: &str) -> Result<(), GitError> {
    let index = top.join(".git/hidden");
    place.git("read-tree").index(&index).arg(base).run()?;
    let add = place.git("add").index(&index);
    add.args(["--force", ".env"]).run()?;
    let tree = place.git("write-tree").index(&index).run()?.id()?;
    for name in ["refs/heads/other", "refs/stash"] {
        let made = signed(place.git("commit-tree"))
            .args(["-m", name, tree.as_str()])
            .run()?
            .id()?;
        let update = signed(place.git("update-ref")).arg("--create-reflog");
        update.args([name, made.as_str()]).run()?;
    }
    Ok(())
}

/// Lets the repository read the objects of another one.
fn borrow(top: &Path, other: &Path, canary: &str) -> Result<(), GitError> {
    let from = Place::open(other, other)?;
    from.git("hash-object")
        .args(["-w", "--stdin"])
        .input(canary)
        .run()?;
    let objects = other.join("objects");
    let line = format!("{}\n", objects.display());
    write(&top.join(".git/objects/info/alternates"), &line)
}

fn commit(place: &Place, name: &str) -> Result<String, GitError> {
    let tree = place.git("write-tree").run()?.id()?;
    let made = signed(place.git("commit-tree"))
        .args(["-m", "base", tree.as_str()])
        .run()?
        .id()?;
    signed(place.git("update-ref"))
        .args([name, made.as_str()])
        .run()?;
    Ok(made.as_str().to_owned())
}

fn signed(call: Call) -> Call {
    WHO.iter()
        .fold(call, |call, (name, value)| call.env(name, value))
}

fn write(path: &Path, text: &str) -> Result<(), GitError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    let mut file = File::create_new(path).at("create", path)?;
    file.write_all(text.as_bytes()).at("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_holds_everything_that_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let repository = make_decoy(&dir.path().join("d"), "canary-1").unwrap();
        let top = repository.root();
        let said = |command: &str, args: &[&str]| {
            let place = Place::open(&top.join(".git"), top).unwrap();
            let answer = place.reading(command).args(args).run().unwrap();
            String::from_utf8(answer.stdout).unwrap()
        };
        assert_eq!(said("show", &["stash:.env"]), "canary-1");
        assert_eq!(said("show", &["other:.env"]), "canary-1");
        assert!(said("config", &["remote.origin.url"]).contains("canary-1"));
        let listed = said("ls-files", &["--", "."]);
        assert!(listed.contains("listed/absolute") && listed.contains("unlisted/secret.txt"));
        assert!(!listed.contains(".env") && !listed.contains("untracked"));
        let all = said("cat-file", &["--batch-all-objects", "--batch-check"]);
        assert!(all.lines().count() > 8, "{all}");
        assert!(make_decoy(&dir.path().join("d"), "canary-1").is_err());
    }
}
