//! YAML as a tree of texts, each with its place, built from the parser's events.
//!
//! Events instead of typed values, because a typed reader stops at its first fault and a policy
//! reports all of them. Refuses what a policy does not need and an attacker could use: anchors,
//! aliases, tags, directives, a second document, deep nesting, large files.

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::sheet::{Mark, Sheet};

/// The largest policy file, in bytes.
const LARGEST: usize = 1 << 20;
/// The most values in one file.
const MOST: usize = 100_000;
/// The deepest nesting.
const DEEPEST: usize = 16;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Mark,
    pub(super) value: Value,
}

/// What a value is. Numbers and booleans are texts: the reader of a field knows what it wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing was written.
    Null,
    /// A fault was reported here already.
    Faulty,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Returns what the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Faulty => "a fault",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Returns the one document of a file, none when its syntax is wrong. Every fault goes to `sheet`.
pub(super) fn parse(sheet: &mut Sheet<'_>) -> Option<Node> {
    let text = sheet.text();
    if text.len() > LARGEST {
        sheet.whole("the file is larger than 1 MiB", None);
        return None;
    }
    let mut tree = Tree::default();
    for event in Parser::new_from_str_with_options(text, options()) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => return syntax(sheet, &error),
        };
        tree.nodes += 1;
        if tree.nodes > MOST || tree.open.len() > DEEPEST {
            sheet.fault(
                mark(&span),
                "the file nests too deep or holds too many values",
                None,
            );
            return None;
        }
        tree.take(sheet, event, mark(&span));
    }
    tree.root
}

fn options() -> Options {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.disallow_directives = true;
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    options.set_emit_comments(false);
    options
}

fn mark(span: &Span) -> Mark {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line {
        span.end.col().saturating_sub(span.start.col())
    } else {
        1
    };
    Mark {
        line: span.start.line(),
        column: span.start.col() + 1,
        width: width.max(1),
    }
}

fn syntax(sheet: &mut Sheet<'_>, error: &ScanError) -> Option<Node> {
    let place = error.marker();
    let at = Mark {
        line: place.line(),
        column: place.col() + 1,
        width: 1,
    };
    let line = sheet.line(at.line);
    let help = if line.contains('\t') && line.trim_start_matches(' ').starts_with('\t') {
        Some("indent with spaces: YAML takes no tabs".to_owned())
    } else {
        unquoted(line)
    };
    sheet.fault(at, format!("this is not YAML: {}", error.kind()), help);
    None
}

/// Returns the hint to quote when a value on the line begins with a bare `*` or `@`.
fn unquoted(line: &str) -> Option<String> {
    let begins = |sign: char| {
        ["[", "- ", ", ", ": ", ","]
            .iter()
            .any(|before| line.contains(&format!("{before}{sign}")))
    };
    let hint = |(sign, text): (char, &str)| {
        begins(sign).then(|| format!("quote values that begin with `{sign}`: {text}"))
    };
    [
        ('*', "an unquoted one is a YAML alias, write \"**\""),
        ('@', "write \"@shell\""),
    ]
    .into_iter()
    .find_map(hint)
}

/// A list or a map that has begun and not ended.
struct Open {
    at: Mark,
    items: Vec<Node>,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    List,
    Map,
}

#[derive(Default)]
struct Tree {
    root: Option<Node>,
    open: Vec<Open>,
    documents: usize,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, sheet: &mut Sheet<'_>, event: Event<'_>, at: Mark) {
        match event {
            Event::DocumentStart(..) => self.begin(sheet, at),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = if plain && matches!(&*text, "" | "~" | "null") {
                    Value::Null
                } else {
                    Value::Text(text.into_owned())
                };
                Self::plainly(sheet, at, (anchor, tag.is_some()));
                self.put(Node { at, value });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.enter(sheet, at, Kind::List, (anchor, tag.is_some()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.enter(sheet, at, Kind::Map, (anchor, tag.is_some()));
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(sheet),
            Event::UnresolvedAlias(name) => self.alias(sheet, at, &name),
            Event::Alias(_) => self.alias(sheet, at, ""),
            _ => {}
        }
    }

    fn begin(&mut self, sheet: &mut Sheet<'_>, at: Mark) {
        self.documents += 1;
        if self.documents == 2 {
            sheet.fault(
                at,
                "a second document begins here",
                Some("a file is one document: use a file each".to_owned()),
            );
        }
    }

    fn plainly(sheet: &mut Sheet<'_>, at: Mark, (anchor, tagged): (usize, bool)) {
        if anchor != 0 {
            sheet.fault(
                at,
                "anchors are not used here",
                Some("write the value out where it is needed".to_owned()),
            );
        }
        if tagged {
            sheet.fault(
                at,
                "tags are not used here",
                Some("remove the `!…`".to_owned()),
            );
        }
    }

    fn alias(&mut self, sheet: &mut Sheet<'_>, at: Mark, name: &str) {
        let help = if name.is_empty() {
            "write the value out where it is needed".to_owned()
        } else {
            format!("if a glob is meant, quote it: \"*{name}\"")
        };
        sheet.fault(
            at,
            "an unquoted `*` begins a YAML alias, and none is used here",
            Some(help),
        );
        self.put(Node {
            at,
            value: Value::Faulty,
        });
    }

    fn enter(
        &mut self,
        sheet: &mut Sheet<'_>,
        at: Mark,
        kind: Kind,
        (anchor, tagged): (usize, bool),
    ) {
        Self::plainly(sheet, at, (anchor, tagged));
        self.open.push(Open {
            at,
            items: Vec::new(),
            kind,
        });
    }

    fn leave(&mut self, sheet: &mut Sheet<'_>) {
        let Some(Open { at, items, kind }) = self.open.pop() else {
            return;
        };
        let value = if kind == Kind::List {
            Value::List(items)
        } else {
            Value::Map(pairs(sheet, items))
        };
        let at = Mark { width: 1, ..at };
        self.put(Node { at, value });
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None if self.root.is_none() => self.root = Some(node),
            None => {}
        }
    }
}

/// Pairs keys with values; a key that stands twice is a fault and its first value counts.
fn pairs(sheet: &mut Sheet<'_>, items: Vec<Node>) -> Vec<(Node, Node)> {
    let mut map: Vec<(Node, Node)> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        if let Value::Text(text) = &key.value
            && let Some(first) = seen.insert(text.clone(), key.at.line)
        {
            sheet.fault(
                key.at,
                format!("`{}` stands here a second time", text.escape_debug()),
                Some(format!("the first is on line {first}: join them")),
            );
            seen.insert(text.clone(), first);
            continue;
        }
        map.push((key, value));
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer, Source};

    fn faults(text: &str) -> Vec<String> {
        let source = Source {
            layer: Layer::User,
            file: "x.yaml".into(),
            text: text.to_owned(),
        };
        let facts = crate::policy::Facts::default();
        let mut sheet = Sheet::new((0, &source), &facts);
        drop(parse(&mut sheet));
        sheet
            .into_faults()
            .iter()
            .map(|fault| fault.to_string())
            .collect()
    }

    #[test]
    fn hostile_yaml_ends_in_a_fault_and_never_in_a_panic() {
        let bomb = (0..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
            let refs = vec![format!("*a{n}"); 9].join(",");
            format!("{text}a{}: &a{} [{refs}]\n", n + 1, n + 1)
        });
        let cases = [
            bomb,
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "a:\n".repeat(2),
            "x".repeat(LARGEST + 1),
            "- a\n".repeat(MOST),
            "a: \0".to_owned(),
            "\u{feff}%YAML 9.9\n---\n".to_owned(),
            "? [a, b]\n: c\n--- x\n...\n--- y\n".to_owned(),
            "\"\\ud800\"".to_owned(),
            "<<: *a".to_owned(),
            "&a [*a]".to_owned(),
            "!!python/object:os.system x".to_owned(),
            "key: 'unterminated".to_owned(),
        ];
        for text in cases {
            let head: String = text.chars().take(40).collect();
            assert!(!faults(&text).is_empty(), "{head:?}");
        }
    }

    #[test]
    fn two_aliases_are_two_faults() {
        let text = "read: [**/*.rs, src/**, *.toml]\n";
        assert_eq!(faults(text).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-\\[\\]{}:,*&!|>'\"%@`#?a-c0 \n\t~]{0,120}") {
            drop(faults(&text));
        }
    }
}
