//! Events on a byte stream: frames and the envelopes in them, as docs/wire.md ("Events") has them.
//!
//! Pure: bytes in, values out. It knows no stream, no task and no clock. The TypeScript side (`ts/frame-codec.ts`,
//! `ts/envelope.ts`) obeys the same rules and reads the same vectors, `__test__/vectors/*.json`.

mod codec;
mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use crate::error::{Code, Error, Phase};

pub use codec::{DEFAULT_MAX_FRAME, Decoder, FrameError, HEADER, LARGEST_MAX_FRAME, encode};
pub use envelope::{Control, Envelope, MAX_DEPTH, MAX_SUBSCRIPTIONS, MAX_TOPIC};

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } => Code::FrameTooLarge,
            _ => Code::FrameInvalid,
        };
        Self::new(code, error.to_string()).at(Phase::Stream)
    }
}
