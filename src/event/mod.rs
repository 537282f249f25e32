//! Events on a byte stream: frames and the envelopes in them, as docs/wire.md ("Events") has them.
//!
//! Frames and envelopes are pure: bytes in, values out. The hub is handed streams, and knows nothing of where they come from. The TypeScript side (`ts/frame-codec.ts`,
//! `ts/envelope.ts`) obeys the same rules and reads the same vectors, `__test__/vectors/*.json`.

mod codec;
mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod hub;

use crate::error::{Code, Error, Phase};

pub use codec::{DEFAULT_MAX_FRAME, Decoder, FrameError, HEADER, LARGEST_MAX_FRAME, encode};
pub use envelope::{Control, Envelope, MAX_DEPTH, MAX_SUBSCRIPTIONS, MAX_TOPIC};
#[cfg(feature = "nats")]
pub(crate) use hub::Nats;
pub(crate) use hub::{Access, Hub, Who};
pub use hub::{BusAction, BusLimits, BusMetrics};

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { .. } => Code::FrameTooLarge,
            _ => Code::FrameInvalid,
        };
        Self::new(code, error.to_string()).at(Phase::Stream)
    }
}
