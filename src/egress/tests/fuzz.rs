//! Readers of hostile bytes, fed with messages that were sound until a few bytes of them were
//! changed: such get further into a reader than noise does. `make fuzz` does it a million times.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::egress::{
    dns::{Answer, NotQuestion, question},
    head,
    hello::tests::hello_for,
    http::head_end,
    sni,
};

/// One change of a message.
#[derive(Debug, Clone)]
enum Change {
    Set(u16, u8),
    Flip(u16, u8),
    Insert(u16, Vec<u8>),
    Cut(u16, u8),
    Repeat(u16, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<u16>;
    let byte = any::<u8>;
    // Bytes on which readers turn.
    let sharp = prop::sample::select(&b"\r\n\0:;, \t.%=0fAa\xc0\xff"[..]);
    let one = prop_oneof![
        (at(), byte()).prop_map(|(at, to)| Change::Set(at, to)),
        (at(), sharp.clone()).prop_map(|(at, to)| Change::Set(at, to)),
        (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (at(), prop::collection::vec(sharp, 1..6)).prop_map(|(at, new)| Change::Insert(at, new)),
        (at(), byte()).prop_map(|(at, length)| Change::Cut(at, length)),
        (at(), byte()).prop_map(|(at, length)| Change::Repeat(at, length)),
    ];
    prop::collection::vec(one, 0..5)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        let place = |at: u16| usize::from(at) % length.max(1);
        let span = |at: u16, many: u8| place(at)..(place(at) + usize::from(many)).min(length);
        match change {
            _ if length == 0 => {}
            Change::Set(at, to) => bytes[place(*at)] = *to,
            Change::Flip(at, bit) => bytes[place(*at)] ^= bit,
            Change::Insert(at, new) => drop(bytes.splice(place(*at)..place(*at), new.clone())),
            Change::Cut(at, many) => drop(bytes.drain(span(*at, *many))),
            Change::Repeat(at, many) => {
                let part = bytes[span(*at, *many)].to_vec();
                bytes.splice(place(*at)..place(*at), part);
            }
        }
    }
    bytes
}

fn asked() -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("Api.Example.test.").unwrap();
    message.add_query(Query::query(name, RecordType::HTTPS));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

const HEAD: &str = "POST /a/b?c=d HTTP/1.1\r\nHost: api.example.test:80\r\nUser-Agent: x/1 (y)\r\n\
    Content-Length: 12\r\nAccept: */*\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nExpect: 100-continue\r\n\r\n";

proptest! {
    #[test]
    fn fuzz_dns_answers_are_sound_and_to_what_was_asked(changes in changes()) {
        let bytes = changed(asked(), &changes);
        let (reply, asked) = match question(&bytes) {
            Ok(asked) => (asked.reply(Answer::Empty), Some(asked)),
            Err(NotQuestion::Reply(reply)) => (Some(reply), None),
            Err(NotQuestion::Ignore) => (None, None),
        };
        if let Some(reply) = reply {
            let reply = Message::from_vec(&reply).unwrap();
            prop_assert_eq!(reply.metadata.message_type, MessageType::Response);
            prop_assert_eq!(reply.metadata.id.to_be_bytes(), [bytes[0], bytes[1]]);
        }
        if let Some(name) = asked.and_then(|asked| asked.name()) {
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }
    }

    #[test]
    fn fuzz_a_hello_says_the_same_name_however_it_is_cut(
        changes in changes(),
        size in 1usize..600,
    ) {
        let bytes = changed(hello_for("api.example.test", size), &changes);
        if let Ok(hello) = sni(&bytes) {
            let name = hello.server_name.clone().unwrap_or_default();
            prop_assert!(name.len() < bytes.len());
            // What comes behind a whole hello changes nothing of it.
            let more = [&bytes[..], b"\x17\x03\x03\0\x01x"].concat();
            prop_assert_eq!(sni(&more).unwrap().server_name, hello.server_name);
        }
    }

    #[test]
    fn fuzz_a_head_that_is_passed_on_reads_the_same_again(changes in changes()) {
        let bytes = changed(HEAD.as_bytes().to_vec(), &changes);
        let Some(end) = head_end(&bytes, 0) else {
            return Ok(());
        };
        if let Ok(read) = head(&bytes[..end]) {
            let passed = &read.forward;
            prop_assert_eq!(head_end(passed, 0), Some(passed.len()));
            let again = head(passed).unwrap();
            prop_assert_eq!((again.host, again.port), (read.host, read.port));
            prop_assert_eq!(again.body, read.body);
            let lines = passed.split(|b| *b == b'\n');
            let hosts = lines.filter(|line| line.to_ascii_lowercase().starts_with(b"host:"));
            prop_assert_eq!(hosts.count(), 1);
        }
    }
}
