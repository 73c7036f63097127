use proptest::prelude::{ProptestConfig as Config, Strategy, any, prop, proptest};
use zeroize::Zeroizing;

use super::*;

const PLAIN: &str = "sk-ant-api03-canary/VALUE+0123456789-abcdef=";

fn values(pairs: &[(&str, &str)]) -> Values {
    let owned =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Zeroizing::new((*value).to_owned()));
    pairs.iter().map(owned).collect()
}

fn redactor(value: &str) -> Redactor {
    Redactor::new(&values(&[("KEY", value)]))
}

/// Encodes by other code than the redactor's own where there is some.
fn encodings(value: &str, before: &str, after: &str) -> Vec<String> {
    use base64::{Engine, engine::general_purpose as b64};
    let around = format!("{before}{value}{after}");
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url: String =
        percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC)
            .to_string();
    vec![
        value.to_owned(),
        b64::STANDARD.encode(&around),
        b64::STANDARD_NO_PAD.encode(&around),
        b64::URL_SAFE.encode(&around),
        b64::URL_SAFE_NO_PAD.encode(&around),
        hex.to_uppercase(),
        hex,
        percent.to_lowercase(),
        percent,
        url,
        serde_json::to_string(&around).unwrap(),
        format!("{around:?}"),
    ]
}

#[test]
fn every_form_is_masked_wherever_it_begins() {
    let redactor = redactor(PLAIN);
    for (before, after) in [
        ("", ""),
        ("u", ":"),
        ("us", "\n"),
        ("use", "ab"),
        ("user:", "abc"),
    ] {
        for encoded in encodings(PLAIN, before, after) {
            let shown = redactor.text(&encoded).into_owned();
            assert!(shown.contains("[secret:KEY]"), "{encoded} became {shown}");
            let left = shown.replace("[secret:KEY]", "");
            // What stands around it, its base64, quotes and padding.
            let around = (before.len() + after.len()) * 4 / 3 + 6;
            assert!(left.len() <= around, "{encoded} left {left}");
            assert!(redactor.finds(encoded.as_bytes()));
        }
    }
}

#[test]
fn what_is_no_value_passes_as_it_is() {
    let redactor = redactor(PLAIN);
    for text in ["", "sk-ant-api03-", "the sk-ant", "plain\0bytes\u{fe0f}"] {
        assert_eq!(redactor.text(text), text);
        assert!(!redactor.finds(text.as_bytes()));
    }
    assert_eq!(Redactor::default().text(PLAIN), PLAIN);
}

#[test]
fn a_value_of_any_length_becomes_one_mask() {
    for length in [8, 31, 32, 33, 63, 64, 65, 1000] {
        let value: String = (0..length)
            .map(|at| char::from(b'!' + u8::try_from(at * 7 % 90).unwrap()))
            .collect();
        let shown = redactor(&value).text(&format!("<{value}>")).into_owned();
        assert_eq!(shown, "<[secret:KEY]>", "{length}");
    }
}

#[test]
fn lines_of_a_value_are_masked_one_by_one_and_line_breaks_hide_little() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nshort\n-----END KEY-----\n";
    let redactor = redactor(key);
    let shown = redactor.text("a: MC4CAQAwBQYDK2VwBCIEIA\nb: short");
    assert_eq!(shown, "a: [secret:KEY]\nb: short");
    let long = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(10);
    let encoded = STANDARD.encode(&long).into_bytes();
    let wrapped = encoded.chunks(76).collect::<Vec<_>>().join(&b'\n');
    let shown = self::redactor(&long).bytes(&wrapped).into_owned();
    let left = String::from_utf8(shown)
        .unwrap()
        .replace("[secret:KEY]", "");
    assert!(left.len() < wrapped.len() / 2, "{left}");
}

/// `base64`, `openssl` and `xxd -p` break their lines, and each hid short values.
#[test]
fn attack_s01_no_line_break_hides_a_value_from_a_search() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    for length in [8, 12, 20, 25, 32, 40, 48, 64] {
        let value: String = (0..length)
            .map(|at| char::from(b'!' + u8::try_from(at * 37 % 90).unwrap()))
            .collect();
        let redactor = redactor(&value);
        for before in 0..80 {
            let text = format!("{}{value} and more", "A".repeat(before));
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            for (width, digits) in [
                (60, &hex),
                (64, &STANDARD.encode(&text)),
                (76, &STANDARD.encode(&text)),
            ] {
                for end in ["\n", "\r\n", "\n    ", "\\n", " \\\n\t"] {
                    let lines = digits.as_bytes().chunks(width);
                    let lines: Vec<&[u8]> = lines.collect();
                    let wrapped = lines.join(end.as_bytes());
                    assert!(
                        redactor.finds(&wrapped),
                        "{length} behind {before} in {width} {end:?}"
                    );
                }
            }
        }
    }
    let redactor = redactor("canary-0123456789");
    let mut search = redactor.search();
    assert!(!search.finds(b"canary-\n") && !search.finds(b"  0123") && search.finds(b"456789"));
    for other in [
        "canary-\nx\n0123456789",
        "canary-\n\\0123456789",
        "canary- 0123456789",
    ] {
        assert!(!redactor.finds(other.as_bytes()), "{other:?}");
    }
}

#[test]
fn values_that_overlap_leave_nothing_of_each_other() {
    let redactor = Redactor::new(&values(&[
        ("A", "abcdefgh"),
        ("B", "efghijkl"),
        ("C", "cdefghij"),
    ]));
    assert_eq!(redactor.text("xabcdefghijkly"), "x[secret:A]y");
    assert_eq!(
        redactor.text("abcdefghabcdefgh efghijkl"),
        "[secret:A] [secret:B]"
    );
    let within = Redactor::new(&values(&[("A", "bcdefghi"), ("B", "abcdefghij")]));
    assert_eq!(within.text("abcdefghij bcdefghi"), "[secret:B] [secret:A]");
}

#[test]
fn little_is_held_back_and_only_what_may_begin_a_value() {
    let redactor = redactor(PLAIN);
    let mut stream = redactor.stream();
    assert_eq!(&*stream.push(b"prompt> "), b"prompt> ");
    assert_eq!(&*stream.push(b"sk-an"), b"");
    assert_eq!(&*stream.push(b"other"), b"sk-another");
    // A whole value is masked at once: nothing after it could change that.
    assert_eq!(&*stream.push(PLAIN.as_bytes()), b"[secret:KEY]");
    assert_eq!(stream.finish(), b"");
    assert_eq!(&*stream.push(b"sk-an"), b"");
    assert_eq!(stream.finish(), b"sk-an");
}

#[test]
fn what_was_released_early_is_all_that_shows_of_a_value() {
    let redactor = redactor(PLAIN);
    let mut stream = redactor.stream();
    assert_eq!(&*stream.push(b"> sk"), b"> ");
    assert_eq!(
        (stream.held(), stream.release().as_slice()),
        (2, &b"sk"[..])
    );
    let rest = PLAIN.strip_prefix("sk").unwrap();
    assert_eq!(&*stream.push(rest.as_bytes()), b"[secret:KEY]");
    assert_eq!(&*stream.push(b" and on"), b" and on");
}

#[test]
fn json_is_masked_in_texts_keys_and_numbers() {
    let redactor = Redactor::new(&values(&[
        ("KEY", "line one\n\"two\""),
        ("PIN", "1234567890"),
    ]));
    let mut value = serde_json::json!({
        "line one\n\"two\"": ["a line one\n\"two\" b", 1_234_567_890_u64, null, true, 7],
    });
    assert!(redactor.json(&mut value));
    let expected = serde_json::json!({
        "[secret:KEY]": ["a [secret:KEY] b", "[secret:PIN]", null, true, 7],
    });
    assert_eq!(value, expected);
    assert!(!redactor.json(&mut value));
}

#[test]
fn values_are_never_printed() {
    let values = values(&[("KEY", PLAIN)]);
    assert_eq!(
        format!("{values:?}{:?}", Redactor::new(&values)),
        "{\"KEY\"}Redactor"
    );
}

fn value() -> impl Strategy<Value = String> {
    // Few letters, so that values overlap themselves and each other.
    prop::string::string_regex("[ab+/é\n]{8,70}").expect("it is a regular expression")
}

proptest! {
    #![proptest_config(Config::with_cases(64))]
    #[test]
    fn no_splitting_of_a_stream_shows_more_than_the_whole(
        keys in prop::collection::vec(value(), 1..4),
        noise in prop::collection::vec("[ab+/é\n%=]{0,20}", 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let pairs: Vec<(String, &str)> = keys.iter().enumerate()
            .map(|(at, key)| (format!("K{at}"), key.as_str())).collect();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, key)| (name.as_str(), *key)).collect();
        let redactor = Redactor::new(&values(&pairs));
        let mut said = Vec::new();
        for (at, noise) in noise.iter().enumerate() {
            said.extend_from_slice(noise.as_bytes());
            for encoded in encodings(&keys[at % keys.len()], noise, "") {
                said.extend_from_slice(encoded.as_bytes());
                said.push(b' ');
            }
        }
        let whole = redactor.bytes(&said).into_owned();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(said.len())).collect();
        at.sort_unstable();
        let mut stream = redactor.stream();
        let mut shown = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([said.len()]) {
            shown.extend_from_slice(&stream.push(&said[from..to]));
            from = to;
        }
        shown.extend(stream.finish());
        assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&whole));
        for key in &keys {
            for encoded in encodings(key, "", "") {
                let encoded = encoded.trim_matches('"');
                assert!(!String::from_utf8_lossy(&shown).contains(encoded), "{encoded}");
            }
        }
    }
}
