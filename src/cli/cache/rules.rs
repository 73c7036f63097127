//! What decides which packages an install may fetch: the rules of role `install`, and the advisories
//! of this user. What was kept under others is not used.

use crate::{
    digest::Digest,
    policy::{Facts, Policy, Protocol, RegistryHost, RegistryKind, RegistryRule, Source},
};

use super::super::{advisories, env::Environment, setup::Gathered};

/// Returns a digest of it.
pub(super) fn digest(env: &Environment, gathered: &Gathered) -> Result<Digest, String> {
    let rules = of_install(&gathered.sources, &gathered.facts)?;
    let heeds = rules.iter().any(|rule| rule.advisories != Some(false));
    let known = match heeds {
        true => advisories::known(env).map_err(|fault| fault.message)?,
        false => None,
    };
    let all = serde_json::to_vec(&(rules, known)).expect("rules and numbers are JSON");
    Ok(Digest::of(&all))
}

/// Returns the rules about packages. Where these come from does not count, so no tool of this
/// machine is asked.
fn of_install(sources: &[Source], facts: &Facts) -> Result<Vec<RegistryRule>, String> {
    let kinds = [
        RegistryKind::Npm,
        RegistryKind::Pypi,
        RegistryKind::Crates,
        RegistryKind::Debian,
    ];
    let somewhere = |kind: RegistryKind| {
        let host = format!("{}.registry.invalid", kind.name());
        let host = RegistryHost {
            host: host.parse().expect("it is a host's name"),
            port: 443,
            protocol: Protocol::Tls,
            prefix: String::new(),
        };
        (kind, vec![host])
    };
    let facts = Facts {
        registries: kinds.map(somewhere).into(),
        ..facts.clone()
    };
    let policy = Policy::check_knowing(sources, &facts);
    let policy = policy.map_err(|faults| {
        let first = faults.first().map(|fault| fault.message.clone());
        format!("its policy has faults: {}", first.unwrap_or_default())
    })?;
    let install = "install".parse().expect("the name is a role's");
    let rights = policy.rights(&install);
    let rights = rights.ok_or("no policy knows role `install`")?;
    let rules = rights.egress.rules.into_iter();
    Ok(rules.filter_map(|rule| rule.request?.registry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Layer;

    /// The rules of what is shipped and of a person's own file with this item.
    fn rules(item: &str) -> Vec<u8> {
        let mut sources = Policy::builtin_sources();
        if !item.is_empty() {
            let text =
                format!("version: 1\nnetwork_policies: {{ install: {{ egress: [{item}] }} }}\n");
            sources.push(Source {
                layer: Layer::User,
                file: "policy.yaml".into(),
                text,
            });
        }
        let rules = of_install(&sources, &Facts::default()).unwrap();
        assert!(!rules.is_empty());
        serde_json::to_vec(&rules).unwrap()
    }

    #[test]
    fn attack_g16_whatever_is_narrowed_for_packages_is_told_apart() {
        let items = [
            "",
            "{ registry: npm }",
            "{ registry: npm, deny: [ms] }",
            "{ registry: npm, deny: [ms, nc] }",
            "{ registry: npm, allow: [ms] }",
            "{ registry: npm, min_age: 365d }",
            "{ registry: npm, advisories: true }",
            "{ registry: npm, accept: [CVE-2024-1] }",
            "{ registry: pypi, deny: [ms] }",
        ];
        let all: std::collections::BTreeSet<_> = items.iter().map(|item| rules(item)).collect();
        assert_eq!(all.len(), items.len());
        assert_eq!(rules(items[2]), rules("{ deny: [ms], registry: npm }"));
    }
}
