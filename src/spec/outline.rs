//! The shape of a Markdown text: sections, blocks, lines. Works on a flat list of events, without
//! recursion, so that no nesting can exhaust the stack.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag};

/// A Markdown event and the bytes it came from.
pub(super) type Piece<'a> = (Event<'a>, Range<usize>);

/// A heading and what stands under it, deeper headings included.
#[derive(Debug)]
pub(super) struct Section<'e, 'a> {
    /// The heading's text.
    pub(super) name: String,
    pub(super) level: HeadingLevel,
    /// Where the heading stands.
    pub(super) heading: Range<usize>,
    pub(super) body: &'e [Piece<'a>],
}

/// Reads a text as Markdown.
pub(super) fn read(text: &str) -> Vec<Piece<'_>> {
    Parser::new_ext(text, Options::ENABLE_TASKLISTS)
        .into_offset_iter()
        .collect()
}

/// Returns all sections in order; a heading inside a list or a quotation makes none.
pub(super) fn sections<'e, 'a>(pieces: &'e [Piece<'a>]) -> Vec<Section<'e, 'a>> {
    let mut depth = 0_usize;
    let mut heads: Vec<(usize, HeadingLevel)> = Vec::new();
    for (at, (event, _)) in pieces.iter().enumerate() {
        match event {
            Event::Start(Tag::Heading { level, .. }) if depth == 0 => {
                heads.push((at, *level));
                depth += 1;
            }
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
    }
    let end = |index: usize, level| {
        let later = heads.iter().skip(index + 1);
        later
            .clone()
            .find(|(_, other)| *other <= level)
            .map_or(pieces.len(), |(at, _)| *at)
    };
    let section = |(index, &(at, level)): (usize, &(usize, HeadingLevel))| {
        let heading = first_block(pieces.get(at..).unwrap_or_default());
        Section {
            name: inline_text(heading).trim().to_owned(),
            level,
            heading: pieces.get(at).map_or(0..0, |(_, range)| range.clone()),
            body: pieces
                .get(at + heading.len()..end(index, level))
                .unwrap_or_default(),
        }
    };
    heads.iter().enumerate().map(section).collect()
}

/// Returns the pieces of the first balanced group.
fn first_block<'e, 'a>(pieces: &'e [Piece<'a>]) -> &'e [Piece<'a>] {
    let mut depth = 0_usize;
    for (at, (event, _)) in pieces.iter().enumerate() {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return pieces.get(..=at).unwrap_or_default();
        }
    }
    pieces
}

/// Splits pieces into balanced groups: a block or inline element with all it holds, or one event.
pub(super) fn blocks<'e, 'a>(mut pieces: &'e [Piece<'a>]) -> Vec<&'e [Piece<'a>]> {
    let mut found = Vec::new();
    while !pieces.is_empty() {
        let block = first_block(pieces);
        found.push(block);
        pieces = pieces.get(block.len()..).unwrap_or_default();
    }
    found
}

/// Returns what a group holds.
pub(super) fn inner<'e, 'a>(block: &'e [Piece<'a>]) -> &'e [Piece<'a>] {
    block
        .get(1..block.len().saturating_sub(1))
        .unwrap_or_default()
}

/// Returns the items of every list directly in `pieces`.
pub(super) fn items<'e, 'a>(pieces: &'e [Piece<'a>]) -> Vec<&'e [Piece<'a>]> {
    let lists = blocks(pieces)
        .into_iter()
        .filter(|b| matches!(b.first(), Some((Event::Start(Tag::List(_)), _))));
    lists.flat_map(|list| blocks(inner(list))).collect()
}

/// Splits what an item holds into its first paragraph and the blocks after it. The paragraph is
/// empty when the item begins with something else.
pub(super) fn lead<'e, 'a>(item: &'e [Piece<'a>]) -> (&'e [Piece<'a>], &'e [Piece<'a>]) {
    let held = inner(item);
    if let Some((Event::Start(Tag::Paragraph), _)) = held.first() {
        let paragraph = first_block(held);
        return (
            inner(paragraph),
            held.get(paragraph.len()..).unwrap_or_default(),
        );
    }
    let inline = |block: &&[Piece<'_>]| block.first().is_some_and(|(event, _)| is_inline(event));
    let length = blocks(held)
        .iter()
        .take_while(|b| inline(b))
        .map(|b| b.len())
        .sum();
    held.split_at_checked(length).unwrap_or_default()
}

fn is_inline(event: &Event<'_>) -> bool {
    match event {
        Event::Start(tag) => matches!(
            tag,
            Tag::Emphasis | Tag::Strong | Tag::Strikethrough | Tag::Link { .. } | Tag::Image { .. }
        ),
        Event::Rule | Event::Html(_) => false,
        _ => true,
    }
}

/// Returns the pieces up to the first line break.
pub(super) fn first_line<'e, 'a>(pieces: &'e [Piece<'a>]) -> &'e [Piece<'a>] {
    let breaks = |(event, _): &Piece<'_>| matches!(event, Event::SoftBreak | Event::HardBreak);
    pieces.split(breaks).next().unwrap_or_default()
}

/// Returns the plain text of inline pieces; a line break is a blank.
pub(super) fn inline_text(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    for (event, _) in pieces {
        match event {
            Event::Text(part) | Event::Code(part) | Event::InlineHtml(part) => text.push_str(part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            _ => {}
        }
    }
    text
}

/// Returns the inline code in `pieces`, trimmed, with where it stands.
pub(super) fn codes(pieces: &[Piece<'_>]) -> Vec<(String, Range<usize>)> {
    let code = |(event, range): &Piece<'_>| match event {
        Event::Code(text) => Some((text.trim().to_owned(), range.clone())),
        _ => None,
    };
    pieces.iter().filter_map(code).collect()
}

/// Returns the bytes that pieces came from.
pub(super) fn span(pieces: &[Piece<'_>]) -> Range<usize> {
    let start = pieces
        .iter()
        .map(|(_, range)| range.start)
        .min()
        .unwrap_or_default();
    let end = pieces
        .iter()
        .map(|(_, range)| range.end)
        .max()
        .unwrap_or_default();
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_holds_deeper_headings_and_ends_at_its_peer() {
        let pieces = read("# T\na\n## One\nb\n### Deep\nc\n## Two\nd\n");
        let found = sections(&pieces);
        let names: Vec<_> = found
            .iter()
            .map(|s| (s.name.as_str(), inline_text(s.body)))
            .collect();
        assert_eq!(
            names,
            [
                ("T", "aOnebDeepcTwod".to_owned()),
                ("One", "bDeepc".to_owned()),
                ("Deep", "c".to_owned()),
                ("Two", "d".to_owned()),
            ]
        );
    }

    #[test]
    fn headings_in_lists_and_code_make_no_section() {
        assert_eq!(
            sections(&read("- # no\n\n> ## no\n\n```\n# no\n```\n")).len(),
            0
        );
    }

    #[test]
    fn tight_and_loose_items_have_the_same_lead() {
        for text in ["- a *b* `c`\n  - d\n", "- a *b* `c`\n\n  - d\n"] {
            let pieces = read(text);
            let found = items(&pieces);
            let (first, rest) = lead(found[0]);
            assert_eq!(
                (inline_text(first).as_str(), items(rest).len()),
                ("a b c", 1),
                "{text}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_only_a_long_list() {
        let text = format!("# T\n{}x", ">".repeat(100_000));
        assert_eq!(sections(&read(&text)).len(), 1);
    }
}
