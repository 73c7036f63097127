//! Finds the hosts that packages come from, by asking this machine's own package tools.
//!
//! Each tool is asked in an empty directory of Loki's own, with neither the environment nor any
//! file of the repository, so that system and user configuration count, else what the tool has
//! built in. No registry is named here. A tool that is missing, slow or unclear says nothing, and
//! then a rule for its registry is a fault. What only the tool's own environment variables say, and
//! what npm has for single scopes, is not seen.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::policy::{Layer, Protocol, RegistryHost, RegistryKind, Source};

use super::env::Environment;

/// How long one tool may take.
const PATIENCE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);
/// The most that is read of what a tool says.
const LONGEST: u64 = 256 * 1024;

/// Returns the hosts of every registry that some policy names. Those that only the shipped ones
/// name are asked for when something is installed.
pub(super) fn find(
    env: &Environment,
    sources: &[Source],
) -> BTreeMap<RegistryKind, Vec<RegistryHost>> {
    let named = |kind: RegistryKind| {
        let names = |text: &str| text.contains("registry:") && text.contains(kind.name());
        let own = |source: &&Source| source.layer != Layer::BuiltIn;
        let mut sources = sources.iter().filter(own);
        sources.any(|source| names(&source.text))
    };
    let kinds = [
        RegistryKind::Npm,
        RegistryKind::Pypi,
        RegistryKind::Crates,
        RegistryKind::Debian,
    ];
    let named = kinds.into_iter().filter(|kind| named(*kind));
    named.map(|kind| (kind, ask(env, kind).hosts)).collect()
}

/// What this machine says of a registry.
#[derive(Default)]
pub(super) struct Registry {
    /// Its hosts.
    pub(super) hosts: Vec<RegistryHost>,
    /// The address of its index, without what proves who asks, where it is another than what the
    /// tool has built in.
    pub(super) index: Option<String>,
}

/// Asks this machine's tool for its registry.
pub(super) fn ask(env: &Environment, kind: RegistryKind) -> Registry {
    let Some(tools) = Tools::new(env) else {
        return Registry::default();
    };
    let said = match kind {
        RegistryKind::Npm => npm(&tools),
        RegistryKind::Pypi => pypi(&tools),
        RegistryKind::Crates => crates(&tools),
        RegistryKind::Debian => Said {
            urls: debian(&tools),
            index: None,
        },
    };
    Registry {
        hosts: hosts(&said.urls),
        index: said.index.and_then(|url| bare(&url)),
    }
}

/// The URLs that a tool names.
#[derive(Default)]
struct Said {
    urls: Vec<String>,
    /// That of the index, where it was configured.
    index: Option<String>,
}

/// Returns a URL without its user and password.
fn bare(url: &str) -> Option<String> {
    let RegistryHost {
        host: name,
        port,
        protocol,
        prefix,
    } = host(url.trim())?;
    let scheme = match protocol {
        Protocol::Http => "http",
        _ => "https",
    };
    Some(format!("{scheme}://{name}:{port}{prefix}"))
}

/// Where tools are asked, and with what.
struct Tools<'e> {
    path: &'e str,
    home: &'e Path,
    directory: tempfile::TempDir,
}

impl<'e> Tools<'e> {
    fn new(env: &'e Environment) -> Option<Self> {
        // Not in /tmp: tools look for configuration in the directories above, and anybody may
        // write there.
        let cache = env.cache().ok()?;
        fs::create_dir_all(cache).ok()?;
        Some(Self {
            path: &env.path,
            home: env.home.as_deref()?,
            directory: tempfile::tempdir_in(cache).ok()?,
        })
    }

    /// Returns what a program says, on both streams; empty when it does not run or end.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tools of this machine are asked, with nothing of a repository in reach"
    )]
    fn ask(&self, words: &[&str], settings: &[(&str, &str)]) -> String {
        let Some((program, words)) = words.split_first() else {
            return String::new();
        };
        let said =
            tempfile::tempfile().and_then(|said| Ok((said.try_clone()?, said.try_clone()?, said)));
        let Ok((out, err, said)) = said else {
            return String::new();
        };
        let child = Command::new(program)
            .args(words)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", self.path)
            .env("HOME", self.home)
            .env("LC_ALL", "C")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn();
        let Ok(mut child) = child else {
            return String::new();
        };
        let mut waited = Duration::ZERO;
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if waited > PATIENCE {
                drop(child.kill());
                drop(child.wait());
                return String::new();
            }
            std::thread::sleep(STEP);
            waited += STEP;
        }
        text(said).unwrap_or_default()
    }
}

fn text(mut said: File) -> Option<String> {
    said.rewind().ok()?;
    let mut text = String::new();
    said.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn npm(tools: &Tools<'_>) -> Said {
    let said = tools.ask(&["npm", "config", "get", "registry"], &[]);
    let urls: Vec<String> = said.lines().map(str::to_owned).collect();
    Said {
        index: urls.iter().find(|url| host(url.trim()).is_some()).cloned(),
        urls,
    }
}

/// What pip has built in, where it says so.
const BUILT_IN: &str = "from pip._internal.models.index import PyPI\n\
    print(PyPI.simple_url)\nprint('https://' + PyPI.file_storage_domain)";

fn pypi(tools: &Tools<'_>) -> Said {
    let own = indexes(&tools.ask(&["pip", "config", "list"], &[]));
    let index = own.iter().find(|(key, _)| key == "index-url");
    let index = index.map(|(_, url)| url.clone());
    let mut urls: Vec<String> = own.into_iter().map(|(_, url)| url).collect();
    if index.is_none() {
        let said = tools.ask(&["python3", "-I", "-c", BUILT_IN], &[]);
        urls.extend(said.lines().map(str::to_owned));
    }
    Said { urls, index }
}

/// Returns the URLs of `global.index-url='…'` and its like, each with the last word of its key.
fn indexes(said: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in said.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.rsplit('.').next().unwrap_or(key);
        if matches!(key, "index-url" | "extra-index-url") {
            let value = value.trim_matches(['\'', '"']).replace("\\n", " ");
            let urls = value.split_whitespace();
            found.extend(urls.map(|url| (key.to_owned(), url.to_owned())));
        }
    }
    found
}

/// A package that needs another, so that cargo must look for it.
/// It is a workspace of its own, should the cache lie in somebody's.
const PACKAGE: &str = "[workspace]\n[package]\nname = \"asks\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
    [lib]\npath = \"lib.rs\"\n[dependencies]\ncfg-if = \"1\"\n";

fn crates(tools: &Tools<'_>) -> Said {
    let directory = tools.directory.path();
    let package = [("Cargo.toml", PACKAGE), ("lib.rs", "")];
    for (name, text) in package {
        use std::io::Write as _;
        let written = File::create_new(directory.join(name));
        if !written.is_ok_and(|mut file| file.write_all(text.as_bytes()).is_ok()) {
            return Said::default();
        }
    }
    // With its home elsewhere and no way out it has nothing kept, and says where it would look.
    let home = directory.join("home");
    let configured = tools.home.join(".cargo");
    let copied = ["config.toml", "config"].iter().all(|name| {
        let from = configured.join(name);
        !from.exists()
            || (fs::create_dir_all(&home).is_ok() && fs::copy(from, home.join(name)).is_ok())
    });
    let settings = [
        ("CARGO_HOME", home.to_str().unwrap_or_default()),
        ("CARGO_HTTP_PROXY", "http://127.0.0.1:1"),
        ("CARGO_NET_RETRY", "0"),
    ];
    if !copied || settings[0].1.is_empty() {
        return Said::default();
    }
    let said = tools.ask(&["cargo", "fetch"], &settings);
    let Some(index) = index_of(&said) else {
        return Said::default();
    };
    let mut urls = vec![index.to_owned()];
    let kept = configured.join("registry/index");
    let mut files = downloads(&kept, index);
    if files.is_empty() {
        tools.ask(&["cargo", "fetch"], &[]);
        files = downloads(&kept, index);
    }
    if files.is_empty() {
        // An index without its files would only fail later.
        return Said::default();
    }
    urls.extend(files);
    let moved = ["config.toml", "config"].iter().any(|name| {
        let text = fs::read_to_string(home.join(name));
        text.is_ok_and(|text| text.contains("replace-with"))
    });
    Said {
        index: moved.then(|| index.to_owned()),
        urls,
    }
}

/// Returns the index that cargo could not reach.
fn index_of(said: &str) -> Option<&str> {
    let (_, behind) = said.split_once("failed to download from `")?;
    let (url, _) = behind.split_once('`')?;
    url.strip_suffix("/config.json")
}

/// Returns where the index that cargo has kept says that files are.
fn downloads(kept: &Path, index: &str) -> Vec<String> {
    let Some(host) = hosts(&[index.to_owned()]).pop() else {
        return Vec::new();
    };
    let begin = format!("{}-", host.host);
    let entries = fs::read_dir(kept).into_iter().flatten().flatten();
    let of_index = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin));
    let said = of_index.filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("config.json")).ok()?;
        let said: serde_json::Value = serde_json::from_str(&text).ok()?;
        let template = said.get("dl")?.as_str()?.to_owned();
        // `{crate}` and the like stand for what differs from file to file.
        let fixed = template.split_once('{').map(|(fixed, _)| fixed.to_owned());
        Some(fixed.unwrap_or(template))
    });
    said.collect()
}

fn debian(tools: &Tools<'_>) -> Vec<String> {
    let said = tools.ask(&["apt-get", "indextargets", "--format", "$(REPO_URI)"], &[]);
    said.lines().map(str::to_owned).collect()
}

/// Returns the hosts of URLs, each once; what is no URL of the web is left out.
fn hosts(urls: &[String]) -> Vec<RegistryHost> {
    let mut hosts: Vec<RegistryHost> = Vec::new();
    for host in urls.iter().filter_map(|url| host(url.trim())) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn host(url: &str) -> Option<RegistryHost> {
    let url = url.strip_prefix("sparse+").unwrap_or(url);
    let (protocol, usual, rest) = match url.split_once("://")? {
        ("https", rest) => (Protocol::Tls, 443, rest),
        ("http", rest) => (Protocol::Http, 80, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, after)| after);
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (authority, usual),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_end_matches('/');
    Some(RegistryHost {
        host: name.parse().ok()?,
        port,
        protocol,
        prefix: if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(urls: &[&str]) -> Vec<String> {
        let urls: Vec<String> = urls.iter().map(|&url| url.to_owned()).collect();
        let hosts = hosts(&urls).into_iter();
        hosts
            .map(|host| {
                format!(
                    "{} {} {} {}",
                    host.host, host.port, host.protocol, host.prefix
                )
            })
            .collect()
    }

    #[test]
    fn urls_of_the_web_become_hosts_and_others_nothing() {
        assert_eq!(
            shown(&[
                "https://npm.test/",
                "https://npm.test",
                "http://me:hush@deb.test/debian/",
                "sparse+https://index.test:8443/a/b/?x=1",
                "file:///srv/mirror",
                "https://10.0.0.1/",
                "https://[::1]/",
                "https://a.test:x/",
                "undefined",
                "",
            ]),
            [
                "npm.test 443 tls ",
                "deb.test 80 http /debian",
                "index.test 8443 tls /a/b",
            ]
        );
    }

    #[test]
    fn what_pip_is_configured_for_is_read_from_its_list() {
        let said = "global.index-url='https://a.test/simple'\nglobal.timeout='3'\n\
            install.extra-index-url='\\nhttps://b.test/x\\nhttps://c.test'\n";
        let found = indexes(said);
        let urls: Vec<&str> = found.iter().map(|(_, url)| url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "https://a.test/simple",
                "https://b.test/x",
                "https://c.test"
            ]
        );
        assert_eq!(found[0].0, "index-url");
    }

    #[test]
    fn where_cargo_would_look_is_read_from_its_complaint() {
        let said = "error: failed to get `x`\nCaused by:\n  failed to download from `https://i.test/a/config.json`\n";
        assert_eq!(index_of(said), Some("https://i.test/a"));
        assert_eq!(index_of("error: no such command"), None);
    }
}
