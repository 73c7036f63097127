//! The automaton that finds every form of every value in one pass.

use std::collections::HashMap;

use aho_corasick::{
    Anchored, MatchKind, PatternID,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};

use super::{Values, forms};

/// Where a form of a value lies in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its first byte.
    pub(super) start: u64,
    /// Behind its last byte.
    pub(super) end: u64,
    /// Whose value it is.
    pub(super) owner: usize,
}

impl Mark {
    /// Returns whether the other goes on where this one ends, or within it, for the same value.
    pub(super) fn joins(&self, next: &Self) -> bool {
        next.start < self.end || next.start == self.end && next.owner == self.owner
    }
}

/// Finds every form of every value.
pub(super) struct Machine {
    automaton: NFA,
    start: StateID,
    /// Whose value each pattern gives away.
    owners: Vec<usize>,
    /// What stands for the value of each owner.
    labels: Vec<String>,
    /// How many of the last bytes may yet begin a form, by the state they led to.
    open: HashMap<StateID, u64>,
}

impl Machine {
    /// Returns none where there is nothing to find.
    pub(super) fn new(values: &Values) -> Option<Self> {
        let mut patterns: Vec<(Vec<u8>, usize)> = Vec::new();
        let mut labels = Vec::new();
        for (owner, (name, value)) in values.iter().enumerate() {
            labels.push(format!("[secret:{name}]"));
            patterns.extend(forms::pieces(value).into_iter().map(|form| (form, owner)));
        }
        if patterns.is_empty() {
            return None;
        }
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .build(patterns.iter().map(|(form, _)| form))
            .expect("a store's size is capped far below what the automaton can hold");
        let start = automaton
            .start_state(Anchored::No)
            .expect("this kind of automaton can start anywhere");
        let mut machine = Self {
            automaton,
            start,
            owners: patterns.iter().map(|(_, owner)| *owner).collect(),
            labels,
            open: HashMap::new(),
        };
        for (form, _) in &patterns {
            machine.learn_beginnings(form);
        }
        // What a whole form ends with may itself be a whole, shorter form.
        patterns.sort_by_key(|(form, _)| form.len());
        for (form, _) in &patterns {
            machine.learn_end(form);
        }
        Some(machine)
    }

    /// Notes how long every proper beginning of a form is.
    fn learn_beginnings(&mut self, form: &[u8]) {
        let mut state = self.start;
        for (length, byte) in (1..form.len() as u64).zip(form) {
            state = self.step(state, *byte);
            self.open.insert(state, length);
        }
    }

    /// Notes how much of the end of a whole form may begin another.
    fn learn_end(&mut self, form: &[u8]) {
        let walk = |from: &[u8]| {
            from.iter()
                .fold(self.start, |at, byte| self.step(at, *byte))
        };
        let (whole, ending) = (walk(form), self.open(walk(&form[1..])));
        self.open.entry(whole).or_insert(ending);
    }

    /// Returns how many of the last bytes may yet turn out to begin a form.
    pub(super) fn open(&self, state: StateID) -> u64 {
        self.open.get(&state).copied().unwrap_or(0)
    }

    /// Reads one byte.
    pub(super) fn step(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// Returns whether a form ends here.
    pub(super) fn is_end(&self, state: StateID) -> bool {
        self.automaton.is_match(state)
    }

    /// Where a stream begins.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// What stands for a value.
    pub(super) fn label(&self, owner: usize) -> &str {
        &self.labels[owner]
    }

    /// Reads on from a state, the first byte being number `at` of its stream, and adds what is
    /// found to `marks`.
    pub(super) fn scan(
        &self,
        mut state: StateID,
        bytes: &[u8],
        at: u64,
        marks: &mut Vec<Mark>,
    ) -> StateID {
        for (end, byte) in (at + 1..).zip(bytes) {
            state = self.step(state, *byte);
            if self.automaton.is_match(state) {
                add(marks, self.found(state, end));
            }
        }
        state
    }

    /// Returns the longest form that ends here.
    fn found(&self, state: StateID, end: u64) -> Mark {
        let all = (0..self.automaton.match_len(state))
            .map(|index| self.automaton.match_pattern(state, index));
        let length = |pattern: &PatternID| self.automaton.pattern_len(*pattern);
        let longest = all
            .max_by_key(length)
            .expect("a matching state has a pattern");
        Mark {
            start: end - length(&longest) as u64,
            end,
            owner: self.owners[longest.as_usize()],
        }
    }
}

/// Adds what was found last. Whatever it overlaps becomes one with it, so that of two values that
/// overlap neither shows a part.
fn add(marks: &mut Vec<Mark>, mut found: Mark) {
    while let Some(last) = marks.pop_if(|last| found.start < last.end) {
        if last.start < found.start {
            found = Mark {
                start: last.start,
                owner: last.owner,
                ..found
            };
        }
    }
    marks.push(found);
}
