//! What a reviewer said: one line of JSON at the end of its output, read strictly. No verdict is
//! never a pass.

use serde::Deserialize;

use crate::finding::Finding;

/// Longest line, in bytes.
const LINE_MAX: usize = 1024 * 1024;

/// A reviewer's judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The reviewer passed it, and found nothing that blocks.
    pub passed: bool,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// Why an output holds no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// Nothing was printed.
    #[error("the reviewer printed nothing; its last line must be its verdict as JSON")]
    Missing,
    /// The last line is too long.
    #[error("the reviewer's last line is longer than {LINE_MAX} bytes")]
    TooLong,
    /// The last line is not a verdict.
    #[error("the reviewer's last line is not a verdict")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    verdict: Word,
    findings: Vec<Finding>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pass,
    Block,
}

/// Reads the verdict from the last line of an output that is not blank.
///
/// # Errors
///
/// Returns an error when there is none, or when it is not exactly a verdict.
pub fn verdict(stdout: &[u8]) -> Result<Verdict, VerdictError> {
    let stdout = stdout.trim_ascii_end();
    let line = stdout.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    if line.is_empty() {
        return Err(VerdictError::Missing);
    }
    if line.len() > LINE_MAX {
        return Err(VerdictError::TooLong);
    }
    let Line { verdict, findings } =
        serde_json::from_slice(line).map_err(VerdictError::Malformed)?;
    let blocked = findings.iter().any(|finding| finding.severity.blocks());
    Ok(Verdict {
        passed: verdict == Word::Pass && !blocked,
        findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: &str) -> String {
        format!(r#"{{"severity":"{severity}","file":"a.py","line":3,"message":"m"}}"#)
    }

    fn passed(word: &str, findings: &str) -> bool {
        let output = format!("looked\n{{\"verdict\":\"{word}\",\"findings\":[{findings}]}}\n\n");
        verdict(output.as_bytes()).expect("a verdict").passed
    }

    #[test]
    fn a_pass_needs_the_word_and_no_blocking_finding() {
        assert!(passed("pass", ""));
        assert!(passed(
            "pass",
            &format!("{},{}", finding("low"), finding("cosmetic"))
        ));
        for severity in ["medium", "high", "critical"] {
            assert!(!passed("pass", &finding(severity)));
        }
        assert!(!passed("block", ""));
    }

    #[test]
    fn findings_are_kept() {
        let output = format!(
            "{{\"verdict\":\"block\",\"findings\":[{}]}}",
            finding("high")
        );
        let found = verdict(output.as_bytes()).expect("a verdict").findings;
        assert_eq!((found[0].file.as_str(), found[0].line), ("a.py", Some(3)));
    }

    #[test]
    fn no_verdict_is_an_error() {
        assert!(matches!(verdict(b""), Err(VerdictError::Missing)));
        assert!(matches!(verdict(b" \n\n"), Err(VerdictError::Missing)));
        let long = vec![b'a'; LINE_MAX + 1];
        assert!(matches!(verdict(&long), Err(VerdictError::TooLong)));
        for output in [
            "all good",
            r#"{"verdict":"pass","findings":[]} and more"#,
            "{\"verdict\":\"pass\",\"findings\":[]}\nbye",
            r#"{"verdict":"PASS","findings":[]}"#,
            r#"{"verdict":"pass"}"#,
            r#"{"verdict":"pass","findings":[],"note":1}"#,
            r#"{"verdict":"pass","verdict":"pass","findings":[]}"#,
            r#"{"verdict":"pass","findings":[{"severity":"urgent","file":"a","message":"m"}]}"#,
            "\u{feff}{\"verdict\":\"pass\",\"findings\":[]}",
        ] {
            assert!(
                matches!(verdict(output.as_bytes()), Err(VerdictError::Malformed(_))),
                "{output}"
            );
        }
    }
}
