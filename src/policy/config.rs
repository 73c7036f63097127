//! Settings that are no policies, in YAML files of the same kind: read by the same parser, with
//! the same refusals and the same pictures of faults.
//!
//! A file is told as its [`Leaf`]s: each value with the keys above it. Whoever knows what they mean
//! judges them one by one; every fault of a file is returned at once.

use std::path::Path;

use super::{
    Facts, Layer, Source,
    sheet::{Mark, Sheet},
    yaml::{self, Node, Value},
};
use crate::diagnostic::Diagnostic;

/// One value of a file, and the keys above it from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The keys.
    pub path: Vec<String>,
    /// The value as it was written, without quotes.
    pub value: String,
    keys: Vec<Mark>,
    at: Mark,
}

/// What is wrong with a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Where.
    pub part: Part,
    /// What: a lower-case fragment.
    pub message: String,
    /// What would have been right.
    pub help: String,
}

/// A part of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key so many from the top, from 0.
    Key(usize),
    /// The value.
    Value,
}

/// Reads a file of settings and has each of its values judged.
///
/// # Errors
/// Every fault of the file: those of its syntax, and those that `judge` found.
pub fn judge(
    file: &Path,
    text: &str,
    mut judge: impl FnMut(&Leaf) -> Result<(), Wrong>,
) -> Result<(), Vec<Diagnostic>> {
    let source = Source {
        layer: Layer::Given,
        file: file.to_owned(),
        text: text.to_owned(),
    };
    let facts = Facts::default();
    let mut sheet = Sheet::new((0, &source), &facts);
    if let Some(root) = yaml::parse(&mut sheet) {
        let mut leaves = Vec::new();
        walk(&mut sheet, &root, (&mut Vec::new(), &mut leaves));
        for leaf in leaves {
            if let Err(Wrong {
                part,
                message,
                help,
            }) = judge(&leaf)
            {
                let at = match part {
                    Part::Key(number) => leaf.keys.get(number).copied().unwrap_or(leaf.at),
                    Part::Value => leaf.at,
                };
                sheet.fault(at, message, Some(help));
            }
        }
    }
    if sheet.is_clean() {
        Ok(())
    } else {
        Err(sheet.into_faults())
    }
}

fn walk(
    sheet: &mut Sheet<'_>,
    node: &Node,
    (above, leaves): (&mut Vec<(String, Mark)>, &mut Vec<Leaf>),
) {
    match &node.value {
        Value::Faulty => {}
        Value::Null if above.is_empty() => {}
        Value::Null => sheet.fault(
            node.at,
            "nothing stands here",
            Some("write a value, or remove the key".to_owned()),
        ),
        Value::List(_) => sheet.fault(
            node.at,
            "a list stands here",
            Some("write one value, or keys below".to_owned()),
        ),
        Value::Text(value) => leaves.push(Leaf {
            path: above.iter().map(|(key, _)| key.clone()).collect(),
            value: value.clone(),
            keys: above.iter().map(|(_, at)| *at).collect(),
            at: node.at,
        }),
        Value::Map(pairs) => {
            for (key, value) in pairs {
                let Value::Text(name) = &key.value else {
                    sheet.fault(
                        key.at,
                        format!("{} is no key", key.kind()),
                        Some("write a name".to_owned()),
                    );
                    continue;
                };
                above.push((name.clone(), key.at));
                walk(sheet, value, (&mut *above, &mut *leaves));
                above.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_leaves_and_every_fault_is_told_with_its_picture() {
        let text = "version: 1\nrun: { money: 5USD }\nempty:\nlist: [a]\nodd: 1\n";
        let mut seen = Vec::new();
        let faults = judge(Path::new("x.yaml"), text, |leaf| {
            seen.push((leaf.path.join("."), leaf.value.clone()));
            if leaf.path == ["odd"] {
                return Err(Wrong {
                    part: Part::Key(0),
                    message: "it is odd".to_owned(),
                    help: "remove it".to_owned(),
                });
            }
            Ok(())
        })
        .unwrap_err();
        assert_eq!(
            seen,
            [("version", "1"), ("run.money", "5USD"), ("odd", "1")]
                .map(|(path, value)| (path.to_owned(), value.to_owned()))
        );
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[2].starts_with("x.yaml:5:1: it is odd"), "{told:?}");
        assert_eq!(faults[2].picture, "odd: 1");
    }
}
