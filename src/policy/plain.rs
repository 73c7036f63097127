//! Small settings and task files, read with the care that policies are read with: every fault with
//! its line and its picture, unknown keys are faults.
//!
//! Refuses what `super::yaml` refuses, and knows nothing of what the keys mean.

use std::path::Path;

use super::{
    Facts, Layer, Source, fields,
    sheet::{Mark, Sheet},
    yaml::{self, Value},
};
use crate::diagnostic::Diagnostic;

/// A place in a file.
#[derive(Debug, Clone, Copy)]
pub struct Spot(Mark);

/// A value of a file and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Node<'n>(&'n yaml::Node);

/// A file while it is read, and the faults found so far.
pub struct Reading<'a> {
    sheet: Sheet<'a>,
}

/// Reads a file of YAML, or of JSON, with what takes its one document.
///
/// # Errors
///
/// Every fault, those that `take` adds included.
pub fn read<T>(
    file: &Path,
    text: &str,
    take: impl FnOnce(&mut Reading<'_>, Node<'_>) -> T,
) -> Result<T, Vec<Diagnostic>> {
    let source = Source {
        layer: Layer::User,
        file: file.to_owned(),
        text: text.to_owned(),
    };
    let facts = Facts::default();
    let mut sheet = Sheet::new((0, &source), &facts);
    let root = yaml::parse(&mut sheet);
    let mut reading = Reading { sheet };
    let taken = root.as_ref().map(|root| take(&mut reading, Node(root)));
    if taken.is_none() && reading.sheet.is_clean() {
        reading.sheet.whole("the file holds nothing", None);
    }
    match taken {
        Some(taken) if reading.sheet.is_clean() => Ok(taken),
        _ => Err(reading.sheet.into_faults()),
    }
}

impl Node<'_> {
    /// Returns where it stands.
    #[must_use]
    pub fn spot(&self) -> Spot {
        Spot(self.0.at)
    }

    /// Returns whether it is a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.0.value, Value::List(_))
    }

    /// Returns whether nothing was written.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self.0.value, Value::Null)
    }
}

impl Reading<'_> {
    /// Adds a fault at a place, with what would have been right.
    pub fn fault(&mut self, at: Spot, message: impl Into<String>, help: Option<&str>) {
        self.sheet.fault(at.0, message, help.map(str::to_owned));
    }

    /// Returns the pairs of a map whose keys are among `known`; others are faults, and so is what
    /// is no map. `what` names it.
    pub fn map<'n>(
        &mut self,
        node: Node<'n>,
        what: &str,
        known: &[&str],
    ) -> Vec<(&'n str, Node<'n>)> {
        let mut pairs = Vec::new();
        for (key, at, value) in fields::map(&mut self.sheet, node.0, what) {
            if known.contains(&key) {
                pairs.push((key, Node(value)));
            } else {
                fields::unknown(&mut self.sheet, (key, at), known);
            }
        }
        pairs
    }

    /// Returns the pairs of a map whose keys are names, each with its place; what is no map is a
    /// fault. `what` names it.
    pub fn named<'n>(&mut self, node: Node<'n>, what: &str) -> Vec<(&'n str, Spot, Node<'n>)> {
        let pairs = fields::map(&mut self.sheet, node.0, what).into_iter();
        pairs
            .map(|(key, at, value)| (key, Spot(at), Node(value)))
            .collect()
    }

    /// Returns the items of a list; anything else is a fault. `what` names it.
    pub fn list<'n>(&mut self, node: Node<'n>, what: &str) -> Vec<Node<'n>> {
        match &node.0.value {
            Value::List(items) => items.iter().map(Node).collect(),
            Value::Faulty => Vec::new(),
            _ => {
                let message = format!("{what} must be a list, and this is {}", node.0.kind());
                self.sheet.fault(node.0.at, message, None);
                Vec::new()
            }
        }
    }

    /// Returns a text; anything else is a fault. `what` names it.
    pub fn text<'n>(&mut self, node: Node<'n>, what: &str) -> Option<&'n str> {
        match &node.0.value {
            Value::Text(text) => Some(text),
            Value::Faulty => None,
            _ => {
                let message = format!("{what} must be a text, and this is {}", node.0.kind());
                self.sheet.fault(node.0.at, message, None);
                None
            }
        }
    }

    /// Returns a whole number between two bounds; anything else is a fault. `what` names it.
    pub fn number(
        &mut self,
        node: Node<'_>,
        what: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = match &node.0.value {
            Value::Text(text) => text.parse().ok().filter(|number| bounds.contains(number)),
            Value::Faulty => return None,
            _ => None,
        };
        if number.is_none() {
            let help = format!(
                "write a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            );
            let message = format!("{what} is no such number");
            self.sheet.fault(node.0.at, message, Some(help));
        }
        number
    }
}
