//! What a rule says of requests, for people and as YAML.

use std::fmt;

use super::{Credential, CredentialForm, GitRule, Push, RegistryRule, RequestRule};
use crate::policy::{units, written};

impl fmt::Display for RequestRule {
    /// Says it in one line: `POST /v1/messages, adds API_KEY as x-api-key`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        match (&self.git, &self.registry) {
            (Some(git), _) => said.push(git.to_string()),
            (_, Some(registry)) => {
                let below = self.paths.first().map(super::PathPattern::as_str);
                let below = below.filter(|path| *path != "/**");
                let below = below.map_or_else(String::new, |path| format!(" at {path}"));
                said.push(format!("{registry}{below}"));
            }
            _ => said.push(asks(self)),
        }
        said.extend(self.credential.as_ref().map(ToString::to_string));
        said.extend(self.websocket.then(|| "WebSocket".to_owned()));
        let most = self.max_request_bytes.map(units::written_size);
        said.extend(most.map(|most| format!("at most {most}")));
        let first = self.first_byte_timeout.map(units::written_duration);
        said.extend(first.map(|first| format!("answered within {first}")));
        let kept = self.cache.map(units::written_duration);
        said.extend(kept.map(|kept| format!("answers kept {kept}")));
        f.write_str(&said.join(", "))
    }
}

fn asks(rule: &RequestRule) -> String {
    let methods = match rule.methods.as_slice() {
        [] => "any method".to_owned(),
        methods => methods.join(" "),
    };
    let paths: Vec<&str> = rule.paths.iter().map(super::PathPattern::as_str).collect();
    match paths.as_slice() {
        [] => methods,
        paths => format!("{methods} {}", paths.join(" ")),
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adds {}", self.secret)?;
        if let Some(command) = &self.command {
            write!(f, " of command {}", written::list(command))?;
        }
        f.write_str(" as ")?;
        match &self.form {
            CredentialForm::Header(name) => f.write_str(name),
            CredentialForm::Bearer => f.write_str("bearer"),
            CredentialForm::Basic { user } => write!(f, "password of {user}"),
        }
    }
}

impl fmt::Display for GitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "git {}", self.repo)?;
        match &self.push {
            Push::Never => f.write_str(" fetch only"),
            Push::Branches(branches) => write!(f, " push {}", branches.join(" ")),
        }
    }
}

impl fmt::Display for RegistryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry {}", self.kind.name())?;
        if let Some(age) = self.min_age {
            write!(f, " older than {}", units::written_duration(age))?;
        }
        for (word, names) in [("only", &self.allow), ("never", &self.deny)] {
            if !names.is_empty() {
                write!(f, " {word} {}", names.join(" "))?;
            }
        }
        match self.advisories {
            Some(true) => f.write_str(" advisories")?,
            Some(false) => f.write_str(" no advisories")?,
            None => {}
        }
        if !self.accept.is_empty() {
            write!(f, " accept {}", self.accept.join(" "))?;
        }
        Ok(())
    }
}

/// Returns the keys of a policy that say it, each with its value as YAML: what a rule for a host
/// has besides host and port. Those of a registry say its hosts too.
pub(in crate::policy) fn keys(rule: &RequestRule) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(registry) = &rule.registry {
        keys.push(format!("registry: {}", registry.kind.name()));
        let age = registry.min_age.map(units::written_duration);
        keys.extend(age.map(|age| format!("min_age: {age}")));
        keys.extend(listed("allow", &registry.allow));
        keys.extend(listed("deny", &registry.deny));
        let heeds = registry.advisories;
        keys.extend(heeds.map(|heeds| format!("advisories: {heeds}")));
        keys.extend(listed("accept", &registry.accept));
        keys.extend(rule.credential.as_ref().map(credential));
        return keys;
    }
    keys.extend(listed("methods", &rule.methods));
    let paths: Vec<&str> = rule.paths.iter().map(super::PathPattern::as_str).collect();
    keys.extend(listed("paths", &paths));
    keys.extend(rule.credential.as_ref().map(credential));
    keys.extend(rule.websocket.then(|| "websocket: true".to_owned()));
    let most = rule.max_request_bytes.map(units::written_size);
    keys.extend(most.map(|most| format!("max_request_bytes: {most}")));
    let first = rule.first_byte_timeout.map(units::written_duration);
    keys.extend(first.map(|first| format!("first_byte_timeout: {first}")));
    let kept = rule.cache.map(units::written_duration);
    keys.extend(kept.map(|kept| format!("cache: {kept}")));
    if let Some(git) = &rule.git {
        let push = match &git.push {
            Push::Never => "false".to_owned(),
            Push::Branches(branches) => written::list(branches),
        };
        let repo = written::quoted(&git.repo);
        keys.push(format!("git: {{ repo: {repo}, push: {push} }}"));
    }
    if keys.is_empty() {
        // Nothing is narrowed, and still all is inspected.
        keys.push("websocket: false".to_owned());
    }
    keys
}

fn listed(key: &str, items: &[impl AsRef<str>]) -> Option<String> {
    (!items.is_empty()).then(|| format!("{key}: {}", written::list(items)))
}

fn credential(credential: &Credential) -> String {
    let form = match &credential.form {
        CredentialForm::Header(name) => format!("header: {}", written::quoted(name)),
        CredentialForm::Bearer => "bearer: true".to_owned(),
        CredentialForm::Basic { user } => format!("basic: {}", written::quoted(user)),
    };
    let name = &credential.secret;
    let origin = match &credential.command {
        Some(command) => format!("command: {}, name: {name}", written::list(command)),
        None => format!("secret: {name}"),
    };
    format!("credential: {{ {origin}, {form} }}")
}
