//! One message of the tunnel: eight bytes of header, then the payload. A WebSocket message is one of these, whole.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 8;

/// Longest payload. The original's agent reads so much at once, and its other pieces take messages of 1 MiB at most.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

/// Longest message.
pub(crate) const MAX_MESSAGE: usize = HEADER + MAX_PAYLOAD;

/// Longest UDP payload over IPv4: 65 535 less the headers (RFC 768, RFC 791).
pub(crate) const MAX_DATAGRAM: usize = 65_507;

/// What a message is for. From 16 on they are ours, and sent only to peers that have announced them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Towards the agent: reach the port. With a payload: what the sender takes, as in a credit.
    Connect = 1,
    /// From the agent: it was reached. With a payload, if the request had one: what the agent takes.
    Connected = 2,
    Data = 3,
    Close = 4,
    /// From the agent: it was not reached, or is lost; the payload says why.
    Error = 5,
    Ping = 6,
    Pong = 7,
    /// Bytes of this id that the sender takes in all: 8 bytes, big-endian.
    Credit = 0x10,
    /// No more bytes of this id come from the sender, who still reads.
    Finish = 0x11,
}

impl Kind {
    fn read(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Connect,
            2 => Self::Connected,
            3 => Self::Data,
            4 => Self::Close,
            5 => Self::Error,
            6 => Self::Ping,
            7 => Self::Pong,
            0x10 => Self::Credit,
            0x11 => Self::Finish,
            _ => return None,
        })
    }
}

/// What runs on an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proto {
    Tcp = 0,
    Udp = 1,
    /// A byte stream of a terminal's records: ours, and never asked for on behalf of a user's session.
    Terminal = 2,
}

impl Proto {
    pub(crate) fn read(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Tcp),
            1 => Some(Self::Udp),
            2 => Some(Self::Terminal),
            _ => None,
        }
    }

    /// The same, where terminals may not be known.
    pub(crate) fn known(byte: u8, terminals: bool) -> Option<Self> {
        Self::read(byte).filter(|proto| terminals || *proto != Self::Terminal)
    }
}

/// The header as it is on the wire; any eight bytes are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// See [`Header::kind`].
    pub(crate) kind: u8,
    /// See [`Proto::read`].
    pub(crate) proto: u8,
    pub(crate) id: u32,
    /// Means something in a CONNECT only.
    pub(crate) port: u16,
}

impl Header {
    /// What the message is for, if that is known.
    pub(crate) fn kind(&self) -> Option<Kind> {
        Kind::read(self.kind)
    }

    fn write(self) -> [u8; HEADER] {
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        let [p0, p1] = self.port.to_be_bytes();
        [self.kind, self.proto, i0, i1, i2, i3, p0, p1]
    }
}

/// Why a WebSocket message is none of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a message of {0} bytes, shorter than its header")]
    Short(usize),
    #[error("a message of {0} bytes, longer than 65 544")]
    Long(usize),
}

/// A message in its two parts. The payload is not copied.
///
/// # Errors
/// Nothing is looked at but the length.
pub(crate) fn decode(message: &Bytes) -> Result<(Header, Bytes), Malformed> {
    let Some(&[kind, proto, i0, i1, i2, i3, p0, p1]) = message.first_chunk::<HEADER>() else {
        return Err(Malformed::Short(message.len()));
    };
    if message.len() > MAX_MESSAGE {
        return Err(Malformed::Long(message.len()));
    }
    let id = u32::from_be_bytes([i0, i1, i2, i3]);
    let header = Header { kind, proto, id, port: u16::from_be_bytes([p0, p1]) };
    Ok((header, message.slice(HEADER..)))
}

/// A message with a copy of `payload`.
pub(crate) fn encode(header: Header, payload: &[u8]) -> Bytes {
    let mut message = begin(header, payload.len());
    message.put_slice(payload);
    message.freeze()
}

/// A message of which the payload is still to be put, `room` bytes.
pub(crate) fn begin(header: Header, room: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(HEADER + room);
    message.put_slice(&header.write());
    message
}

/// The same message for another id.
pub(crate) fn with_id(message: Bytes, id: u32) -> Bytes {
    // Bytes that nobody else holds are changed where they are.
    let mut message = message.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    if let Some(place) = message.get_mut(2..6) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    message.freeze()
}

/// The limit in a credit, or in the payload of a CONNECT or CONNECTED.
pub(crate) fn limit(payload: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(payload.try_into().ok()?))
}

/// A peer's words, which may be anything: at most 200 signs, none that moves a cursor.
pub(crate) fn readable(text: &str) -> String {
    text.chars().filter(|sign| !sign.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/__test__/vectors/tunnel.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).expect("JSON")
    }

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex: String = hex.as_str().expect("hex").split_whitespace().collect();
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn rows(name: &str) -> Vec<Value> {
        vectors()[name].as_array().expect("rows").clone()
    }

    fn header_of(row: &Value) -> Header {
        let number = |name: &str| row[name].as_u64().expect("a number");
        Header {
            kind: number("type") as u8,
            proto: number("proto") as u8,
            id: number("id") as u32,
            port: number("port") as u16,
        }
    }

    #[test]
    fn messages_are_those_of_the_vectors_both_ways() {
        for row in rows("messages") {
            let wire = Bytes::from(bytes(&row["wire"]));
            let (header, payload) = decode(&wire).unwrap_or_else(|e| panic!("{row}: {e}"));
            assert_eq!(header, header_of(&row), "{row}");
            assert_eq!(payload, bytes(&row["payload"]), "{row}");
            assert_eq!(header.kind().is_some(), row["known"] != false, "{row}");
            assert_eq!(encode(header, &payload), wire, "{row}");
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_short_or_another_message() {
        for row in rows("messages") {
            let wire = Bytes::from(bytes(&row["wire"]));
            for length in 0..wire.len() {
                match decode(&wire.slice(..length)) {
                    Err(error) => assert_eq!(error, Malformed::Short(length)),
                    Ok((header, payload)) => {
                        assert_eq!(header, header_of(&row));
                        assert_eq!(payload.len(), length - HEADER);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(decode(&Bytes::from(vec![3; MAX_MESSAGE])).is_ok());
        let long = Bytes::from(vec![3; MAX_MESSAGE + 1]);
        assert_eq!(decode(&long), Err(Malformed::Long(MAX_MESSAGE + 1)));
    }

    #[test]
    fn another_id_changes_nothing_else() {
        let header = Header { kind: 3, proto: 1, id: 7, port: 0 };
        let message = encode(header, b"payload");
        let shared = message.clone();
        let (changed, payload) = decode(&with_id(message, 0xffff_fffe)).expect("a message");
        assert_eq!(changed, Header { id: 0xffff_fffe, ..header });
        assert_eq!(&payload[..], b"payload");
        assert_eq!(decode(&shared).expect("a message").0, header, "who shares it keeps its id");
    }
}
