//! The word a person probably meant.

/// Returns the candidate that needs the fewest edits to become `word`, none when even that one
/// would need more than a third of the word changed.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = (word.len() / 3).max(1);
    candidates
        .map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Counts the single-letter inserts, removals and changes between two words.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_a_stranger_finds_none() {
        let roles = || ["eng-backend", "eng-frontend", "review-code"].into_iter();
        assert_eq!(nearest("eng-bakend", roles()), Some("eng-backend"));
        assert_eq!(nearest("eng-fontent", roles()), Some("eng-frontend"));
        assert_eq!(nearest("accountant", roles()), None);
        assert_eq!(nearest("", roles()), None);
    }
}
