//! Sizes and durations as people write them: `2GiB`, `512MiB`, `100MB`, `30m`, `10s`, `1h`.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const TIMES: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// Returns the units of sizes.
pub(super) fn sizes() -> impl Iterator<Item = &'static str> {
    SIZES.iter().map(|(unit, _)| *unit)
}

/// Returns the units of durations.
pub(super) fn times() -> impl Iterator<Item = &'static str> {
    TIMES.iter().map(|(unit, _)| *unit)
}

/// Returns the bytes that `text` says, none when it is no size or is too large to count.
pub(super) fn size(text: &str) -> Option<u64> {
    amount(text, &SIZES)
}

/// Returns the time that `text` says (`30s`, `5m`, `1h`, `1d`), none when it is no duration.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    amount(text, &TIMES).map(Duration::from_secs)
}

/// Returns the bytes as people write them, in the largest binary unit that says them exactly.
pub(super) fn written_size(bytes: u64) -> String {
    written(bytes, SIZES.iter().take(5))
}

/// Returns the time as people write it, in the largest unit that says it exactly.
pub(super) fn written_duration(time: Duration) -> String {
    written(time.as_secs(), TIMES.iter())
}

fn written<'u>(amount: u64, units: impl DoubleEndedIterator<Item = &'u (&'u str, u64)>) -> String {
    let exact = |(_, factor): &&(&str, u64)| amount.is_multiple_of(*factor);
    let (unit, factor) = units.rev().find(exact).unwrap_or(&("", 1));
    format!("{}{unit}", amount / factor)
}

fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_written() {
        assert_eq!(size("2GiB"), Some(2 << 30));
        assert_eq!(size("512MiB"), Some(512 << 20));
        assert_eq!(size("100MB"), Some(100_000_000));
        assert_eq!(size("0B"), Some(0));
        assert_eq!(duration("30m"), Some(Duration::from_secs(1800)));
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "2",
            "-2GiB",
            "+2GiB",
            "2 GiB",
            "2gib",
            "1.5GiB",
            "GiB",
            "2GiBx",
            "99999999999999999999B",
            "99999999TiB",
            "²GiB",
        ] {
            assert_eq!(size(text), None, "{text:?}");
        }
        for text in [
            "",
            "30",
            "-1s",
            "1.5h",
            "h",
            "1w",
            "1h30m",
            "18446744073709551615d",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }
}
