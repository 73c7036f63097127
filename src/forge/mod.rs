//! Pull requests, over the REST interface of a code host.
//!
//! A [`Forge`] asks one server about one repository, on connections that it is given the streams
//! of, each within TLS and for one request. It refuses to follow a redirect, to send its token
//! anywhere else, to read without bound, and to believe a word of an answer that is shown: all
//! text is made printable.

mod error;
mod letter;
mod wire;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use error::ForgeError;
pub use letter::{Checked, letter};
pub use wire::Trust;

use crate::{
    name::HostName,
    policy::Target,
    text::{is_hidden, visible},
};

/// Most pull requests that one question is answered with.
const PAGE: u32 = 100;

/// A repository on a code host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host that people see.
    pub host: HostName,
    /// Its port for HTTPS, none for 443.
    pub port: Option<u16>,
    /// Whose repository it is.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl Place {
    /// Returns where its interface is, and the path before each of its resources.
    #[must_use]
    pub fn interface(&self) -> (Target, &'static str) {
        let host = self.host.as_str();
        let own = host == "github.com" || host.ends_with(".ghe.com");
        let api = match own {
            true => format!("api.{host}").parse().ok(),
            false => None,
        };
        let port = self.port.unwrap_or(443);
        match api {
            Some(name) => (Target { name, port: 443 }, ""),
            None => {
                let name = self.host.clone();
                (Target { name, port }, "/api/v3")
            }
        }
    }
}

/// A pull request that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its title, one line.
    pub title: String,
    /// Its text.
    pub body: String,
    /// The branch that is to be merged.
    pub head: String,
    /// The branch that it is merged into.
    pub base: String,
    /// Whether it is opened as one that is not ready yet.
    pub is_draft: bool,
}

/// A pull request that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Where people look at it.
    pub url: String,
}

/// Asks a code host about one repository.
pub struct Forge<D> {
    place: Place,
    token: Zeroizing<String>,
    trust: Trust,
    dial: D,
}

impl<D> std::fmt::Debug for Forge<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forge")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl<D> Forge<D>
where
    D: Fn() -> BoxFuture<'static, std::io::Result<tokio::net::TcpStream>> + Sync,
{
    /// Prepares asking; `dial` connects to [`Place::interface`].
    pub fn new(place: Place, token: Zeroizing<String>, trust: Trust, dial: D) -> Self {
        Self {
            place,
            token,
            trust,
            dial,
        }
    }

    /// Returns the branch that the repository is known by.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn default_branch(&self) -> Result<String, ForgeError> {
        #[derive(Deserialize)]
        struct Repository {
            default_branch: String,
        }
        let answer = self.ask("GET", "", None).await?;
        let repository: Repository = read(answer)?;
        branch(repository.default_branch)
    }

    /// Returns the open pull request of a branch, whatever it is merged into; none when there is
    /// none.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn open(&self, head: &str) -> Result<Option<PullRequest>, ForgeError> {
        let owner = &self.place.owner;
        let question = format!("/pulls?state=open&per_page={PAGE}&head={owner}:{head}");
        let all: Vec<Listed> = read(self.ask("GET", &question, None).await?)?;
        // A server that does not know the filter answers with those of all branches.
        let own = all.into_iter().find(|one| one.head.name == head);
        own.map(|one| self.pull_request(one.html_url)).transpose()
    }

    /// Opens a pull request.
    ///
    /// # Errors
    /// When the server refuses, as it does where there is one already or nothing to merge.
    pub async fn create(&self, draft: &Draft) -> Result<PullRequest, ForgeError> {
        let body = json!({
            "title": draft.title,
            "body": draft.body,
            "head": draft.head,
            "base": draft.base,
            "draft": draft.is_draft,
            "maintainer_can_modify": false,
        });
        let made: Made = read(self.ask("POST", "/pulls", Some(&body)).await?)?;
        self.pull_request(made.html_url)
    }

    /// Believes an address only of the host itself, and without anything hidden.
    fn pull_request(&self, url: String) -> Result<PullRequest, ForgeError> {
        let port = self
            .place
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        let expected = format!("https://{}{port}/", self.place.host);
        let fits = url.starts_with(&expected)
            && url.len() < 500
            && !url.contains(|c: char| is_hidden(c) || c.is_whitespace());
        match fits {
            true => Ok(PullRequest { url }),
            false => Err(ForgeError::Odd {
                what: visible(&url).chars().take(200).collect(),
            }),
        }
    }

    async fn ask(
        &self,
        method: &'static str,
        resource: &str,
        body: Option<&Value>,
    ) -> Result<Vec<u8>, ForgeError> {
        let (target, prefix) = self.place.interface();
        let Place { owner, name, .. } = &self.place;
        let question = wire::Question {
            target: &target,
            method,
            path: format!("{prefix}/repos/{owner}/{name}{resource}"),
            token: &self.token,
            body,
        };
        let unreached = |source| ForgeError::Unreachable {
            host: target.to_string(),
            source,
        };
        let stream = (self.dial)().await.map_err(unreached)?;
        wire::ask(stream, &self.trust, question).await
    }
}

#[derive(Deserialize)]
struct Listed {
    html_url: String,
    head: Head,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "ref")]
    name: String,
}

#[derive(Deserialize)]
struct Made {
    html_url: String,
}

fn read<T: serde::de::DeserializeOwned>(answer: Vec<u8>) -> Result<T, ForgeError> {
    serde_json::from_slice(&answer).map_err(|cause| ForgeError::Odd {
        what: cause.to_string(),
    })
}

/// Takes the name of a branch from an answer only where it could be one.
fn branch(name: String) -> Result<String, ForgeError> {
    let odd = |c: char| is_hidden(c) || c.is_whitespace() || "~^:?*[\\".contains(c);
    if name.is_empty() || name.len() > 250 || name.starts_with('-') || name.contains(odd) {
        return Err(ForgeError::Odd {
            what: visible(&name).chars().take(200).collect(),
        });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, port: Option<u16>) -> Place {
        Place {
            host: host.parse().unwrap(),
            port,
            owner: "o".to_owned(),
            name: "r".to_owned(),
        }
    }

    #[test]
    fn each_kind_of_host_has_its_interface_where_it_says() {
        for (host, port, expected) in [
            ("github.com", None, ("api.github.com:443", "")),
            ("corp.ghe.com", None, ("api.corp.ghe.com:443", "")),
            ("git.corp.test", None, ("git.corp.test:443", "/api/v3")),
            (
                "git.corp.test",
                Some(8443),
                ("git.corp.test:8443", "/api/v3"),
            ),
            ("evil-github.com", None, ("evil-github.com:443", "/api/v3")),
        ] {
            let (target, prefix) = place(host, port).interface();
            assert_eq!((target.to_string().as_str(), prefix), expected, "{host}");
        }
    }

    #[test]
    fn an_address_of_another_host_or_with_hidden_letters_is_not_shown() {
        let forge = Forge::new(
            place("h.test", None),
            Zeroizing::new("hush".to_owned()),
            Trust::of_authorities(&[]).unwrap(),
            || -> BoxFuture<'static, std::io::Result<tokio::net::TcpStream>> {
                Box::pin(async { Err(std::io::ErrorKind::NotConnected.into()) })
            },
        );
        let take = |url: &str| forge.pull_request(url.to_owned()).is_ok();
        assert!(take("https://h.test/o/r/pull/1"));
        for url in [
            "https://evil.test/o/r/pull/1",
            "https://h.test.evil.test/",
            "http://h.test/o/r/pull/1",
            "https://h.test/\u{1b}[2J",
            "https://h.test/\u{202e}x",
            "https://h.test/a b",
        ] {
            assert!(!take(url), "{url}");
        }
        assert!(!format!("{forge:?}").contains("hush"));
    }

    #[test]
    fn a_name_that_is_no_branch_is_not_taken() {
        assert!(branch("main".to_owned()).is_ok());
        for name in ["", "-x", "a b", "a\u{1b}[2J", "a:b", "a\nb"] {
            assert!(branch(name.to_owned()).is_err(), "{name:?}");
        }
    }
}
