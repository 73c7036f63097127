//! Rights that are one number: caps, rates and the least isolation, each with its range, its
//! default and the direction in which it gets looser.
//!
//! Every number is an `f64` here: the largest size that is taken is 2^50, which it holds exactly.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Globs, Layer, Minimum, Rates, Resources,
    fields::{Section, text},
    sheet::{Mark, Sheet},
    units,
    yaml::Node,
};

/// One number of a role's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    Cpus,
    Memory,
    Pids,
    Disk,
    Timeout,
    IdleTimeout,
    Log,
    ApiCalls,
    ApiCallsTotal,
    FileWrites,
    NetworkBytes,
    NetworkTotal,
    OnDeny,
    Landlock,
    Cgroup,
    WriteMeter,
}

/// Numbers, each with where it comes from.
pub(super) type Limits<T> = BTreeMap<Limit, T>;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Processors,
    Count,
    Bytes,
    Time,
    /// `required` is 1; the other word is 0.
    Choice(&'static str),
    /// The first word is 1, the second 0.
    Words(&'static str, &'static str),
}

/// What there is to know of one limit.
pub(super) struct Facts {
    pub(super) name: &'static str,
    pub(super) section: Section,
    pub(super) kind: Kind,
    pub(super) least: &'static str,
    pub(super) most: &'static str,
    pub(super) default: &'static str,
}

const fn facts(
    name: &'static str,
    section: Section,
    kind: Kind,
    (least, most): (&'static str, &'static str),
    default: &'static str,
) -> Facts {
    Facts {
        name,
        section,
        kind,
        least,
        most,
        default,
    }
}

impl Limit {
    pub(super) const ALL: [Self; 16] = [
        Self::Cpus,
        Self::Memory,
        Self::Pids,
        Self::Disk,
        Self::Timeout,
        Self::IdleTimeout,
        Self::Log,
        Self::ApiCalls,
        Self::ApiCallsTotal,
        Self::FileWrites,
        Self::NetworkBytes,
        Self::NetworkTotal,
        Self::OnDeny,
        Self::Landlock,
        Self::Cgroup,
        Self::WriteMeter,
    ];

    /// Returns what there is to know of it.
    pub(super) fn facts(self) -> Facts {
        use Kind::{Bytes, Choice, Count, Processors, Time, Words};
        use Section::{MinimumIsolation, NetworkPolicies, RateLimits, Resources};
        const SIZE: &str = "1024TiB";
        match self {
            Self::Cpus => facts("cpus", Resources, Processors, ("0.01", "1024"), "2"),
            Self::Memory => facts("memory", Resources, Bytes, ("16MiB", SIZE), "2GiB"),
            Self::Pids => facts("pids", Resources, Count, ("4", "4194304"), "256"),
            Self::Disk => facts("disk", Resources, Bytes, ("1MiB", SIZE), "4GiB"),
            Self::Timeout => facts("timeout", Resources, Time, ("1s", "30d"), "30m"),
            Self::IdleTimeout => facts("idle_timeout", Resources, Time, ("1s", "30d"), "10m"),
            Self::Log => facts("log", Resources, Bytes, ("1KiB", SIZE), "32MiB"),
            Self::ApiCalls => facts(API_CALLS, RateLimits, Count, ("1", "1000000"), "60"),
            Self::ApiCallsTotal => {
                facts(CALLS_TOTAL, RateLimits, Count, ("1", "100000000"), "none")
            }
            Self::FileWrites => facts(FILE_WRITES, RateLimits, Count, ("1", "10000000"), "600"),
            Self::NetworkBytes => facts(NETWORK, RateLimits, Bytes, ("1KiB", SIZE), "200MiB"),
            Self::NetworkTotal => facts(NETWORK_TOTAL, RateLimits, Bytes, ("1KiB", SIZE), "8GiB"),
            Self::OnDeny => {
                let kind = Words("ask", "deny");
                facts("on_deny", NetworkPolicies, kind, ("", ""), "deny")
            }
            Self::Landlock => facts("landlock", MinimumIsolation, Count, ("1", "99"), "1"),
            Self::Cgroup => facts(
                "cgroup",
                MinimumIsolation,
                Choice("none"),
                ("", ""),
                "required",
            ),
            Self::WriteMeter => {
                let kind = Choice("optional");
                facts("write_meter", MinimumIsolation, kind, ("", ""), "optional")
            }
        }
    }

    /// Returns the key that sets it.
    pub(super) fn name(self) -> &'static str {
        self.facts().name
    }

    /// Returns the limit that `name` sets in `section`.
    pub(super) fn named(section: Section, name: &str) -> Option<Self> {
        let is = |limit: &Self| limit.name() == name && limit.facts().section == section;
        Self::ALL.into_iter().find(is)
    }

    /// Returns the documented value of what nobody says.
    pub(super) fn default(self) -> f64 {
        self.parse(self.facts().default)
            .expect("every default above lies in its range")
    }

    /// Returns whether `value` gives a role more than `than` does.
    pub(super) fn is_looser(self, value: f64, than: f64) -> bool {
        if self.facts().section == Section::MinimumIsolation {
            value < than
        } else {
            value > than
        }
    }

    fn parse(self, text: &str) -> Option<f64> {
        let facts = self.facts();
        let number = |text: &str| match facts.kind {
            Kind::Processors => text.parse::<f64>().ok().filter(|number| number.is_finite()),
            Kind::Count => text.parse::<u32>().ok().map(f64::from),
            Kind::Bytes => units::size(text).map(|size| size as f64),
            Kind::Time => units::duration(text).map(|time| time.as_secs_f64()),
            Kind::Choice(_) | Kind::Words(..) => None,
        };
        match facts.kind {
            Kind::Choice(_) if text == "required" => return Some(1.0),
            Kind::Choice(other) => return (text == other).then_some(0.0),
            Kind::Words(one, zero) => {
                let value = [(one, 1.0), (zero, 0.0)];
                return value
                    .into_iter()
                    .find_map(|(word, value)| (word == text).then_some(value));
            }
            _ if facts.section == Section::RateLimits && text == "none" => {
                return Some(f64::INFINITY);
            }
            _ => {}
        }
        let range = number(facts.least)?..=number(facts.most)?;
        number(text).filter(|number| range.contains(number))
    }

    fn wanted(self) -> String {
        let Facts {
            least,
            most,
            section,
            kind,
            ..
        } = self.facts();
        let none = if section == Section::RateLimits {
            ", or `none`"
        } else {
            ""
        };
        match kind {
            Kind::Processors => {
                format!("a number of processors from {least} to {most}, such as `2` or `1.5`")
            }
            Kind::Count if self == Self::Pids => {
                format!("a number of processes from {least} to {most}")
            }
            Kind::Count => format!("a whole number from {least} to {most}{none}"),
            Kind::Bytes => format!(
                "a size from {least} to {most} with its unit, such as `512MiB` or `2GiB`{none}"
            ),
            Kind::Time => {
                format!("a duration from {least} to {most} with its unit, such as `30m`")
            }
            Kind::Choice(other) => format!("`required` or `{other}`"),
            Kind::Words(one, zero) => format!("`{one}` or `{zero}`"),
        }
    }

    /// Reads the value of a field.
    pub(super) fn read(self, sheet: &mut Sheet<'_>, node: &Node) -> Option<f64> {
        let wanted = self.wanted();
        let given = text(sheet, node, &wanted)?;
        let value = self.parse(given);
        if value.is_none() {
            let message = format!("`{}` is not {wanted}", given.escape_debug());
            sheet.fault(node.at, message, None);
        }
        if self == Self::Cgroup && value == Some(0.0) {
            gives_up_cgroups(sheet, node.at);
        }
        value
    }

    /// Returns a value as a policy would write it.
    pub(super) fn show(self, value: f64) -> String {
        if value.is_infinite() {
            return "none".to_owned();
        }
        match self.facts().kind {
            Kind::Processors | Kind::Count => value.to_string(),
            Kind::Bytes => units::written_size(value as u64),
            Kind::Time => units::written_duration(Duration::from_secs_f64(value)),
            Kind::Choice(other) => if value > 0.0 { "required" } else { other }.to_owned(),
            Kind::Words(one, zero) => if value > 0.0 { one } else { zero }.to_owned(),
        }
    }
}

const API_CALLS: &str = "api_calls_per_minute";
const CALLS_TOTAL: &str = "api_calls_per_run";
const FILE_WRITES: &str = "file_writes_per_minute";
const NETWORK: &str = "network_bytes_per_minute";
const NETWORK_TOTAL: &str = "network_bytes_per_run";

fn gives_up_cgroups(sheet: &mut Sheet<'_>, at: Mark) {
    if matches!(sheet.source().layer, Layer::Organisation | Layer::User) {
        return;
    }
    let help = "write it in /etc/loki/policies or ~/.config/loki/policies";
    sheet.fault(
        at,
        "`cgroup: none` may not stand in this layer",
        Some(help.to_owned()),
    );
}

/// Returns the caps of which `value` tells the numbers.
pub(super) fn resources(value: impl Fn(Limit) -> f64) -> Resources {
    Resources {
        cpus: value(Limit::Cpus),
        memory: value(Limit::Memory) as u64,
        pids: value(Limit::Pids) as u32,
        disk: value(Limit::Disk) as u64,
        timeout: Duration::from_secs_f64(value(Limit::Timeout)),
        idle_timeout: Duration::from_secs_f64(value(Limit::IdleTimeout)),
        log: value(Limit::Log) as u64,
    }
}

/// Returns the rates of which `value` tells the numbers; nothing is exempt from them.
pub(super) fn rates(value: impl Fn(Limit) -> f64) -> Rates {
    let finite = |limit| Some(value(limit)).filter(|number| number.is_finite());
    Rates {
        api_calls_per_minute: finite(Limit::ApiCalls).map(|number| number as u32),
        api_calls_per_run: finite(Limit::ApiCallsTotal).map(|number| number as u32),
        file_writes_per_minute: finite(Limit::FileWrites).map(|number| number as u32),
        network_bytes_per_minute: finite(Limit::NetworkBytes).map(|number| number as u64),
        network_bytes_per_run: finite(Limit::NetworkTotal).map(|number| number as u64),
        uncounted: Globs::default(),
    }
}

/// Returns the least isolation of which `value` tells the numbers.
pub(super) fn minimum(value: impl Fn(Limit) -> f64) -> Minimum {
    Minimum {
        landlock: value(Limit::Landlock) as u32,
        cgroup: value(Limit::Cgroup) > 0.0,
        write_meter: value(Limit::WriteMeter) > 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_default_within_its_range_that_is_shown_as_it_is_written() {
        for limit in Limit::ALL {
            let default = limit.default();
            assert_eq!(
                limit.parse(&limit.show(default)),
                Some(default),
                "{limit:?}"
            );
            assert_eq!(limit.show(default), limit.facts().default, "{limit:?}");
        }
    }

    #[test]
    fn more_is_looser_except_for_the_least_isolation() {
        assert!(Limit::Memory.is_looser(2.0, 1.0) && !Limit::Memory.is_looser(1.0, 1.0));
        assert!(Limit::ApiCalls.is_looser(f64::INFINITY, 1e6));
        assert!(Limit::Landlock.is_looser(1.0, 3.0) && !Limit::Landlock.is_looser(5.0, 3.0));
        assert!(Limit::Cgroup.is_looser(0.0, 1.0));
    }

    #[test]
    fn only_a_rate_can_be_none() {
        assert_eq!(Limit::ApiCalls.parse("none"), Some(f64::INFINITY));
        assert_eq!(Limit::Memory.parse("none"), None);
        assert_eq!(Limit::Cpus.parse("inf"), None);
        assert_eq!(Limit::Cpus.parse("NaN"), None);
        assert_eq!(Limit::WriteMeter.parse("none"), None);
    }
}
