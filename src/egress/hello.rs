//! The first message of a TLS client: which server does it want? Pure.

/// Bytes of a record header.
const RECORD: usize = 5;
/// Largest payload of one record.
const RECORD_MAX: usize = 16 * 1024;
/// Largest message we read: post-quantum hellos take a few KiB.
const MESSAGE_MAX: usize = 64 * 1024;

/// What the gateway needs from a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The server name as sent, none when the client sent none.
    pub server_name: Option<Vec<u8>>,
    /// The client also sent an encrypted hello, whose name nobody here can read.
    pub encrypted: bool,
}

/// A second message behind the hello, before any answer, has no lawful meaning.
const FOLLOWED: BadHello = BadHello::NotTls("something follows its hello");

/// Why bytes are no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHello {
    /// At least `more` further bytes are needed to tell. A reader that waits for them parses a
    /// hello a few times, not once per byte, however small its pieces are.
    #[error("the TLS hello is not complete")]
    Incomplete {
        /// At least 1.
        more: usize,
    },
    /// Something else than TLS is spoken, or it is spoken wrongly.
    #[error("what is spoken is not TLS: {0}")]
    NotTls(&'static str),
}

/// Reads a client's hello out of the first bytes of a connection, over records as needed.
///
/// # Errors
///
/// [`BadHello::Incomplete`] when more bytes could complete it, [`BadHello::NotTls`] when none can.
pub fn sni(bytes: &[u8]) -> Result<Hello, BadHello> {
    let message = message(bytes)?;
    client_hello(&message).ok_or(BadHello::NotTls("its hello is malformed"))
}

/// Joins the payloads of handshake records until one whole message is there.
fn message(mut bytes: &[u8]) -> Result<Vec<u8>, BadHello> {
    let mut joined = Vec::new();
    loop {
        if let Some(message) = whole(&joined)? {
            return Ok(message);
        }
        check_prefix(bytes)?;
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD>() else {
            return Err(incomplete(&joined));
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > RECORD_MAX {
            return Err(BadHello::NotTls("a record is empty or too long"));
        }
        // What is there of a record already counts, so that nonsense is refused early.
        let there = rest.len().min(length);
        joined.extend_from_slice(&rest[..there]);
        if there < length {
            // A whole hello in a record that goes on is followed by something, whenever that comes.
            return match whole(&joined)? {
                Some(_) => Err(FOLLOWED),
                None => Err(incomplete(&joined)),
            };
        }
        bytes = &rest[length..];
    }
}

fn incomplete(joined: &[u8]) -> BadHello {
    let more = announced(joined).map_or(1, |length| (4 + length).saturating_sub(joined.len()));
    BadHello::Incomplete { more: more.max(1) }
}

/// Returns the length of the message's body, once its header is there.
fn announced(joined: &[u8]) -> Option<usize> {
    let header = joined.first_chunk::<4>()?;
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]);
    Some(usize::try_from(length).unwrap_or(usize::MAX - 4))
}

/// Refuses what cannot become a handshake record, from the first byte on.
fn check_prefix(bytes: &[u8]) -> Result<(), BadHello> {
    let wrong = |at: usize, want: &dyn Fn(u8) -> bool| bytes.get(at).is_some_and(|b| !want(*b));
    if wrong(0, &|b| b == 22) || wrong(1, &|b| b == 3) || wrong(2, &|b| b <= 4) {
        return Err(BadHello::NotTls(
            "it does not begin with a handshake record",
        ));
    }
    Ok(())
}

/// Returns the body of the message once it is whole.
fn whole(joined: &[u8]) -> Result<Option<Vec<u8>>, BadHello> {
    if joined.first().is_some_and(|kind| *kind != 1) {
        return Err(BadHello::NotTls("its first message is not a hello"));
    }
    let Some(length) = announced(joined) else {
        return Ok(None);
    };
    let body = &joined[4..];
    if length > MESSAGE_MAX {
        return Err(BadHello::NotTls("its hello is too long"));
    }
    if body.len() > length {
        return Err(FOLLOWED);
    }
    Ok((body.len() == length).then(|| body.to_vec()))
}

/// A reader over bytes that yields none past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|b| usize::from(b[0]))
    }

    fn short(&mut self) -> Option<usize> {
        self.take(2)
            .map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    }
}

const SERVER_NAME: usize = 0;
const ENCRYPTED_CLIENT_HELLO: usize = 0xfe0d;

fn client_hello(body: &[u8]) -> Option<Hello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    let session = reader.byte()?;
    reader.take(session)?;
    let suites = reader.short()?;
    reader.take(suites)?;
    let compressions = reader.byte()?;
    reader.take(compressions)?;
    let mut hello = Hello {
        server_name: None,
        encrypted: false,
    };
    if reader.0.is_empty() {
        return Some(hello);
    }
    let length = reader.short()?;
    let mut extensions = Reader(reader.take(length)?);
    if !reader.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let length = extensions.short()?;
        let value = extensions.take(length)?;
        match kind {
            // Two of them would be two answers to one question.
            SERVER_NAME if hello.server_name.is_some() => return None,
            SERVER_NAME => hello.server_name = Some(server_name(value)?),
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    Some(hello)
}

/// Reads the only form in use: a list of exactly one host name.
fn server_name(value: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(value);
    let list = reader.short()?;
    let mut entries = Reader(reader.take(list)?);
    if !reader.0.is_empty() || entries.byte()? != 0 {
        return None;
    }
    let length = entries.short()?;
    let name = entries.take(length)?;
    (entries.0.is_empty() && !name.is_empty()).then(|| name.to_vec())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn short(length: usize) -> [u8; 2] {
        u16::try_from(length).unwrap().to_be_bytes()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &short(value.len()), value].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        let entry = [&[0][..], &short(name.len()), name].concat();
        extension(0, &[&short(entry.len())[..], &entry].concat())
    }

    /// A hello with these extensions, in records of at most `split` bytes.
    fn hello(extensions: &[u8], split: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([9; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(short(extensions.len()));
        body.extend(extensions);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        let records = message.chunks(split);
        records
            .flat_map(|part| [&[22, 3, 1][..], &short(part.len()), part].concat())
            .collect()
    }

    /// A hello that asks for `server`, in records of at most `split` bytes.
    pub(in crate::egress) fn hello_for(server: &str, split: usize) -> Vec<u8> {
        hello(
            &[extension(51, &[7; 1300]), name(server.as_bytes())].concat(),
            split,
        )
    }

    /// A hello without a server name.
    pub(in crate::egress) fn hello_for_nobody() -> Vec<u8> {
        hello(&extension(51, &[7; 32]), 4096)
    }

    /// A hello that asks for `server` and carries an encrypted one.
    pub(in crate::egress) fn hello_encrypted(server: &str) -> Vec<u8> {
        hello(
            &[name(server.as_bytes()), extension(0xfe0d, &[0; 200])].concat(),
            4096,
        )
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        for split in [1, 2, 3, 5, 40, 1000, 16384] {
            let bytes = hello_for("api.example.test", split);
            let hello = sni(&bytes).unwrap();
            assert_eq!(hello.server_name.as_deref(), Some(&b"api.example.test"[..]));
            assert!(!hello.encrypted);
            for end in 0..bytes.len() {
                let Err(BadHello::Incomplete { more }) = sni(&bytes[..end]) else {
                    panic!("cut at {end} of {split} was taken for whole");
                };
                assert!(
                    more >= 1 && more <= bytes.len() - end,
                    "{more} at {end} of {split}"
                );
            }
        }
    }

    #[test]
    fn encrypted_and_nameless_hellos_are_told_apart() {
        assert!(sni(&hello_encrypted("a.test")).unwrap().encrypted);
        assert_eq!(sni(&hello_for_nobody()).unwrap().server_name, None);
    }

    #[test]
    fn what_is_not_tls_is_refused_at_its_first_byte() {
        for bytes in [
            &b"G"[..],
            b"SSH-2.0-x",
            b"\x16\x02",
            b"\x17\x03\x03",
            b"\x80\x2e\x01",
        ] {
            assert!(matches!(sni(bytes), Err(BadHello::NotTls(_))), "{bytes:?}");
        }
    }

    #[test]
    fn two_names_trailing_bytes_and_long_hellos_are_refused() {
        let twice = hello(&[name(b"a.test"), name(b"b.test")].concat(), 4096);
        assert!(matches!(sni(&twice), Err(BadHello::NotTls(_))));
        let mut follow = hello_for("a.test", 16384);
        follow.extend([22, 3, 1, 0, 1, 0]);
        assert!(
            sni(&follow).is_ok(),
            "bytes behind the record are not part of the hello"
        );
        let mut later = hello_for("a.test", 16384);
        let length = u16::from_be_bytes([later[3], later[4]]) + 6;
        later[3..5].copy_from_slice(&length.to_be_bytes());
        assert_eq!(sni(&later), Err(FOLLOWED), "what follows has yet to come");
        let long = [22, 3, 1, 0, 4, 1, 1, 0, 1];
        assert!(matches!(sni(&long), Err(BadHello::NotTls(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            drop(sni(&bytes));
        }

        #[test]
        fn a_changed_hello_never_grows_a_name_it_did_not_hold(at in 0usize..1420, to in any::<u8>()) {
            let mut bytes = hello_for("api.example.test", 16384);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(Hello { server_name: Some(name), .. }) = sni(&bytes) {
                prop_assert_eq!(name.len(), "api.example.test".len());
            }
        }
    }
}
