//! Where a branch is pushed to: an address, read strictly and written anew.
//!
//! What stands in a repository's configuration may have come from anywhere, and git takes an
//! address for a command when it looks like one. So an address is taken apart here, and git gets
//! one that was put together from its parts. It refuses every scheme but `https` and `ssh`,
//! passwords, escapes, and everything that a program could take for an option.

use std::{fmt, str::FromStr};

use crate::{name::HostName, text::visible};

/// Longest address.
const LONGEST: usize = 1000;

/// How a remote is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS, with a token.
    Https,
    /// With the user's own keys, as this user.
    Ssh(String),
}

/// A repository on a server: `owner/name` on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The host.
    pub host: HostName,
    /// The port, none for the scheme's own.
    pub port: Option<u16>,
    /// Whose repository it is.
    pub owner: String,
    /// Its name, without `.git`.
    pub name: String,
}

/// Why a text is not an address that is pushed to. The text is not repeated where it may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", shown.as_ref().map_or_else(String::new, |text| format!("`{text}` ")))]
pub struct BadRemote {
    shown: Option<String>,
    why: &'static str,
}

impl FromStr for Remote {
    type Err = BadRemote;

    fn from_str(text: &str) -> Result<Self, BadRemote> {
        let bad = |why| BadRemote {
            shown: (!text.contains('@')).then(|| visible(text).chars().take(200).collect()),
            why,
        };
        if text.len() > LONGEST {
            return Err(bad("is too long for an address"));
        }
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(bad("holds characters that no address has"));
        }
        if text.starts_with('-') || text.contains("::") {
            return Err(bad(
                "is an option or a program, not an address; give `https://HOST/OWNER/NAME`",
            ));
        }
        let parsed = match text.split_once("://") {
            Some(("https", rest)) => https(rest),
            Some(("ssh", rest)) => ssh(rest),
            Some(("http" | "git", _)) => {
                Err("is not encrypted, so no token is sent there; give `https://HOST/OWNER/NAME`")
            }
            Some(_) => Err("is neither `https` nor `ssh`; give `https://HOST/OWNER/NAME`"),
            None => scp(text),
        };
        parsed.map_err(bad)
    }
}

fn https(rest: &str) -> Result<Remote, &'static str> {
    let (authority, path) = rest.split_once('/').ok_or(NO_PATH)?;
    if authority.contains('@') {
        return Err(
            "an address with a user or password is not taken: keep the token with `loki secrets set GITHUB_TOKEN` \
             and take it out with `git remote set-url`",
        );
    }
    remote(Scheme::Https, authority, path)
}

fn ssh(rest: &str) -> Result<Remote, &'static str> {
    let (authority, path) = rest.split_once('/').ok_or(NO_PATH)?;
    let (user, authority) = authority.split_once('@').unwrap_or(("git", authority));
    remote(Scheme::Ssh(self::user(user)?), authority, path)
}

/// Reads `user@host:owner/name`.
fn scp(text: &str) -> Result<Remote, &'static str> {
    const NEITHER: &str =
        "is neither `https` nor `ssh`; for a directory of this machine use `git push DIR loki/RUN`";
    let (place, path) = text.split_once(':').ok_or(NEITHER)?;
    let (user, host) = place.split_once('@').ok_or(NEITHER)?;
    remote(Scheme::Ssh(self::user(user)?), host, path)
}

const NO_PATH: &str = "names no repository; give `https://HOST/OWNER/NAME`";

fn user(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Err("has a user that is none, or a password");
    }
    Ok(text.to_owned())
}

fn remote(scheme: Scheme, authority: &str, path: &str) -> Result<Remote, &'static str> {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port > 0);
            (host, Some(port.ok_or("has a port that is none")?))
        }
        None => (authority, None),
    };
    let host: HostName = host.parse().map_err(|_| "has no host name")?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_prefix('/').unwrap_or(path);
    let (owner, name) = path.split_once('/').ok_or(NO_PATH)?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    Ok(Remote {
        scheme,
        host,
        port,
        owner: segment(owner)?,
        name: segment(name)?,
    })
}

fn segment(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_dots = text.chars().all(|c| c == '.');
    if text.is_empty() || is_dots || text.starts_with('-') || !text.chars().all(plain) {
        return Err("does not end in OWNER/NAME, of letters, digits, `-`, `_` and `.`");
    }
    Ok(text.to_owned())
}

impl Remote {
    /// Returns `https://host[:port]/`, which settings for that server are named after.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}/", self.place())
    }

    fn place(&self) -> String {
        let port = self
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}", self.host)
    }
}

/// The address, put together anew. It holds no password.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, owner, name) = (self.place(), &self.owner, &self.name);
        match &self.scheme {
            Scheme::Https => write!(f, "https://{place}/{owner}/{name}.git"),
            Scheme::Ssh(user) => write!(f, "ssh://{user}@{place}/{owner}/{name}.git"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Remote;

    #[test]
    fn addresses_are_put_together_anew() {
        for (text, expected) in [
            ("https://github.com/o/r.git", "https://github.com/o/r.git"),
            ("https://github.com/o/r/", "https://github.com/o/r.git"),
            (
                "https://git.corp.test:8443/o/r",
                "https://git.corp.test:8443/o/r.git",
            ),
            ("git@github.com:o/r.git", "ssh://git@github.com/o/r.git"),
            ("git@github.com:/o/r", "ssh://git@github.com/o/r.git"),
            ("ssh://me@h.test:2222/o/r", "ssh://me@h.test:2222/o/r.git"),
            (
                "ssh://h.test/o/my.repo_1",
                "ssh://git@h.test/o/my.repo_1.git",
            ),
        ] {
            let remote: Remote = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(remote.to_string(), expected);
            assert_eq!(expected.parse::<Remote>().unwrap(), remote);
        }
    }

    #[test]
    fn attack_g06_an_address_that_is_a_command_or_leads_elsewhere_is_refused() {
        for text in [
            "",
            "origin",
            "--upload-pack=touch x",
            "-oProxyCommand=touch x",
            "ext::sh -c touch% x",
            "fd::3",
            "transport::https://h/o/r",
            "http://h.test/o/r",
            "git://h.test/o/r",
            "file:///srv/x.git",
            "/srv/x.git",
            "../x.git",
            "https://h.test/o",
            "https://h.test/o/r/s",
            "https://h.test/../r",
            "https://h.test/o/..",
            "https://h.test/o/-r",
            "https://h.test/o/r?x=1",
            "https://h.test/o/r#x",
            "https://h.test/o/%2e%2e",
            "https://h.test:0/o/r",
            "https://h.test:x/o/r",
            "https://h.test:+1/o/r",
            "https://10.0.0.1/o/r",
            "https://[::1]/o/r",
            "https://h.test\u{202e}/o/r",
            "https://h.test/o/r\n",
            "https://h.test/o/a\x1b[2J",
            "https://h te/o/r",
            "ssh://-oProxyCommand=x/o/r",
            "ssh://git@-oProxyCommand=x/o/r",
            "-oProxyCommand=x@h.test:o/r",
            "ssh://a:b@h.test/o/r",
            "git@h.test:o/r s",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text:?}");
        }
        let long = format!("https://h.test/o/{}", "r".repeat(2000));
        assert!(long.parse::<Remote>().is_err());
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let refused = "https://me:hush@h.test/o/r".parse::<Remote>().unwrap_err();
        let said = refused.to_string();
        assert!(
            !said.contains("hush") && said.contains("loki secrets set"),
            "{said}"
        );
    }
}
