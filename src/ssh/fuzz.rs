//! What must hold of a greeting, and of what comes first on a spare channel, whatever the bytes are.

use bytes::Bytes;

use super::before::prefix;
use super::greeting::{self, Greeting, session_id};
use super::spare::{Found, LONGEST, Named, Verdict};

/// A greeting says the same wherever it is cut, holds a bounded number of bytes, and shows nothing that a terminal obeys.
pub(crate) fn greeting(pieces: &[&[u8]]) {
    let whole = hear(&[&pieces.concat()]);
    let heard = hear(pieces);
    assert_eq!(heard.cookie(), whole.cookie());
    assert_eq!(heard.nonsense(), whole.nonsense());
    if heard.cookie().is_some() {
        assert_eq!(heard.nonsense(), None);
    }
    if let Some(shown) = heard.nonsense() {
        assert!(!shown.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
        // 40 bytes, each at its longest: \u{10ffff}.
        assert!(shown.len() <= 40 * 10, "{} bytes shown", shown.len());
    }
    let id = session_id(&heard, &whole);
    assert!(id.len() == 32 && id.bytes().all(|b| b == b'0'), "a cookie with itself gives {id}");
    assert_eq!(session_id(&heard, &Greeting::default()).len(), 32);
}

/// What is heard of `pieces`, by a listener that stops when it is told that there is no more to hear.
fn hear(pieces: &[&[u8]]) -> Greeting {
    let mut heard = Greeting::default();
    for piece in pieces {
        let more = heard.hear(piece);
        assert!(heard.held() <= greeting::LONGEST);
        if !more {
            break;
        }
    }
    heard
}

/// What comes first on a spare channel is read the same wherever it is cut, to its last byte and no further; and a header is what a
/// client makes of what it says.
pub(crate) fn spare(pieces: &[&[u8]]) {
    let whole = pieces.concat();
    if let Some((named, length)) = first(pieces, &whole, Named::read) {
        assert_eq!(named.header().as_deref(), Some(&whole[..length]));
    }
    if let Some((verdict, length)) = first(pieces, &whole, Verdict::read) {
        let again = verdict.bytes();
        // Text that is no UTF-8 is longer once it is.
        match &verdict {
            Verdict::Refused { text, .. } if text.contains('\u{fffd}') => {}
            _ => assert_eq!(again, whole[..length]),
        }
    }
}

/// What `read` finds in the whole, and by pieces.
fn first<T: PartialEq + std::fmt::Debug>(
    pieces: &[&[u8]],
    whole: &[u8],
    read: fn(&[u8]) -> Found<T>,
) -> Option<(T, usize)> {
    let mut held = Vec::new();
    let mut came = 0;
    let mut found = Ok(None);
    for piece in pieces {
        let mut data = Bytes::copy_from_slice(piece);
        found = prefix(&mut held, &mut data, read);
        came += piece.len() - data.len();
        if !matches!(found, Ok(None)) {
            break;
        }
        assert!(data.is_empty() && held.len() < LONGEST, "{} bytes held", held.len());
    }
    match (read(whole), found) {
        (Ok(Some((expected, length))), Ok(Some(found))) => {
            assert_eq!((found, came), (expected, length));
            (0..length).for_each(|cut| assert_eq!(read(&whole[..cut]), Ok(None), "cut at {cut}"));
            read(whole).ok().flatten()
        }
        (expected, found) => {
            let (expected, found) = (expected.map(|e| e.is_some()), found.map(|f| f.is_some()));
            assert_eq!(expected, found, "of the whole and by pieces");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What greetings are made of, and what they are not.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(b"SSH-2.0-alknet_0\r\n".to_vec()),
            Just(b"SSH-".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\0\0\x01\0\x04\x14".to_vec()),
            vec(any::<u8>(), 0..40),
            vec(any::<u8>(), 4_000..4_200),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn a_greeting_says_the_same_wherever_it_is_cut(parts in vec(part(), 0..8)) {
            greeting(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let whole = parts.concat();
            greeting(&whole.chunks(1).collect::<Vec<_>>());
        }

        #[test]
        fn a_spare_channel_is_named_and_answered_the_same_wherever_that_is_cut(
            host in ".{0,300}", port in any::<u32>(), unix in any::<bool>(), tail in vec(any::<u8>(), 0..9),
        ) {
            let named = match unix {
                true => Named::Unix { path: host.clone() },
                false => Named::Tcp {
                    host: host.clone(), port, originator: "::1".into(), originator_port: port,
                },
            };
            let verdict = Verdict::Refused { code: 1 + port % 4, text: host };
            for bytes in named.header().into_iter().chain([verdict.bytes()]) {
                let whole = [bytes, tail.clone()].concat();
                spare(&whole.chunks(1).collect::<Vec<_>>());
                spare(&[&whole]);
            }
        }
    }
}
