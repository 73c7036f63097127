//! What an agent program needs in addition to its role: the entry `provider-NAME` of the shipped
//! `providers.yaml`, overlaid by other layers like any role's.
//!
//! It is added to a role's lists before denials are taken out, so a denial of the role, of the
//! organisation or of the entry itself holds for it too.

use super::fields::{Fields, List};
use crate::name::Role;

/// The providers whose programs need anything.
const NEEDY: [&str; 1] = ["claude"];

/// Returns the entry of policies that says what a provider's program needs; none when it needs
/// nothing.
#[must_use]
pub fn entry_of(provider: &str) -> Option<Role> {
    NEEDY.contains(&provider).then(|| {
        format!("provider-{provider}")
            .parse()
            .expect("a provider's name makes a role's")
    })
}

/// Returns whether nobody works as this role: Loki's own checks and installs, and the entries of
/// providers.
#[must_use]
pub fn is_internal(role: &Role) -> bool {
    matches!(role.as_str(), "check" | "install") || role.as_str().starts_with("provider-")
}

/// Adds what `needs` lists to a role's programs, hosts and secrets, its denials, and its image on
/// top of the role's.
pub(super) fn add(fields: &mut Fields, needs: Fields) {
    join(&mut fields.execute, needs.execute);
    join(&mut fields.egress, needs.egress);
    join(&mut fields.secrets, needs.secrets);
    fields.bounds.extend(&needs.bounds);
    if let Some(layer) = needs.image {
        let under = fields.image.take();
        let name = under.map_or_else(|| "base".to_owned(), |said| said.value);
        let mut image = layer;
        image.value = format!("{name}+{}", image.value);
        fields.image = Some(image);
    }
}

fn join<T>(mine: &mut Option<List<T>>, more: Option<List<T>>) {
    match (mine.as_mut(), more) {
        (Some(mine), Some(more)) => mine.value.extend(more.value),
        (None, more) => *mine = more,
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, Layer, Origin, Policy, Program, Rights, Source};

    fn rights(extra: &str, role: &str, provider: Option<&str>) -> Rights {
        let mut sources = Policy::builtin_sources();
        sources.push(Source {
            layer: Layer::Organisation,
            file: "org.yaml".into(),
            text: format!("version: 1\n{extra}"),
        });
        let facts = Facts {
            provider: provider.map(|name| name.parse().unwrap()),
            ..Facts::default()
        };
        let policy = Policy::check_knowing(&sources, &facts).unwrap();
        policy.rights(&role.parse().unwrap()).unwrap()
    }

    fn runs_it(rights: &Rights) -> bool {
        rights
            .programs
            .contains(&Program::Image("claude".to_owned()))
    }

    fn hosts(rights: &Rights) -> Vec<String> {
        rights
            .egress
            .rules
            .iter()
            .map(|rule| format!("{}:{}", rule.host, rule.port))
            .collect()
    }

    const CLAUDE: Option<&str> = Some("provider-claude");

    #[test]
    fn a_provider_adds_what_it_needs_with_its_origin_and_takes_nothing() {
        let (without, with) = (
            rights("", "eng-backend", None),
            rights("", "eng-backend", CLAUDE),
        );
        assert!(!runs_it(&without) && runs_it(&with));
        assert_eq!(
            (hosts(&without).len(), hosts(&with)),
            (0, vec!["api.anthropic.com:443".to_owned()])
        );
        assert_eq!(
            (without.image.as_str(), with.image.as_str()),
            ("base", "base+claude")
        );
        assert_eq!(with.files, without.files);
        let from = |origin: &Origin| origin.file == "policies/providers.yaml" && origin.line > 1;
        assert!(from(&with.egress.rules[0].origin) && from(&with.program_origins["claude"]));
        let kept = |program: &Program| with.programs.contains(program);
        assert!(without.programs.iter().all(kept));
    }

    #[test]
    fn a_host_of_the_role_stays_beside_that_of_the_provider() {
        let with = rights("", "biz-finance", CLAUDE);
        assert_eq!(
            hosts(&with),
            ["api.stripe.com:443", "api.anthropic.com:443"]
        );
    }

    #[test]
    fn every_needy_provider_has_a_shipped_entry() {
        for name in super::NEEDY {
            let entry = super::entry_of(name).unwrap();
            rights("", entry.as_str(), Some(entry.as_str()));
        }
        assert_eq!(super::entry_of("command"), None);
    }

    #[test]
    fn checks_and_the_entries_themselves_get_nothing_added() {
        assert_eq!(rights("", "check", CLAUDE), rights("", "check", None));
        let own = rights("", "provider-claude", CLAUDE);
        assert_eq!(own.image, "claude");
    }

    #[test]
    fn denials_hold_for_what_a_provider_needs() {
        let closed = rights(
            "network_policies: { deny: [\"*.anthropic.com\"] }\n",
            "eng-backend",
            CLAUDE,
        );
        assert!(hosts(&closed).is_empty() && runs_it(&closed));
        let role = "permissions: { eng-qa: { deny: { execute: [claude] } } }\n";
        assert!(!runs_it(&rights(role, "eng-qa", CLAUDE)));
        assert!(runs_it(&rights(role, "eng-backend", CLAUDE)));
    }

    #[test]
    fn an_organisation_may_name_another_host_for_a_provider() {
        let text =
            "network_policies: { provider-claude: { egress: [\"models.example.com:443\"] } }\n";
        assert_eq!(
            hosts(&rights(text, "eng-backend", CLAUDE)),
            ["models.example.com:443"]
        );
    }
}
