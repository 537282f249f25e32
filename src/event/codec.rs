//! Framing: a 4-byte big-endian length, then that many bytes. The hazard: a length is a claim of the peer, so nothing is allocated from it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the length in front of each frame.
pub const HEADER: usize = 4;
/// The longest frame unless configured otherwise: 1 MiB.
pub const DEFAULT_MAX_FRAME: usize = 1 << 20;
/// The longest frame that may be configured: 64 MiB.
pub const LARGEST_MAX_FRAME: usize = 64 << 20;

/// Why bytes are not a frame, or a frame is not an envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame has the length 0.
    #[error("a frame is empty")]
    Empty,
    /// A frame is, or is announced to be, longer than the limit.
    #[error("a frame of {length} bytes is longer than the limit of {limit}")]
    TooLarge {
        /// Bytes of the frame.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {held} bytes of it")]
    Cut {
        /// Bytes of the frame that came, its length included.
        held: usize,
    },
    /// A frame is not UTF-8.
    #[error("an event frame is not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// A frame is not JSON.
    #[error("an event frame is not JSON")]
    Json(#[source] serde_json::Error),
    /// A frame's JSON has more levels than allowed.
    #[error("an event frame is nested deeper than {limit} levels")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// A frame is JSON but not an envelope; says what is wrong with it.
    #[error("an event frame is {0}")]
    NotAnEnvelope(&'static str),
}

impl FrameError {
    /// Whether the stream can no longer be cut into frames. All other errors concern one frame, and the next may be good.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Empty | Self::TooLarge { .. } | Self::Cut { .. })
    }
}

/// Cuts a stream into frames: [`push`](Self::push) what came, then take [`next_frame`](Self::next_frame) until there is none.
#[derive(Debug)]
pub struct Decoder {
    max_frame: usize,
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder that refuses frames of more than `max_frame` bytes, at most [`LARGEST_MAX_FRAME`].
    pub fn new(max_frame: usize) -> Self {
        Self { max_frame: max_frame.min(LARGEST_MAX_FRAME), buffer: BytesMut::new() }
    }

    /// Takes bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete frame's body.
    ///
    /// # Errors
    /// [`FrameError::Empty`] and [`FrameError::TooLarge`], as soon as the length has come and before its bytes are kept.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        // A length that does not fit is longer than any limit.
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        check(length, self.max_frame)?;
        if self.buffer.len() - HEADER < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Bytes of memory held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Tells that the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Cut`] when it ended inside a frame.
    pub fn finish(self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            held => Err(FrameError::Cut { held }),
        }
    }
}

/// Appends `body` to `out` as one frame.
///
/// # Errors
/// [`FrameError::Empty`] and [`FrameError::TooLarge`], with nothing appended.
pub fn encode(body: &[u8], max_frame: usize, out: &mut BytesMut) -> Result<(), FrameError> {
    let limit = max_frame.min(LARGEST_MAX_FRAME);
    check(body.len(), limit)?;
    let Ok(length) = u32::try_from(body.len()) else {
        return Err(FrameError::TooLarge { length: body.len(), limit });
    };
    out.reserve(HEADER + body.len());
    out.put_u32(length);
    out.put_slice(body);
    Ok(())
}

const fn check(length: usize, limit: usize) -> Result<(), FrameError> {
    match length {
        0 => Err(FrameError::Empty),
        _ if length > limit => Err(FrameError::TooLarge { length, limit }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        good: Vec<Case>,
        bad: Vec<Case>,
        cut: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        name: String,
        wire: String,
        frames: Vec<String>,
        max_frame: Option<usize>,
        error: Option<String>,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../__test__/vectors/frames.json")).unwrap()
    }

    pub(in super::super) fn unhex(text: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    /// The frames in `chunks`, and the error that ended them.
    fn decode(chunks: &[&[u8]], max_frame: usize) -> (Vec<Bytes>, Option<FrameError>) {
        let mut decoder = Decoder::new(max_frame);
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
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

    fn code(error: &FrameError) -> &'static str {
        match error {
            FrameError::TooLarge { .. } => "ERR_ALKNET_FRAME_TOO_LARGE",
            _ => "ERR_ALKNET_FRAME_INVALID",
        }
    }

    fn every_split(case: &Case, max_frame: usize) {
        let wire = unhex(&case.wire);
        let expected: Vec<_> = case.frames.iter().map(|frame| unhex(frame)).collect();
        let check = |chunks: &[&[u8]], how: &str| {
            let (frames, error) = decode(chunks, max_frame);
            assert_eq!(frames, expected, "{} {how}", case.name);
            assert_eq!(error.as_ref().map(code), case.error.as_deref(), "{} {how}", case.name);
            assert!(error.is_none_or(|error| error.is_fatal()), "{} {how}", case.name);
        };
        for at in 0..=wire.len() {
            let (head, tail) = wire.split_at(at);
            check(&[head, tail], &format!("split at {at}"));
        }
        check(&wire.chunks(1).collect::<Vec<_>>(), "byte by byte");
    }

    #[test]
    fn good_streams_give_their_frames_wherever_they_are_split() {
        for case in vectors().good {
            every_split(&case, DEFAULT_MAX_FRAME);
            let mut out = BytesMut::new();
            for frame in &case.frames {
                encode(&unhex(frame), DEFAULT_MAX_FRAME, &mut out).unwrap();
            }
            assert_eq!(out, unhex(&case.wire), "{}", case.name);
        }
    }

    #[test]
    fn bad_streams_give_what_was_good_and_then_the_error() {
        let Vectors { bad, cut, .. } = vectors();
        for case in bad.iter().chain(&cut) {
            every_split(case, case.max_frame.unwrap_or(DEFAULT_MAX_FRAME));
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut decoder = Decoder::new(LARGEST_MAX_FRAME);
        decoder.push(&u32::try_from(LARGEST_MAX_FRAME).unwrap().to_be_bytes());
        assert!(decoder.next_frame().unwrap().is_none());
        assert!(decoder.buffer.capacity() < 1024);
    }

    #[test]
    fn what_may_not_be_received_is_not_sent() {
        let mut out = BytesMut::new();
        assert!(matches!(encode(b"", 8, &mut out), Err(FrameError::Empty)));
        let too_large = encode(&[0; 9], 8, &mut out);
        assert!(matches!(too_large, Err(FrameError::TooLarge { length: 9, limit: 8 })));
        assert!(out.is_empty());
    }
}
