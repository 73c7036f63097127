//! DNS messages: bytes to one question, and one answer to bytes. Pure.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::A},
};

/// Seconds an answer may be kept: short, so that a name is asked for again soon after a gateway
/// changed, long enough for one program's connections.
const TTL: u32 = 5;
/// Largest UDP answer we say we take.
const PAYLOAD: u16 = 1232;
/// Bytes of a message header.
const HEADER: usize = 12;

/// A message that asks one thing.
#[derive(Debug, Clone)]
pub(super) struct Question {
    metadata: Metadata,
    query: Query,
    edns: bool,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name stands at this address.
    Address(Ipv4Addr),
    /// The name exists, without records of the type asked for.
    Empty,
    /// There is no answer.
    Code(ResponseCode),
}

/// What was read instead of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotQuestion {
    /// Must not be answered: too short, or itself an answer.
    Ignore,
    /// The answer that refuses it.
    Reply(Vec<u8>),
}

/// Reads one question.
pub(super) fn question(bytes: &[u8]) -> Result<Question, NotQuestion> {
    // An answer to an answer could go round forever.
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Err(NotQuestion::Ignore);
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let Ok(message) = Message::from_vec(bytes) else {
        return refuse(id, ResponseCode::FormErr);
    };
    if message.metadata.op_code != OpCode::Query {
        return refuse(id, ResponseCode::NotImp);
    }
    if message.metadata.message_type != MessageType::Query || message.metadata.truncation {
        return refuse(id, ResponseCode::FormErr);
    }
    let [query] = message.queries.as_slice() else {
        return refuse(id, ResponseCode::FormErr);
    };
    if query.query_class() != DNSClass::IN {
        return refuse(id, ResponseCode::Refused);
    }
    Ok(Question {
        metadata: message.metadata,
        query: query.clone(),
        edns: message.edns.is_some(),
    })
}

fn refuse(id: u16, code: ResponseCode) -> Result<Question, NotQuestion> {
    let message = Message::error_msg(id, OpCode::Query, code);
    Err(message
        .to_vec()
        .map_or(NotQuestion::Ignore, NotQuestion::Reply))
}

impl Question {
    /// Returns the type asked for.
    pub(super) fn record_type(&self) -> RecordType {
        self.query.query_type()
    }

    /// Returns the name without its last dot, or none when a label holds a byte that could make
    /// one name read as another (`.` within a label, NUL, space …).
    pub(super) fn name(&self) -> Option<String> {
        let mut text = String::new();
        for label in self.query.name().iter() {
            if !label
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|b| char::from(*b)));
        }
        Some(text)
    }

    /// Returns the name for people: every unusual byte escaped.
    pub(super) fn shown(&self) -> String {
        let labels: Vec<String> = self
            .query
            .name()
            .iter()
            .map(|label| label.escape_ascii().to_string())
            .collect();
        labels.join(".")
    }

    /// Writes the answer, none when it cannot be encoded.
    pub(super) fn reply(&self, answer: Answer) -> Option<Vec<u8>> {
        let mut message = Message::response(self.metadata.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        match answer {
            Answer::Address(address) => {
                let name: Name = self.query.name().clone();
                message.add_answer(Record::from_rdata(name, TTL, RData::A(A(address))));
            }
            Answer::Empty => {}
            Answer::Code(code) => message.metadata.response_code = code,
        }
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            message.set_edns(edns);
        }
        message.to_vec().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn ask(name: &str, record_type: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        message.to_vec().unwrap()
    }

    #[test]
    fn an_answer_echoes_the_question_in_its_own_case() {
        let asked = question(&ask("Example.TEST.", RecordType::A)).unwrap();
        assert_eq!(asked.name().as_deref(), Some("Example.TEST"));
        let bytes = asked
            .reply(Answer::Address(Ipv4Addr::new(127, 64, 0, 1)))
            .unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.id, 7);
        assert_eq!(answer.answers.len(), 1);
        assert_eq!(answer.queries[0].name().to_string(), "Example.TEST.");
    }

    #[test]
    fn a_compression_loop_is_a_format_error() {
        let mut bytes = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        let Err(NotQuestion::Reply(reply)) = question(&bytes) else {
            panic!("was read")
        };
        assert_eq!(
            Message::from_vec(&reply).unwrap().metadata.response_code,
            ResponseCode::FormErr
        );
    }

    #[test]
    fn answers_and_fragments_are_ignored() {
        let mut answer = ask("a.test.", RecordType::A);
        answer[2] |= 0x80;
        assert_eq!(question(&answer).unwrap_err(), NotQuestion::Ignore);
        assert_eq!(question(&[0; 11]).unwrap_err(), NotQuestion::Ignore);
        assert_eq!(question(&[]).unwrap_err(), NotQuestion::Ignore);
    }

    #[test]
    fn a_dot_or_a_nul_within_a_label_is_no_name() {
        for label in [
            &b"evil.test"[..],
            b"evil\0",
            b"a b",
            b"a/b",
            b"\xc3\xa4",
            b"a%00",
        ] {
            let name = Name::from_labels([label, b"allowed", b"test"]).unwrap();
            let mut message = Message::new(7, MessageType::Query, OpCode::Query);
            message.add_query(Query::query(name, RecordType::A));
            let asked = question(&message.to_vec().unwrap()).unwrap();
            assert_eq!(asked.name(), None, "{}", asked.shown());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(asked) = question(&bytes) {
                assert!(asked.reply(Answer::Empty).is_none_or(|reply| reply.len() < 600));
            }
        }
    }
}
