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

const TESTED: &str = "needs to change or break this machine: held by Loki's own tests";
const NO_INSPECTION: &str = "this Loki does not look inside TLS, see docs/security.md";
const NO_CREDENTIALS: &str = "this Loki holds no credentials";
const NO_VOLUME: &str = "volume is not limited yet, see docs/security.md";

/// Every threat to a sandbox that no probe stands for.
const ABSENT: &[Absent] = &[
    (
        "N7",
        "the filter survives a reload and a crash",
        "there is no reload: rights are fixed at the start, and a sandbox ends with its orchestrator",
    ),
    ("N8", "without a dependency nothing starts", TESTED),
    (
        "N10",
        "names under an allowed wildcard are no channel",
        NO_VOLUME,
    ),
    ("N12", "the host header must fit the name", NO_INSPECTION),
    (
        "N13",
        "an allowed name is dialled by its own resolution",
        "needs a name on the network: held by Loki's own tests",
    ),
    (
        "N14",
        "a hello is reassembled and then decided",
        "needs a TLS server on the network: held by Loki's own tests",
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
        "concerns policies, not sandboxes: held by Loki's own tests",
    ),
    (
        "N19",
        "a rule does not open the names below it",
        "concerns policies, not sandboxes: held by Loki's own tests",
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
        "needs a name on the network: held by Loki's own tests",
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
    ("N32", "long streams are limited", NO_VOLUME),
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
    ("N37", "a slow leak is stopped", NO_VOLUME),
    (
        "G1",
        "nothing planted in a repository runs on the host",
        TESTED,
    ),
    (
        "G7",
        "links out of the tree are not followed",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G8",
        "hard links out of the tree are not shared",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G9",
        "host file operations cannot be raced",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G13",
        "ignored and untracked files are absent",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G14",
        "other branches and objects are absent",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    (
        "G15",
        "no alternates lead to other objects",
        "needs a repository and its hand-over: held by Loki's own tests",
    ),
    ("K7", "a fork bomb harms nobody else", TESTED),
    ("K8", "memory is held", TESTED),
    ("K9", "disk is held", TESTED),
    ("K10", "a flood of output harms nobody", TESTED),
    ("K11", "connections and descriptors are held", TESTED),
    (
        "K12",
        "no container outlives its orchestrator for long",
        TESTED,
    ),
    (
        "K13",
        "images are used by digest",
        "concerns starts, not sandboxes: the digest stands in this attestation",
    ),
    (
        "S8",
        "terminal sequences are neutralised",
        "concerns what Loki prints: held by Loki's own tests",
    ),
    (
        "S10",
        "no line in a journal can be forged",
        "concerns the journal: held by Loki's own tests",
    ),
    (
        "S12",
        "names are never commands",
        "concerns Loki's own commands: held by Loki's own tests",
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
