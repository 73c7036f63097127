//! The probes, in the order of the table, and the threats that none stands for.

mod container;
mod network;

use super::{
    probe::{Control, Place, Probe},
    report::Row,
};

/// What probes have in common unless they say otherwise.
const PLAIN: Probe = Probe {
    id: "",
    title: "",
    program: "",
    tools: &[],
    neighbour: None,
    place: Place::Own,
    end: &[],
    hits: 0,
    control: Control::Within,
};

/// A control by an opened container that reaches the same on every engine.
const fn opened(opening: &'static str, reaches: &'static [&'static str]) -> Control {
    Control::Opened {
        opening,
        reaches,
        rootful: &[],
    }
}

/// Returns every probe, in the order of the table.
pub fn probes() -> impl Iterator<Item = &'static Probe> {
    network::PROBES.iter().chain(container::PROBES)
}

/// A threat that no probe stands for: id, what must hold, why not here.
type Absent = (&'static str, &'static str, &'static str);

const NO_INSPECTION: &str = "this Loki does not look inside TLS, see docs/security.md";
const NO_CREDENTIALS: &str = "this Loki holds no credentials";

/// Every threat to a sandbox that no probe stands for. A reason that speaks of a test names it.
const ABSENT: &[Absent] = &[
    (
        "N7",
        "the filter survives a reload and a crash",
        "there is no reload: rights are fixed at the start, and a sandbox ends with its orchestrator",
    ),
    (
        "N8",
        "without a dependency nothing starts",
        "needs to take parts of this machine away: held by the tests `attack_n08`",
    ),
    (
        "N10",
        "names under an allowed wildcard are no channel",
        "takes a minute's names of a sandbox: held by the test `a_thousand_labels_under_a_wildcard_trip_the_budget`",
    ),
    ("N12", "the host header must fit the name", NO_INSPECTION),
    (
        "N13",
        "an allowed name is dialled by its own resolution",
        "needs a name on the network: held by the test `a_pinned_name_leads_to_its_address_alone`",
    ),
    (
        "N14",
        "a hello is reassembled and then decided",
        "needs a TLS server on the network: held by the test `hellos_without_the_allowed_name_never_reach_the_server`",
    ),
    (
        "N15",
        "every request of a connection is decided",
        NO_INSPECTION,
    ),
    ("N16", "requests cannot be smuggled", NO_INSPECTION),
    ("N17", "paths cannot be escaped", NO_INSPECTION),
    (
        "N18",
        "wildcards match what they say",
        "concerns policies, not sandboxes: held by the test `wildcards_cover_exactly_one_leftmost_label`",
    ),
    (
        "N19",
        "a rule does not open the names below it",
        "concerns policies, not sandboxes: held by the test `an_exact_parent_does_not_open_its_children`",
    ),
    (
        "N25",
        "the orchestrator's own interfaces are out of reach",
        "this Loki listens nowhere",
    ),
    (
        "N26",
        "no program of the host acts for an agent",
        "this Loki has no such program",
    ),
    (
        "N27",
        "what injects credentials follows the policy",
        NO_CREDENTIALS,
    ),
    (
        "N28",
        "a name cannot be rebound",
        "needs a name on the network: held by the test `names_that_resolve_to_private_addresses_are_not_dialled`",
    ),
    (
        "N29",
        "a redirect is decided anew",
        "an agent's client follows redirects itself, and each is decided as any other request",
    ),
    (
        "N31",
        "no raw tunnel through an allowed host",
        NO_INSPECTION,
    ),
    (
        "N32",
        "long streams are limited",
        "takes a minute's bytes: held by the test `bytes_over_the_rate_come_late_and_all_of_them_come`; what is in a stream is not looked at, see docs/egress.md",
    ),
    (
        "N34",
        "other accounts of an allowed host are denied",
        NO_INSPECTION,
    ),
    (
        "N35",
        "other keys at an allowed host are denied",
        NO_INSPECTION,
    ),
    ("N36", "no credential can be minted inside", NO_CREDENTIALS),
    (
        "N37",
        "a slow leak is stopped",
        "slowed, not stopped: bytes are held to a number each minute and to none for all of a run, see docs/egress.md",
    ),
    (
        "G1",
        "nothing planted in a repository runs on the host",
        "needs a hand-over to the host: held by the tests `attack_g01`",
    ),
    (
        "G9",
        "host file operations cannot be raced",
        "concerns Loki's own reading, not sandboxes: held by the tests `attack_g09`",
    ),
    (
        "K10",
        "a flood of output harms nobody",
        "takes gigabytes: held by the tests `attack_k10`",
    ),
    (
        "K11",
        "connections and descriptors are held",
        "takes this machine's descriptors: held by the test `attack_k11`",
    ),
    (
        "K12",
        "no container outlives its orchestrator for long",
        "needs to kill this program: held by the tests `attack_k12`",
    ),
    (
        "K13",
        "images are used by digest",
        "concerns starts, not sandboxes: the digest stands in this attestation",
    ),
    (
        "S8",
        "terminal sequences are neutralised",
        "concerns what Loki prints: held by the test `attack_s08`",
    ),
    (
        "S10",
        "no line in a journal can be forged",
        "concerns the journal: held by the test `attack_s08_s10`",
    ),
    (
        "S12",
        "names are never commands",
        "concerns Loki's own commands: held by the tests `attack_s12`",
    ),
];

/// Returns the rows that no probe stands for.
#[must_use]
pub fn absent() -> Vec<Row> {
    let row = |&(id, title, why): &Absent| Row::not_applicable(id, title, why);
    ABSENT.iter().map(row).collect()
}

/// The order of a row in the table: letter, then number.
#[must_use]
pub fn order(id: &str) -> (usize, u32) {
    let letter = id.chars().next().and_then(|letter| "NGCKS".find(letter));
    let number = id.get(1..).and_then(|number| number.parse().ok());
    (letter.unwrap_or(usize::MAX), number.unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threat_has_one_row_and_every_probe_a_control() {
        let mut ids: Vec<&str> = probes().map(|probe| probe.id).collect();
        ids.extend(ABSENT.iter().map(|(id, ..)| *id));
        let count = ids.len();
        assert!(ids.iter().all(|id| order(id).0 < 5 && order(id).1 < 100));
        ids.sort_by_key(|id| order(id));
        ids.dedup();
        assert_eq!(ids.len(), count, "a threat has two rows");
        let missing = (1..=37).filter(|n| !ids.contains(&&*format!("N{n}")));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<u32>::new());
        for probe in probes() {
            assert!(
                !probe.end.is_empty() && probe.program.contains("REACHED"),
                "{}",
                probe.id
            );
            match probe.control {
                Control::Opened { reaches, .. } | Control::Granted { reaches } => {
                    assert!(!reaches.is_empty(), "{}", probe.id);
                }
                Control::Within => assert!(probe.end.len() > 1 && probe.hits > 0, "{}", probe.id),
            }
        }
    }
}
