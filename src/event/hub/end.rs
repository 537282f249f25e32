//! How a member's stream ends, and what is wrong with a frame.

use crate::event::codec::FrameError;

/// Why a member's stream is over.
pub(super) enum End {
    /// Its own end.
    Eof,
    /// The stream was lost.
    Lost,
    /// It did not take what it was subscribed to.
    Slow,
    /// It broke the rules of frames.
    Broken,
    /// The hub ends.
    Drained,
}

impl End {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Eof => "end",
            Self::Lost => "lost",
            Self::Slow => "slow_consumer",
            Self::Broken => "malformed",
            Self::Drained => "shutdown",
        }
    }

    pub(super) fn is_orderly(&self) -> bool {
        matches!(self, Self::Eof | Self::Slow | Self::Drained)
    }
}

/// What is wrong with a frame, or ends the member while it is looked at.
pub(super) enum Fault {
    Frame(FrameError),
    End(End),
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}
