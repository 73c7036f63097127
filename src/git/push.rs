//! Pushing the branch of a run, and nothing else, to one address.
//!
//! Everything here happens in a scratch repository that borrows the objects of the user's: no
//! setting of his is read, so none rewrites the address, names a helper or starts a program. The
//! one transport of the address is open for the one call. A token is in the environment of that
//! call alone, for that server alone: not in its arguments, and no redirect is followed with it.
//! It refuses to push anything but a branch of Loki's own, and to overwrite what it has not seen.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{
    GitError, ObjectId, Remote, Repository, Scheme,
    command::{Call, Place},
    error::At,
    refs::run_branch,
};
use crate::name::RunId;

/// How long a push may take.
const LIMIT: Duration = Duration::from_secs(900);
/// How the user's `ssh` is started: it asks nothing, and forwards nothing.
const SSH: &str = "ssh -oBatchMode=yes -oClearAllForwardings=yes -oPermitLocalCommand=no";

/// The way to a remote.
pub struct Way<'a> {
    /// Where.
    pub remote: &'a Remote,
    /// The token, for `https`.
    pub token: Option<&'a str>,
    /// A file of authorities that the server's certificate is checked against, none for those of
    /// this machine.
    pub authorities: Option<&'a Path>,
    /// What the program that connects gets of this host's environment: proxies, and for `ssh` the
    /// user's home and agent.
    pub environment: &'a [(OsString, OsString)],
}

/// What of the host's environment a program that connects may have.
const PASSED: [&str; 10] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "HOME",
    "USER",
    "LOGNAME",
    "SSH_AUTH_SOCK",
];

/// A repository without settings and refs of its own, over the user's objects.
struct Scratch {
    place: Place,
    objects: PathBuf,
    _dir: tempfile::TempDir,
}

impl Repository {
    /// Returns the address of a remote by its name in the repository's configuration: the one to
    /// push to, as it stands there.
    ///
    /// # Errors
    /// When there is none.
    pub fn remote_address(&self, name: &str) -> Result<String, GitError> {
        let none = || GitError::NoRemote {
            name: name.chars().take(100).collect(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            return Err(none());
        }
        for key in ["pushurl", "url"] {
            let call = self.place.reading("config").args(["--get", "-z"]);
            let found = call
                .arg(format!("remote.{name}.{key}"))
                .accept(&[0, 1, 2])
                .run()?;
            if let Some(address) = found.records().next() {
                return Ok(String::from_utf8_lossy(address).into_owned());
            }
        }
        Err(none())
    }

    /// Returns where the branch of a run is on a remote, none when it is not there.
    ///
    /// # Errors
    /// When the remote cannot be asked.
    pub fn remote_head(&self, way: &Way<'_>, run: &RunId) -> Result<Option<ObjectId>, GitError> {
        let wanted = format!("refs/heads/{}", run_branch(run));
        let scratch = self.scratch()?;
        let call = scratch
            .call("ls-remote", way)
            .args(["--refs", "--end-of-options"]);
        let answer = call.arg(way.remote.to_string()).arg(&wanted).run()?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut heads = text.lines().filter_map(|line| line.split_once('\t'));
        // A pattern also fits longer names that end like it.
        match heads.find(|(_, name)| *name == wanted) {
            Some((id, _)) => id.parse().map(Some),
            None => Ok(None),
        }
    }

    /// Pushes a commit as the branch of a run, if it is still at `expected` there.
    ///
    /// # Errors
    /// When the branch is protected, the remote refuses, or the branch has moved there.
    pub fn push(
        &self,
        way: &Way<'_>,
        run: &RunId,
        commit: &ObjectId,
        expected: Option<&ObjectId>,
    ) -> Result<(), GitError> {
        let branch = run_branch(run);
        self.protected()?.refuse(&branch)?;
        let scratch = self.scratch()?;
        let name = format!("refs/heads/{branch}");
        let seen = expected.map_or("", ObjectId::as_str);
        let call = scratch.call("push", way).args([
            "--porcelain",
            "--no-verify",
            "--no-signed",
            "--no-follow-tags",
            "--no-recurse-submodules",
        ]);
        let call = call.arg(format!("--force-with-lease={name}:{seen}"));
        let call = call.arg("--end-of-options").arg(way.remote.to_string());
        call.arg(format!("{commit}:{name}")).limit(LIMIT).run()?;
        Ok(())
    }

    fn scratch(&self) -> Result<Scratch, GitError> {
        let dir = tempfile::Builder::new().prefix("loki-push-").tempdir();
        let dir = dir.at("create", std::env::temp_dir())?;
        let git_dir = dir.path().join("git");
        let format = match self.head().as_str().len() {
            40 => "--object-format=sha1",
            _ => "--object-format=sha256",
        };
        let call = Call::new("init").args(["--quiet", "--bare", "--template=", format, "--"]);
        call.arg(&git_dir).run()?;
        // A shallow clone knows where its history ends.
        let shallow = self.common_dir().join("shallow");
        if shallow.exists() {
            fs::copy(&shallow, git_dir.join("shallow")).at("read", shallow)?;
        }
        Ok(Scratch {
            place: Place::open(&git_dir, dir.path())?,
            objects: self.common_dir().join("objects"),
            _dir: dir,
        })
    }
}

impl Scratch {
    /// Starts a call that may reach the remote.
    fn call(&self, command: &str, way: &Way<'_>) -> Call {
        let mut call = self
            .place
            .git(command)
            .env("GIT_OBJECT_DIRECTORY", &self.objects);
        for name in PASSED {
            let set = way
                .environment
                .iter()
                .find(|(given, _)| given.as_os_str() == name);
            if let Some((_, value)) = set {
                call = call.env(name, value);
            }
        }
        match &way.remote.scheme {
            Scheme::Https => secured(call, way),
            Scheme::Ssh(_) => call
                .env("GIT_ALLOW_PROTOCOL", "ssh")
                .env("GIT_SSH_COMMAND", SSH)
                .env("GIT_SSH_VARIANT", "ssh"),
        }
    }
}

fn secured(call: Call, way: &Way<'_>) -> Call {
    let mut call = call
        .env("GIT_ALLOW_PROTOCOL", "https")
        .setting("http.followRedirects", "false")
        .setting("http.sslVerify", "true");
    if let Some(file) = way.authorities {
        call = call.env("GIT_SSL_CAINFO", file);
    }
    if let Some(token) = way.token {
        let pair = Zeroizing::new(format!("x-access-token:{token}"));
        let value = format!("Authorization: Basic {}", BASE64_STANDARD.encode(&*pair));
        call = call.setting(&format!("http.{}.extraHeader", way.remote.server()), value);
    }
    call
}
