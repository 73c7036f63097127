//! Credentials: the agent sends a placeholder, the gateway puts the value in its place.
//!
//! On a host where some rule adds a credential, a request may carry the placeholder of that
//! credential, in the header its program uses, or nothing; the gateway adds the value either way,
//! for exactly the requests that the rule covers. Any other credential is refused: it would be
//! somebody else's account.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::mask::Forms;
use crate::policy::{Credential, CredentialForm, Egress, Target};

/// Headers that carry credentials to one service or another.
const HEADERS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-auth-token",
    "x-amz-security-token",
    "private-token",
];
/// Parts of a query that do so.
const QUERY: [&str; 7] = [
    "key",
    "api_key",
    "apikey",
    "api-key",
    "access_token",
    "token",
    "auth",
];
/// A shorter value could not be masked without touching what it is not.
const SHORTEST: usize = 8;

/// Returns what an agent holds in place of a secret: `loki-placeholder-NAME`.
#[must_use]
pub fn placeholder(secret: &str) -> String {
    format!("loki-placeholder-{secret}")
}

/// What is known of the credentials of one host and port.
#[derive(Debug, Default)]
pub(super) struct Guard {
    placeholders: Vec<String>,
    headers: Vec<HeaderName>,
}

/// Where a credential stands that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign(String);

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the gateway adds the credential here, and {} carries another one: send the placeholder \
             from the environment, or nothing",
            self.0
        )
    }
}

impl Guard {
    /// Collects what the rules for a target add; empty when they add nothing.
    pub(super) fn new(egress: &Egress, target: &Target) -> Self {
        let covering = egress
            .rules
            .iter()
            .filter(|rule| rule.host.matches(&target.name) && rule.port == target.port);
        let credentials = covering.filter_map(|rule| rule.request.as_ref()?.credential.as_ref());
        let mut guard = Self::default();
        for credential in credentials {
            guard.placeholders.push(placeholder(&credential.secret));
            if let CredentialForm::Header(name) = &credential.form {
                guard.headers.extend(name.parse::<HeaderName>());
            }
        }
        if !guard.placeholders.is_empty() {
            guard.headers.extend(HEADERS.map(HeaderName::from_static));
        }
        guard
    }

    /// Takes placeholders out of a request and refuses every other credential.
    pub(super) fn strip(
        &self,
        headers: &mut HeaderMap,
        query: Option<&str>,
    ) -> Result<(), Foreign> {
        for name in &self.headers {
            if headers
                .get_all(name)
                .iter()
                .any(|value| !self.is_ours(value))
            {
                return Err(Foreign(format!("the header `{name}`")));
            }
            headers.remove(name);
        }
        let parts = query
            .filter(|_| !self.placeholders.is_empty())
            .unwrap_or_default();
        match parts.split('&').find_map(credential_in) {
            Some(name) => Err(Foreign(format!("the query's `{name}`"))),
            None => Ok(()),
        }
    }

    /// Returns whether a value is a placeholder, by itself, behind a word such as `Bearer`, or as
    /// the password of `Basic`.
    fn is_ours(&self, value: &HeaderValue) -> bool {
        let Ok(text) = value.to_str() else {
            return false;
        };
        let (scheme, rest) = text.split_once(' ').unwrap_or(("", text));
        let rest = rest.trim();
        let is_placeholder = |text: &str| self.placeholders.iter().any(|one| one == text);
        if is_placeholder(rest) {
            return true;
        }
        let basic = scheme.eq_ignore_ascii_case("basic");
        let pair = basic.then(|| BASE64_STANDARD.decode(rest).ok()).flatten();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        pair.is_some_and(|pair| {
            pair.split_once(':').is_some_and(|(user, password)| {
                // Some programs send the token as the user.
                is_placeholder(password) || (password.is_empty() && is_placeholder(user))
            })
        })
    }
}

/// Returns the name of a part of a query that carries a credential.
fn credential_in(part: &str) -> Option<&'static str> {
    let name = part.split('=').next().unwrap_or(part);
    let name = percent_decode_str(name).decode_utf8_lossy();
    let name = name.to_ascii_lowercase();
    QUERY.into_iter().find(|known| *known == name)
}

/// Returns whether a request carries an account of its own, besides in the header that is ours.
pub(super) fn carries(headers: &HeaderMap, query: Option<&str>, own: Option<&HeaderName>) -> bool {
    let named = |name: &str| headers.contains_key(name) && own.is_none_or(|own| *own != *name);
    HEADERS.into_iter().any(named)
        || query
            .unwrap_or_default()
            .split('&')
            .any(|part| credential_in(part).is_some())
}

/// Why a credential cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCredential {
    #[error("the secret `{0}` of its rule is not there: `loki secrets set {0}`")]
    Unknown(String),
    #[error(
        "the secret `{0}` of its rule is shorter than {SHORTEST} bytes and could not be masked"
    )]
    Short(String),
    #[error("the secret `{0}` of its rule is too long to be masked")]
    Unmaskable(String),
    #[error("the secret `{0}` of its rule holds a byte that no header may hold")]
    Unsendable(String),
}

/// The credentials that were used last, each with the value it was made of: what is looked for in answers
/// costs more to make than the rest of a request.
#[derive(Default)]
pub(super) struct Made(Mutex<HashMap<Credential, Arc<Ready>>>);

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").finish_non_exhaustive()
    }
}

impl Made {
    /// Returns a credential's header, made anew when its value changed.
    pub(super) fn ready(
        &self,
        credential: &Credential,
        secret: Option<Zeroizing<String>>,
    ) -> Result<Arc<Ready>, NoCredential> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(ready), Some(secret)) = (made.get(credential), &secret)
            && ready.secret == *secret
        {
            return Ok(Arc::clone(ready));
        }
        let ready = Ready::new(credential, secret).map(Arc::new);
        match &ready {
            Ok(ready) => drop(made.insert(credential.clone(), Arc::clone(ready))),
            Err(_none) => drop(made.remove(credential)),
        }
        ready
    }
}

/// A credential ready to be added.
pub(super) struct Ready {
    secret: Zeroizing<String>,
    name: HeaderName,
    value: HeaderValue,
    /// What must not come back.
    pub(super) forms: Arc<Forms>,
}

impl Ready {
    /// Makes the header of a credential out of its value.
    pub(super) fn new(
        credential: &Credential,
        secret: Option<Zeroizing<String>>,
    ) -> Result<Self, NoCredential> {
        let Credential {
            secret: name, form, ..
        } = credential;
        let secret = secret.ok_or_else(|| NoCredential::Unknown(name.clone()))?;
        if secret.len() < SHORTEST {
            return Err(NoCredential::Short(name.clone()));
        }
        let (header, text) = match form {
            CredentialForm::Header(header) => (header.parse().ok(), secret.clone()),
            CredentialForm::Bearer => {
                let text = Zeroizing::new(format!("Bearer {}", *secret));
                (Some(AUTHORIZATION), text)
            }
            CredentialForm::Basic { user } => {
                let pair = Zeroizing::new(format!("{user}:{}", *secret));
                let text = format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()));
                (Some(AUTHORIZATION), Zeroizing::new(text))
            }
        };
        let value = HeaderValue::from_str(&text).ok();
        let Some((header, mut value)) = header.zip(value) else {
            return Err(NoCredential::Unsendable(name.clone()));
        };
        value.set_sensitive(true);
        // What follows `Basic` holds the secret at a place that depends on the user's length.
        let sent = text.strip_prefix("Basic ").unwrap_or(&secret);
        let forms = Forms::new([secret.as_bytes(), sent.as_bytes()]);
        let forms = forms.ok_or_else(|| NoCredential::Unmaskable(name.clone()))?;
        Ok(Self {
            name: header,
            value,
            forms,
            secret,
        })
    }

    /// Returns the value that it was made of.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns which header it is added as.
    pub(super) fn header(&self) -> &HeaderName {
        &self.name
    }

    /// Adds it to a request.
    pub(super) fn add(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let mut headers: Vec<_> = HEADERS.map(HeaderName::from_static).to_vec();
        headers.push(HeaderName::from_static("x-own"));
        Guard {
            placeholders: vec![placeholder("KEY")],
            headers,
        }
    }

    fn map(name: &str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        headers
    }

    #[test]
    fn a_placeholder_is_taken_out_in_every_form_a_program_sends() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        let forms = [
            ("x-api-key", "loki-placeholder-KEY".to_owned()),
            ("authorization", "Bearer loki-placeholder-KEY".to_owned()),
            ("authorization", "token loki-placeholder-KEY".to_owned()),
            ("authorization", basic("me:loki-placeholder-KEY")),
            ("authorization", basic("loki-placeholder-KEY:")),
            ("x-own", "loki-placeholder-KEY".to_owned()),
        ];
        for (name, value) in forms {
            let mut headers = map(name, &value);
            assert_eq!(guard().strip(&mut headers, None), Ok(()), "{name}: {value}");
            assert!(headers.is_empty(), "{name}: {value}");
        }
    }

    #[test]
    fn every_other_credential_is_refused() {
        for name in HEADERS.iter().chain(&["x-own"]) {
            for value in [
                "sk-attacker",
                "",
                "loki-placeholder-OTHER",
                "Bearer loki-placeholder-KEY, Bearer sk-attacker",
                "Basic bWU6YXR0YWNrZXI=",
            ] {
                let refused = guard().strip(&mut map(name, value), None);
                assert!(refused.is_err(), "{name}: {value}");
            }
        }
        for query in ["key=x", "a=b&API_KEY=x", "access_token", "k%65y=x"] {
            let refused = guard().strip(&mut HeaderMap::new(), Some(query));
            assert!(refused.is_err(), "{query}");
        }
        let mut twice = map("authorization", "Bearer loki-placeholder-KEY");
        twice.append(
            AUTHORIZATION,
            HeaderValue::from_static("Bearer sk-attacker"),
        );
        assert!(guard().strip(&mut twice, None).is_err());
    }

    #[test]
    fn without_a_credential_nothing_is_looked_at() {
        let mut headers = map("authorization", "Bearer own");
        assert_eq!(Guard::default().strip(&mut headers, Some("key=x")), Ok(()));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_credential_is_made_once_for_a_value_and_forgotten_with_its_secret() {
        let (made, bearer) = (Made::default(), CredentialForm::Bearer);
        let credential = Credential {
            secret: "KEY".to_owned(),
            command: None,
            form: bearer,
        };
        let value = |text: &str| Some(Zeroizing::new(text.to_owned()));
        let ready = |secret| made.ready(&credential, secret);
        let first = ready(value("long-enough")).ok().unwrap();
        let again = ready(value("long-enough")).ok().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let changed = ready(value("another-value")).ok().unwrap();
        let mut headers = HeaderMap::new();
        changed.add(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer another-value");
        assert!(ready(None).is_err() && made.0.lock().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_sent_or_masked_is_not_added() {
        let credential = |form| Credential {
            secret: "KEY".to_owned(),
            command: None,
            form,
        };
        let ready = |secret: Option<&str>| {
            let secret = secret.map(|text| Zeroizing::new(text.to_owned()));
            Ready::new(&credential(CredentialForm::Bearer), secret).map(|_| ())
        };
        assert_eq!(ready(None), Err(NoCredential::Unknown("KEY".to_owned())));
        assert_eq!(
            ready(Some("short")),
            Err(NoCredential::Short("KEY".to_owned()))
        );
        let split = ready(Some("long enough\r\nx: y"));
        assert_eq!(split, Err(NoCredential::Unsendable("KEY".to_owned())));
        assert_eq!(ready(Some("long-enough")), Ok(()));
    }
}
