//! Reads files of requirements of pip, as far as it takes to know that they lead nowhere else.
//!
//! The file is read in several ways on its way to an install: pip decodes it as its first lines say,
//! splits it at every sign that Python takes for the end of a line, joins what ends with `\`, and
//! has a shell's rules decide about words. Whatever would be read in two ways is refused.

use super::{Refusal, Told, Want};
use crate::text::visible;

/// Options that lead nowhere else.
const HARMLESS: [&str; 6] = [
    "--hash",
    "--require-hashes",
    "--no-binary",
    "--only-binary",
    "--prefer-binary",
    "--pre",
];

/// Reads a file of requirements.
///
/// # Errors
/// When it does not say exactly what would be installed.
pub(super) fn read(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    let name = &want.lock;
    let text = std::str::from_utf8(lock)
        .map_err(|_| want.refused(format!("`{name}` is not a text; mend it")))?;
    let odd = odd(text).or_else(|| coded(text));
    if let Some(odd) = odd {
        return Err(want.passed_over(format!("`{name}` has {odd}; delete it")));
    }
    let mut told = Told::Nothing;
    let mut hashes = false;
    for line in text.lines().map(plain) {
        if let Some(word) = elsewhere(line) {
            let message = format!(
                "`{name}` has `{}`, which leads elsewhere; write every package with its hash into the one file",
                visible(word)
            );
            return Err(want.passed_over(message));
        }
        hashes |= line.contains("--hash=");
        if !line.is_empty() && !line.starts_with('-') {
            told = Told::Packages;
        }
    }
    if told == Told::Packages && !hashes {
        let message = format!(
            "`{name}` has no hashes, so it does not say what would be installed; \
             have your tool write them (`--generate-hashes`, `--format requirements-txt`)"
        );
        return Err(want.passed_over(message));
    }
    Ok(told)
}

/// Returns a line without its comment, and without what joins it with the next.
fn plain(line: &str) -> &str {
    let line = line.trim();
    let comment = line.char_indices().find(|(at, c)| {
        *c == '#'
            && line[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
    });
    let line = comment.map_or(line, |(at, _)| &line[..at]);
    line.trim_end().trim_end_matches('\\').trim_end()
}

/// Returns the first word of a line that is an option which may lead elsewhere, or could be read as
/// one.
fn elsewhere(line: &str) -> Option<&str> {
    let of_package = !line.starts_with('-');
    let mut words = line.split_whitespace();
    words.find(|word| {
        let name = word.split('=').next().unwrap_or(word);
        let is_option = word.starts_with('-');
        // A shell's rules take quotes away, and pip each `\` at an end of a line.
        let bare = word.trim_start_matches(['"', '\'']);
        let is_masked = word.contains('\\') || (bare.starts_with('-') && !is_option);
        let is_harmless = match of_package {
            true => word.starts_with("--hash="),
            false => HARMLESS.contains(&name),
        };
        is_masked || (is_option && !is_harmless)
    })
}

/// Says which character of a text another reader may take for the end of a line, or for nothing.
fn odd(text: &str) -> Option<String> {
    let text = text.replace("\r\n", "\n");
    let ends = |c: &char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let odd = text.chars().find(ends)?;
    Some(format!("the character `{}`", odd.escape_unicode()))
}

/// Says which other encoding the first two lines demand, if they do.
fn coded(text: &str) -> Option<String> {
    let lines = text.lines().take(2).filter(|line| line.starts_with('#'));
    for line in lines {
        let marks = line
            .match_indices("coding")
            .map(|(at, mark)| &line[at + mark.len()..]);
        for rest in marks {
            let Some(rest) = rest.strip_prefix([':', '=']) else {
                continue;
            };
            let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let rest = rest.trim_start();
            let coding = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
            if !coding.is_empty() && !["utf-8", "utf8"].contains(&coding.to_lowercase().as_str()) {
                return Some(format!("the encoding `{coding}` in its first lines"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;
    use crate::install::tools;

    fn said(lock: &str) -> String {
        let tool = tools().iter().find(|one| one.name == "pip").unwrap();
        let want = Want {
            tool,
            lock: "requirements.txt".to_owned(),
            command: tool.command.clone(),
            demanded: false,
        };
        match read(&want, lock.as_bytes()) {
            Ok(told) => format!("{told:?}"),
            Err(refusal) => refusal.reason,
        }
    }

    #[test]
    fn requirements_have_hashes_and_lead_nowhere_else() {
        for text in [
            "a==1 \\\n    --hash=sha256:0\n",
            "a==1 ; python_version < '3.9' and sys_platform == \"linux\" \\\r\n    --hash=sha256:0 \\\r\n    --hash=sha256:1\r\n    # via -r requirements.in\r\n",
            "# -*- coding: utf-8 -*-\n--no-binary=:all: --pre\na==1 --hash=sha256:0  # größe\n",
            "a[x-y]==1-2 @ b --hash=sha256:0\n",
        ] {
            assert_eq!(said(text), "Packages", "{text}");
        }
        assert_eq!(said("# none\n\n"), "Nothing");
        assert!(said("a==1\n").contains("no hashes"));
        assert!(said("a==1 # --hash=sha256:0\n").contains("no hashes"));
        for line in [
            "-r b.txt",
            "--index-url https://x.test",
            "-e .",
            "--find-links x",
            "-ihttps://x.test",
        ] {
            let text = format!("{line}\na==1 --hash=sha256:0\n");
            assert!(said(&text).contains("leads elsewhere"), "{line}");
        }
    }

    /// What pip's own parser was seen to take for an option.
    #[test]
    fn attack_g16_no_requirement_hides_an_option_that_leads_elsewhere() {
        for line in [
            "--pre --index-url https://x.test",
            "--pre -r b.txt",
            "--pre\t--index-url=https://x.test",
            "a==1 --hash=sha256:0 --index-url https://x.test",
            "a==1 --hash=sha256:0\t--index-url\thttps://x.test",
            "a==1 --global-option=--index-url",
            "a==1 --hash=sha256:0 '--index-url' https://x.test",
            "a==1 --hash=sha256:0 \"-r\" b.txt",
            "a==1 --hash=sha256:0 \\--index-url https://x.test",
            "a==1 -\\\n-index-url https://x.test",
            "\\--index-url https://x.test\\",
        ] {
            let text = format!("{line}\nb==1 --hash=sha256:0\n");
            assert!(
                said(&text).contains("leads elsewhere"),
                "{line}: {}",
                said(&text)
            );
        }
        for c in [
            '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}', '\r',
            '\0', '\u{feff}',
        ] {
            let text = format!("a==1 --hash=sha256:0{c}--index-url https://x.test\n");
            assert!(
                said(&text).contains("has the character"),
                "{c:?}: {}",
                said(&text)
            );
        }
        assert!(said("\u{feff}--index-url https://x.test\n").contains("`\\u{feff}`"));
        for first in [
            "# coding: utf-7",
            "#\n# vim: fileencoding=latin-1",
            "#-*-coding:UTF-16-*-",
        ] {
            let text = format!("{first}\na==1 --hash=sha256:0\n");
            assert!(
                said(&text).contains("the encoding"),
                "{first}: {}",
                said(&text)
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(a==1|--hash=|-r|#|coding|:|=|\\\\|\"|'| |\t|\r|\n|\u{2028}|ä){0,30}") {
            said(&text);
        }
    }
}
