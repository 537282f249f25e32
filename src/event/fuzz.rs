//! What must hold of frames and envelopes whatever the bytes are.
#![allow(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

use bytes::{Bytes, BytesMut};

use super::codec::{Decoder, FrameError, HEADER, LARGEST_MAX_FRAME, encode};
use super::envelope::Envelope;

/// What a buffer keeps of an earlier size when it begins anew.
const KEPT: usize = 64 * 1024;

/// A stream gives the same frames and the same error wherever it is cut; what was good, encoded again, is its beginning, and the
/// rest explains the error. Memory follows what came, not what was announced.
pub(crate) fn frames(max_frame: usize, pieces: &[&[u8]]) {
    let limit = max_frame.min(LARGEST_MAX_FRAME);
    let whole = pieces.concat();
    let (good, error) = decode(max_frame, &[&whole]);
    let (good_in_pieces, error_in_pieces) = decode(max_frame, pieces);
    assert_eq!(good, good_in_pieces);
    assert_eq!(told(error.as_ref()), told(error_in_pieces.as_ref()));

    let mut again = BytesMut::new();
    for frame in &good {
        encode(frame, max_frame, &mut again).expect("what was received may be sent");
    }
    let rest = whole.strip_prefix(&again[..]).expect("frames are the beginning of the stream");
    let announced = || {
        let header = rest.first_chunk::<HEADER>().expect("a length");
        u64::from(u32::from_be_bytes(*header))
    };
    match error {
        None => assert!(rest.is_empty()),
        Some(FrameError::Cut { held }) => assert_eq!(rest.len(), held),
        Some(FrameError::Empty) => assert_eq!(announced(), 0),
        Some(FrameError::TooLarge { length, limit: told }) => {
            assert_eq!((announced(), told), (length as u64, limit));
            assert!(length > limit);
        }
        Some(other) => unreachable!("the codec does not look into frames: {other}"),
    }
}

/// A body is an envelope that survives being written, or an error of this frame alone.
pub(crate) fn envelope(body: &[u8]) {
    let envelope = match Envelope::read(body) {
        Ok(envelope) => envelope,
        Err(error) => return assert!(!error.is_fatal(), "{error}"),
    };
    let text = envelope.write().expect("what could be read may be written");
    let again = Envelope::read(text.as_bytes()).expect("what was written can be read");
    assert_eq!(again, envelope);
    assert_eq!(again.write().ok().as_ref(), Some(&text));
    assert!(envelope.topic().starts_with(&envelope.kind));
    match envelope.control() {
        Ok(Some(_)) | Err(_) => assert!(envelope.is_reserved()),
        Ok(None) => {}
    }
}

fn told(error: Option<&FrameError>) -> Option<String> {
    error.map(ToString::to_string)
}

/// The frames in `pieces`, and the error that ended them.
fn decode(max_frame: usize, pieces: &[&[u8]]) -> (Vec<Bytes>, Option<FrameError>) {
    let mut decoder = Decoder::new(max_frame);
    let mut frames = Vec::new();
    let mut came = 0;
    for piece in pieces {
        decoder.push(piece);
        came += piece.len();
        assert!(decoder.capacity() <= 2 * came + KEPT, "{} for {came}", decoder.capacity());
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, decoder.finish().err())
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::event::{DEFAULT_MAX_FRAME, MAX_DEPTH};

    fn cut<'a>(mut wire: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for length in lengths {
            let (piece, rest) = wire.split_at(wire.len().min(*length));
            pieces.push(piece);
            wire = rest;
        }
        pieces.push(wire);
        pieces
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..8).prop_map(Value::from),
                btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|object| Value::Object(object.into_iter().collect())),
            ]
        })
    }

    fn config() -> ProptestConfig {
        ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn frames_come_out_as_they_went_in_wherever_the_stream_is_cut(
            bodies in vec(vec(any::<u8>(), 1..300), 0..8),
            lengths in vec(0_usize..64, 0..40),
        ) {
            let mut wire = BytesMut::new();
            for body in &bodies {
                encode(body, DEFAULT_MAX_FRAME, &mut wire).unwrap();
            }
            let pieces = cut(&wire, &lengths);
            let (decoded, error) = decode(DEFAULT_MAX_FRAME, &pieces);
            prop_assert_eq!(decoded, bodies);
            prop_assert!(error.is_none());
            frames(DEFAULT_MAX_FRAME, &pieces);
        }

        #[test]
        fn any_bytes_are_frames_or_a_defined_error(
            bytes in vec(prop_oneof![Just(0_u8), any::<u8>()], 0..200),
            lengths in vec(0_usize..16, 0..40),
            max_frame in prop_oneof![1_usize..300, Just(LARGEST_MAX_FRAME), Just(usize::MAX)],
        ) {
            frames(max_frame, &cut(&bytes, &lengths));
        }

        #[test]
        fn envelopes_are_read_as_they_were_written(
            kind in any::<String>(), id in any::<String>(), payload in json(),
        ) {
            let written = Envelope { kind, id, payload };
            let text = written.write().unwrap();
            prop_assert_eq!(Envelope::read(text.as_bytes()).unwrap(), written);
            envelope(text.as_bytes());
        }

        #[test]
        fn damaged_envelopes_concern_one_frame_only(
            payload in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let written = Envelope { kind: "a".into(), id: "b".into(), payload };
            let mut body = written.write().unwrap().into_bytes();
            let at = at.index(body.len());
            envelope(&body[..at]);
            body[at] = byte;
            envelope(&body);
        }

        #[test]
        fn depth_is_counted_exactly(levels in 1_usize..2 * MAX_DEPTH) {
            let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let body = format!(r#"{{"type":"[\"[","id":"","payload":{nested}}}"#);
            let fits = levels < MAX_DEPTH;
            prop_assert_eq!(Envelope::read(body.as_bytes()).is_ok(), fits);
        }
    }
}
