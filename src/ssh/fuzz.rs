//! What must hold of a greeting whatever the bytes are.

use super::greeting::{Greeting, LONGEST, session_id};

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
        assert!(heard.held() <= LONGEST);
        if !more {
            break;
        }
    }
    heard
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
    }
}
