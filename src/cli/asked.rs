//! What can be asked of a throw-away sandbox on the command line, checked as it is read.

use std::time::Duration;

use crate::{policy, sandbox::is_reserved};

/// What a throw-away sandbox may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Network {
    /// What the role's policy says
    Policy,
    /// Nothing
    None,
}

/// Reads `NAME=VALUE`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write NAME=VALUE: nothing is taken over from this machine".to_owned());
    };
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| first(c) || c.is_ascii_digit()) {
        return Err("a name is letters, digits and `_`, and begins with no digit".to_owned());
    }
    if is_reserved(name) {
        return Err(format!(
            "`{name}` is set by Loki or read by the loader: choose another"
        ));
    }
    if value.contains('\0') {
        return Err("a value holds no NUL".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a time such as `30s`, at least a second.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    policy::duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "write a number and its unit: 30s, 5m, 1h, 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_name_and_any_value() {
        let read = |text| variable(text).unwrap();
        assert_eq!(read("A=b"), ("A".to_owned(), "b".to_owned()));
        assert_eq!(read("_a1=x=y z"), ("_a1".to_owned(), "x=y z".to_owned()));
        assert_eq!(read("EMPTY="), ("EMPTY".to_owned(), String::new()));
    }

    #[test]
    fn variables_of_lokis_and_of_the_loader_are_refused() {
        for text in [
            "A",
            "=b",
            "1A=b",
            "A-B=c",
            "A B=c",
            "Ä=c",
            "PATH=/x",
            "HOME=/x",
            "USER=x",
            "TMPDIR=/x",
            "LOKI_ROLE=x",
            "LOKI_ANY=x",
            "LD_PRELOAD=/x",
            "LD_AUDIT=",
            "A=b\0c",
        ] {
            assert!(variable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_has_a_unit_and_is_not_nothing() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        for text in ["", "30", "0s", "-1s", "1.5h", "forever"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
