//! Amounts as people write them: `5USD`, `2M`, `90m`, `50`.

use std::time::Duration;

use super::Measure;
use crate::policy::duration;

/// The most US dollars that a budget may have.
const RICHEST: u64 = 1_000_000_000;
const MICROS: u64 = 1_000_000;
/// Units of token counts.
const COUNTS: [(&str, u64); 6] = [
    ("", 1),
    ("k", 1_000),
    ("K", 1_000),
    ("m", 1_000_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
];
const TIMES: [(&str, u64); 4] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// Why a text is no amount: what to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not money.
    #[error("write US dollars, such as 5USD or 0.50USD")]
    Money,
    /// Another currency.
    #[error("only US dollars are counted: write 5USD")]
    Currency,
    /// Not a count of tokens.
    #[error("write a number of tokens, such as 500k or 2M")]
    Tokens,
    /// Not a time.
    #[error("write a number and its unit: 30s, 5m, 1h, 1d")]
    Time,
    /// Not a count.
    #[error("write a whole number, such as 50")]
    Iterations,
    /// Nothing at all.
    #[error("a budget of nothing would let nothing start: write more, or leave it out")]
    Nothing,
}

impl Measure {
    /// Reads an amount of this measure, in its unit, more than nothing.
    ///
    /// # Errors
    /// [`AmountError`], which says what to write.
    pub fn read(self, text: &str) -> Result<u64, AmountError> {
        let amount = match self {
            Self::Money => money(text)?,
            Self::Tokens => tokens(text).ok_or(AmountError::Tokens)?,
            Self::Time => duration(text)
                .and_then(|time| u64::try_from(time.as_millis()).ok())
                .ok_or(AmountError::Time)?,
            Self::Iterations => digits(text).ok_or(AmountError::Iterations)?,
        };
        if amount == 0 {
            return Err(AmountError::Nothing);
        }
        Ok(amount)
    }

    /// Returns an amount of this measure as people write it.
    #[must_use]
    pub fn written(self, amount: u64) -> String {
        match self {
            Self::Money => written_money(amount),
            Self::Tokens => written_count(amount, "token"),
            Self::Time => written_time(Duration::from_millis(amount)),
            Self::Iterations => written_count(amount, "agent session"),
        }
    }
}

/// Reads US dollars into millionths.
pub(super) fn money(text: &str) -> Result<u64, AmountError> {
    let text = text.trim();
    let bare = text.strip_prefix('$').unwrap_or(text);
    let end = bare
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(bare.len());
    let (number, unit) = bare.split_at(end);
    let unit = unit.trim();
    if number.is_empty() {
        return Err(AmountError::Money);
    }
    if !unit.is_empty() && !unit.eq_ignore_ascii_case("usd") {
        let letters = unit.len() == 3 && unit.bytes().all(|b| b.is_ascii_alphabetic());
        return Err(if letters || "€£¥".contains(unit) {
            AmountError::Currency
        } else {
            AmountError::Money
        });
    }
    decimal(number, MICROS)
        .filter(|micros| *micros <= RICHEST * MICROS)
        .ok_or(AmountError::Money)
}

fn tokens(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = COUNTS.iter().find(|(name, _)| *name == unit)?;
    decimal(&number.replace('_', ""), *factor)
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Reads a decimal number of things of `factor` units each; parts of a unit are refused.
fn decimal(text: &str, factor: u64) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if text.ends_with('.') {
        return None;
    }
    let mut amount = digits(whole)?.checked_mul(factor)?;
    let mut unit = factor;
    for digit in part.chars() {
        let value = u64::from(digit.to_digit(10)?);
        if !unit.is_multiple_of(10) {
            return None;
        }
        unit /= 10;
        amount = amount.checked_add(value.checked_mul(unit)?)?;
    }
    Some(amount)
}

fn written_money(micros: u64) -> String {
    let (dollars, rest) = (micros / MICROS, micros % MICROS);
    if rest == 0 {
        return format!("{dollars} USD");
    }
    // Cents where they say it, else as much as it takes.
    let places = if rest.is_multiple_of(10_000) {
        format!("{:02}", rest / 10_000)
    } else {
        format!("{rest:06}").trim_end_matches('0').to_owned()
    };
    format!("{dollars}.{places} USD")
}

fn written_count(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {what}{plural}")
}

fn written_time(time: Duration) -> String {
    let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if left < 1_000 {
        return format!("{left}ms");
    }
    let mut text = String::new();
    let mut parts = 0;
    for (unit, factor) in TIMES {
        let count = left / factor;
        left %= factor;
        if count > 0 && parts < 2 {
            text.push_str(&format!("{count}{unit}"));
        }
        parts += usize::from(!text.is_empty());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        let read = |measure: Measure, text: &str| measure.read(text).unwrap();
        for text in ["5", "5USD", "5 USD", "$5", "5usd", "5.00USD", " 5USD "] {
            assert_eq!(read(Measure::Money, text), 5_000_000, "{text}");
        }
        assert_eq!(read(Measure::Money, "0.000001USD"), 1);
        assert_eq!(read(Measure::Money, "1000000000USD"), RICHEST * MICROS);
        assert_eq!(read(Measure::Tokens, "2M"), 2_000_000);
        assert_eq!(read(Measure::Tokens, "1.5k"), 1_500);
        assert_eq!(read(Measure::Tokens, "2_000_000"), 2_000_000);
        assert_eq!(read(Measure::Time, "90m"), 5_400_000);
        assert_eq!(read(Measure::Iterations, "50"), 50);
    }

    #[test]
    fn what_is_no_amount_is_refused_with_what_to_write() {
        let cases = [
            (Measure::Money, "5EUR", AmountError::Currency),
            (Measure::Money, "5€", AmountError::Currency),
            (Measure::Money, "-5", AmountError::Money),
            (Measure::Money, "5.", AmountError::Money),
            (Measure::Money, ".5", AmountError::Money),
            (Measure::Money, "1.2.3", AmountError::Money),
            (Measure::Money, "0.0000001USD", AmountError::Money),
            (Measure::Money, "1000000001USD", AmountError::Money),
            (Measure::Money, "99999999999999999999", AmountError::Money),
            (Measure::Money, "5 dollars", AmountError::Money),
            (Measure::Money, "NaN", AmountError::Money),
            (Measure::Money, "1e3", AmountError::Money),
            (Measure::Money, "", AmountError::Money),
            (Measure::Money, "0", AmountError::Nothing),
            (Measure::Tokens, "2T", AmountError::Tokens),
            (Measure::Tokens, "1.5", AmountError::Tokens),
            (Measure::Tokens, "99999999999G", AmountError::Tokens),
            (Measure::Tokens, "k", AmountError::Tokens),
            (Measure::Tokens, "_", AmountError::Tokens),
            (Measure::Time, "30", AmountError::Time),
            (Measure::Time, "0s", AmountError::Nothing),
            (Measure::Iterations, "1.5", AmountError::Iterations),
            (Measure::Iterations, "+5", AmountError::Iterations),
            (Measure::Iterations, "0", AmountError::Nothing),
        ];
        for (measure, text, wrong) in cases {
            assert_eq!(measure.read(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn amounts_are_written_as_people_read_them() {
        let cases = [
            (Measure::Money, 5_000_000, "5 USD"),
            (Measure::Money, 5_200_000, "5.20 USD"),
            (Measure::Money, 12_345, "0.012345 USD"),
            (Measure::Money, 1_012_300, "1.0123 USD"),
            (Measure::Tokens, 1, "1 token"),
            (Measure::Tokens, 1_234_567, "1,234,567 tokens"),
            (Measure::Time, 5_400_000, "1h30m"),
            (Measure::Time, 90_061_000, "1d1h"),
            (Measure::Time, 86_405_000, "1d"),
            (Measure::Time, 250, "250ms"),
            (Measure::Iterations, 50, "50 agent sessions"),
        ];
        for (measure, amount, text) in cases {
            assert_eq!(measure.written(amount), text);
        }
    }
}
