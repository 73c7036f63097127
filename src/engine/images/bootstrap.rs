//! A root file system made of the distribution's packages, for machines that no registry serves.
//!
//! The host's own package sources are used, so mirrors and their keys are the administrator's.
//! mmdebstrap works as root and, with uidmap, as a user; debootstrap is root's fallback.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use super::{
    ImageError, Plan, Progress,
    recipe::{FINISH, MANUALS},
};
use crate::whole;

/// How many of a program's last lines an error repeats.
const LAST_LINES: usize = 8;

/// What of the host's package tool settings also holds for an image: how mirrors are reached.
const SETTINGS: [&str; 3] = ["Acquire::http", "Acquire::https", "Acquire::Check"];

/// Why nothing was bootstrapped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("neither mmdebstrap nor debootstrap is installed (`apt-get install mmdebstrap`)")]
    NoProgram,
    #[error("`{program}` failed: {said}")]
    Failed { program: &'static str, said: String },
    #[error("cannot use `{}`", path.display())]
    Files { path: PathBuf, source: io::Error },
}

impl Fault {
    /// Says what became of `program`, which may be missing.
    pub(super) fn told(&self, program: &str) -> String {
        match self {
            Self::NoProgram => format!("`{program}` is not installed"),
            fault => fault.to_string(),
        }
    }

    pub(super) fn into_image_error(self, plan: &Plan, pull: String) -> ImageError {
        match self {
            Self::Files { path, source } => ImageError::Cache { path, source },
            fault => ImageError::NoSource {
                name: plan.recipe.name.clone(),
                pull,
                bootstrap: fault.to_string(),
                cache: plan.tar.clone(),
            },
        }
    }
}

/// Makes the plan's tar. A killed or failed attempt leaves no tar of that name.
pub(super) async fn run(plan: &Plan, progress: Progress<'_>) -> Result<(), Fault> {
    let files = |source| Fault::Files {
        path: plan.tar.clone(),
        source,
    };
    let parts = Parts::write(plan).map_err(files)?;
    let mut outcome = parts.mmdebstrap(plan, progress).await;
    if matches!(outcome, Err(Fault::NoProgram)) {
        outcome = parts.debootstrap(plan, progress).await;
    }
    outcome?;
    whole::settle(&parts.tar, &plan.tar).map_err(files)
}

/// What the programs read and write, in a directory beside the tar that goes with the attempt.
struct Parts {
    folder: TempDir,
    tar: PathBuf,
    settings: Vec<String>,
}

impl Parts {
    #[expect(
        clippy::disallowed_methods,
        reason = "a crash leaves these in a directory no one reads"
    )]
    fn write(plan: &Plan) -> io::Result<Self> {
        let beside = plan.tar.parent().unwrap_or(Path::new("."));
        let stem = plan
            .tar
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let prefix = format!(".bootstrap-{stem}-");
        sweep(beside, &prefix)?;
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(beside)?;
        let build = folder.path().join("build");
        std::fs::create_dir_all(build.join("certificates"))?;
        std::fs::write(build.join("finish.sh"), FINISH)?;
        for (name, text) in &plan.certificates.files {
            std::fs::write(build.join("certificates").join(name), text)?;
        }
        Ok(Self {
            tar: folder.path().join("root.tar"),
            folder,
            settings: mirror_settings(),
        })
    }

    async fn mmdebstrap(&self, plan: &Plan, progress: Progress<'_>) -> Result<(), Fault> {
        let recipe = &plan.recipe;
        let mut arguments: Vec<OsString> = [
            "--variant=minbase".to_owned(),
            "--format=tar".to_owned(),
            format!("--include={}", recipe.packages.join(",")),
            "--aptopt=Apt::Install-Recommends \"false\"".to_owned(),
            "--aptopt=Acquire::Languages \"none\"".to_owned(),
            // A tree that a crash cuts short is thrown away, so nothing of it is synced before the tar is.
            "--dpkgopt=force-unsafe-io".to_owned(),
            "--dpkgopt=path-exclude=/usr/share/man/*".to_owned(),
            "--dpkgopt=path-exclude=/usr/share/locale/*".to_owned(),
        ]
        .map(OsString::from)
        .into();
        arguments.extend(
            self.settings
                .iter()
                .map(|line| format!("--aptopt={line}").into()),
        );
        arguments.push(format!("--essential-hook=mkdir -p \"$1/{MANUALS}\"").into());
        arguments.extend(finishing(&self.folder.path().join("build")).map(OsString::from));
        arguments.extend([recipe.suite.clone().into(), self.tar.clone().into()]);
        arguments.extend(sources(&recipe.suite).into_iter().map(OsString::from));
        follow("mmdebstrap", &arguments, progress).await
    }

    async fn debootstrap(&self, plan: &Plan, progress: Progress<'_>) -> Result<(), Fault> {
        let root = self.folder.path().join("root");
        let include = format!("--include={}", plan.recipe.packages.join(","));
        let mut arguments: Vec<OsString> = vec![
            "--variant=minbase".into(),
            include.into(),
            plan.recipe.suite.clone().into(),
        ];
        arguments.push(root.clone().into());
        arguments.extend(mirror(&plan.recipe.suite).map(OsString::from));
        follow("debootstrap", &arguments, progress).await?;
        let (finish, certificates) = (
            self.folder.path().join("build/finish.sh"),
            self.folder.path().join("build/certificates"),
        );
        follow(
            "sh",
            &[finish.into(), root.clone().into(), certificates.into()],
            progress,
        )
        .await?;
        let pack: [OsString; 6] = [
            "--numeric-owner".into(),
            "-C".into(),
            root.into(),
            "-cf".into(),
            self.tar.clone().into(),
            ".".into(),
        ];
        follow("tar", &pack, progress).await
    }
}

/// Returns the steps that finish the tree. An ordinary user's program works in a user namespace to
/// which the user's own directories are closed, so script and certificates are copied in by the
/// part of it that stays outside.
fn finishing(build: &Path) -> [String; 3] {
    let quoted = build.to_string_lossy().replace('\'', r"'\''");
    [
        format!("--customize-hook=copy-in '{quoted}' /"),
        "--customize-hook=chroot \"$1\" sh /build/finish.sh / /build/certificates".to_owned(),
        "--customize-hook=rm -rf \"$1/build\"".to_owned(),
    ]
}

/// Removes what a killed attempt at this very image left: the caller holds the image's lock.
fn sweep(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Ends a program and what it started when the caller goes away; asked politely, so that it unmounts.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            kill_process_group(pid, Signal::TERM).ok();
        }
    }
}

/// Runs a program to its end; every line it writes is progress.
pub(super) async fn follow(
    program: &'static str,
    arguments: &[OsString],
    progress: Progress<'_>,
) -> Result<(), Fault> {
    let mut child = match spawn(program, arguments) {
        Ok(child) => child,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Err(Fault::NoProgram),
        Err(fault) => {
            return Err(Fault::Failed {
                program,
                said: fault.to_string(),
            });
        }
    };
    let mut group = Group(
        child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)),
    );
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (said, complained, status) =
        tokio::join!(lines(out, progress), lines(err, progress), child.wait());
    group.0 = None;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Fault::Failed {
            program,
            said: ending(status, &said, &complained),
        }),
        Err(fault) => Err(Fault::Failed {
            program,
            said: fault.to_string(),
        }),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the programs that make an image, with arguments that are all ours"
)]
fn spawn(program: &str, arguments: &[OsString]) -> io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

async fn lines(pipe: Option<impl AsyncRead + Unpin>, progress: Progress<'_>) -> Vec<String> {
    let mut last = Vec::new();
    let Some(pipe) = pipe else { return last };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // Bytes, not text: a mirror may answer in any encoding. A broken pipe ends like a closed one.
    while reader
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|length| length > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&text);
        last.push(text);
        if last.len() > LAST_LINES {
            last.remove(0);
        }
        line.clear();
    }
    last
}

/// Some programs complain on their standard output.
fn ending(status: ExitStatus, said: &[String], complained: &[String]) -> String {
    let words = if complained.is_empty() {
        said
    } else {
        complained
    };
    if words.is_empty() {
        status.to_string()
    } else {
        words.join(" / ")
    }
}

/// Returns the host's release, if it is Debian or Ubuntu.
pub(super) fn host_suite() -> Option<String> {
    suite_of(&std::fs::read_to_string("/etc/os-release").ok()?)
}

fn suite_of(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    // Derivatives have release names that the distribution's own mirrors do not know.
    let family = matches!(value("ID")?.as_str(), "debian" | "ubuntu");
    value("VERSION_CODENAME").filter(|suite| family && !suite.is_empty())
}

/// Lists the host's source files that serve this release's main packages; third parties do not.
fn sources(suite: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir("/etc/apt/sources.list.d")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    found.push("/etc/apt/sources.list".into());
    found.sort();
    let kind = |path: &Path| {
        path.extension()
            .is_some_and(|kind| kind == "list" || kind == "sources")
    };
    found.retain(|path| {
        kind(path) && std::fs::read_to_string(path).is_ok_and(|text| serves(&text, suite))
    });
    found
}

fn serves(text: &str, suite: &str) -> bool {
    let words = words(text);
    let release = |word: &&str| {
        word.strip_prefix(suite)
            .is_some_and(|rest| matches!(rest, "" | "-updates" | "-security"))
    };
    words.iter().any(release) && words.contains(&"main")
}

/// The words of a source file, without those in comments.
fn words(text: &str) -> Vec<&str> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(str::split_whitespace).collect()
}

/// Returns the first mirror of the release, for the program that takes only one.
fn mirror(suite: &str) -> Option<String> {
    let text = |path| std::fs::read_to_string(path).ok();
    sources(suite)
        .into_iter()
        .filter_map(text)
        .find_map(|text| mirror_in(&text, suite))
}

fn mirror_in(text: &str, suite: &str) -> Option<String> {
    let words = words(text);
    let mirror = words.iter().find(|word| word.contains("://"))?;
    words.contains(&suite).then(|| (*mirror).to_owned())
}

/// Reads the host's settings of how mirrors are reached: proxies, certificates, clock checks.
#[expect(
    clippy::disallowed_methods,
    reason = "the package tool's own settings have no other reader"
)]
fn mirror_settings() -> Vec<String> {
    let dump = std::process::Command::new("apt-config")
        .arg("dump")
        .stdin(Stdio::null())
        .output();
    let text = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    settings_of(&text.unwrap_or_default())
}

fn settings_of(dump: &str) -> Vec<String> {
    let wanted = |line: &&str| {
        SETTINGS.iter().any(|name| line.starts_with(name)) && !line.ends_with("\"\";")
    };
    dump.lines()
        .filter(wanted)
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Fault, finishing, follow, mirror_in, serves, settings_of, suite_of, sweep};

    #[test]
    fn only_debian_and_ubuntu_lend_their_release() {
        let text = |id| format!("NAME=\"X\"\nID={id}\nVERSION_CODENAME=\"noble\"\n");
        assert_eq!(suite_of(&text("ubuntu")).as_deref(), Some("noble"));
        assert_eq!(suite_of(&text("linuxmint")), None);
        assert_eq!(suite_of("ID=debian\n"), None);
    }

    #[test]
    fn third_party_and_commented_sources_are_left_out() {
        assert!(serves("deb http://mirror/debian bookworm main", "bookworm"));
        assert!(serves(
            "Suites: bookworm-security\nComponents: main",
            "bookworm"
        ));
        assert!(!serves(
            "Suites: bookworm-pgdg\nComponents: main",
            "bookworm"
        ));
        assert!(!serves("Suites: nodistro\nComponents: main", "bookworm"));
        assert!(!serves(
            "# deb http://mirror/debian bookworm main",
            "bookworm"
        ));
        assert!(!serves("deb http://mirror/debian trixie main", "bookworm"));
    }

    #[test]
    fn the_mirror_is_not_taken_from_a_comment() {
        let text = "# http://old\nTypes: deb\nURIs: http://mirror/debian\nSuites: bookworm\n";
        assert_eq!(
            mirror_in(text, "bookworm").as_deref(),
            Some("http://mirror/debian")
        );
        assert_eq!(mirror_in(text, "trixie"), None);
    }

    #[test]
    fn settings_that_reach_mirrors_are_kept_and_nothing_else() {
        let dump = "APT \"\";\nAcquire::http::Proxy \"http://p:1\";\nAcquire::Languages \"x\";\nAcquire::Check-Date \"false\";\nAcquire::https \"\";\n";
        assert_eq!(
            settings_of(dump),
            [
                "Acquire::http::Proxy \"http://p:1\"",
                "Acquire::Check-Date \"false\""
            ]
        );
    }

    #[test]
    fn the_tree_is_finished_by_what_is_copied_in_and_taken_out_again() {
        let [copy, run, remove] = finishing("/home/a b's/build".as_ref());
        assert_eq!(copy, r"--customize-hook=copy-in '/home/a b'\''s/build' /");
        assert!(run.ends_with(r#"chroot "$1" sh /build/finish.sh / /build/certificates"#));
        assert!(remove.ends_with(r#"rm -rf "$1/build""#));
    }

    #[test]
    fn what_a_killed_attempt_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".bootstrap-base-1-x", ".bootstrap-node-1-x", "base-1"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        sweep(folder.path(), ".bootstrap-base-1-").unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(left == 2 && !folder.path().join(".bootstrap-base-1-x").exists());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted_and_one_that_is_missing_is_told_apart() {
        let fault = follow(
            "sh",
            &["-c".into(), "echo no mirror >&2; exit 3".into()],
            &|_| {},
        )
        .await;
        assert!(matches!(fault, Err(Fault::Failed { said, .. }) if said == "no mirror"));
        let fault = follow("loki-no-such-program", &[], &|_| {}).await;
        assert!(matches!(fault, Err(Fault::NoProgram)));
    }
}
