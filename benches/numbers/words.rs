//! The words that a measurement was asked for with.

/// Returns them; Cargo adds `--bench`.
pub fn words() -> Vec<String> {
    let words = std::env::args().skip(1);
    words.filter(|word| word != "--bench").collect()
}
