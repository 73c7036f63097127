//! Reads Rust sources as the house tests need them: without comments, without text in quotes,
//! and without the tests at their end.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every file under `dir` with the given extension, sorted, as paths relative to the root.
pub(crate) fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        let entries =
            fs::read_dir(&dir).unwrap_or_else(|e| panic!("cannot read `{}`: {e}", dir.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns the text of a file named relative to the root.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read `{}`: {e}", path.display()))
}

/// Returns whether a file holds nothing but tests, such as `src/git/tests.rs`.
pub(crate) fn is_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.iter().any(|folder| folder == "tests")
}

/// Returns what stands before the tests of a file.
pub(crate) fn without_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let attribute = |line: &&&str| line.starts_with(['#', ' ', ')']);
    let tests = lines.iter().enumerate().position(|(n, line)| {
        let next = lines.iter().skip(n + 1).find(|line| !attribute(line));
        *line == "#[cfg(test)]"
            && next.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    });
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// Returns the code alone: comments and everything between quotes become spaces.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + quiet(&bytes[at..], out.last().copied());
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(
                bytes[at..end]
                    .iter()
                    .map(|b| if *b == b'\n' { b'\n' } else { b' ' }),
            );
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns how many bytes at the start of `rest` are a comment or a literal, 0 when it is code.
fn quiet(rest: &[u8], before: Option<u8>) -> usize {
    let word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'r', b'"' | b'#', ..] if !word => raw_string(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw identifier such as `r#type` is no string: the hashes must end in a quote.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let body = &rest[hashes + 2..];
    let close = body.windows(end.len()).position(|w| w == end);
    close.map_or(rest.len(), |at| hashes + 2 + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::{code, without_tests};

    #[test]
    fn comments_and_quoted_text_are_not_code() {
        for (text, expected) in [
            ("a // crate::b\nc", "a \nc"),
            ("a /* x /* y */ */ c", "a c"),
            (r#"f("crate::b\"", d)"#, "f( , d)"),
            ("f(r#\"crate::b\"#)", "f( )"),
            ("r#type + 'a' + '\\'' + 'life", "r#type + + + 'life"),
            ("for x", "for x"),
        ] {
            let read = code(text);
            assert_eq!(read.len(), text.len(), "positions move in {text}");
            let squeezed: Vec<&str> = read.split(' ').filter(|word| !word.is_empty()).collect();
            let expected: Vec<&str> = expected
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect();
            assert_eq!(squeezed, expected, "{text}");
        }
    }

    #[test]
    fn tests_at_the_end_do_not_count() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), "a");
        let reasoned = "a\n#[cfg(test)]\n#[expect(\n    b,\n)]\nmod tests {\n}\n";
        assert_eq!(without_tests(reasoned), "a");
        assert_eq!(
            without_tests("a\n#[cfg(test)]\nuse b;\nc"),
            "a\n#[cfg(test)]\nuse b;\nc"
        );
    }
}
