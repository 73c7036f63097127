//! What a run left in its world, read the way a person reads it: through the binary and real git.

use serde_json::Value;

use super::World;

impl World {
    /// Returns every event of the newest run, oldest first, with what surrounds it in the journal.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let said = self.loki(&["events", "--json"]).exits(0);
        let lines = said.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// Returns the events of one type of the newest run.
    #[track_caller]
    pub(crate) fn events_of(&self, kind: &str) -> Vec<Value> {
        let of = |record: Value| (record["event"]["type"] == kind).then(|| record["event"].clone());
        self.events().into_iter().filter_map(of).collect()
    }

    /// Returns those of the leftovers that stand, or stood, for a task of the newest run.
    #[track_caller]
    pub(crate) fn occupied(&self) -> Vec<String> {
        let started = self.events_of("sandbox_started");
        let mut all = self.leftovers();
        all.retain(|id| {
            started
                .iter()
                .any(|event| event["container"] == id.as_str())
        });
        all
    }

    /// Returns `loki status --json` of the newest run.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let said = self.loki(&["status", "--json"]).exits(0);
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"))
    }

    /// Returns the one branch that runs left here.
    #[track_caller]
    pub(crate) fn run_branch(&self) -> String {
        let refs = self.git(&[
            "for-each-ref",
            "--format=%(refname:short)",
            "refs/heads/loki",
        ]);
        let refs: Vec<&str> = refs.lines().collect();
        assert_eq!(refs.len(), 1, "a run leaves one branch: {refs:?}");
        refs[0].to_owned()
    }
}
