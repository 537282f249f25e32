//! What a stream tells its consumer, and what a read finds.

use bytes::Bytes;

use crate::error::Error;

/// What happened on a stream, as a set. An event is told once after the call that could not go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// A read would not wait.
    pub const READABLE: Self = Self(1);
    /// A write would be accepted.
    pub const WRITABLE: Self = Self(2);
    /// All that was written, and the end, is with the operating system.
    pub const FINISHED: Self = Self(4);
    /// The stream is over.
    pub const CLOSED: Self = Self(8);

    /// The set as bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Is told what happened. Called from any thread, without locks held; must not block.
pub trait Observer: Send + Sync + 'static {
    /// Something happened that was waited for.
    fn notify(&self, events: Events);
}

/// What a read that does not wait finds.
#[derive(Debug)]
pub enum Read {
    /// At least one byte.
    Data(Bytes),
    /// The peer has ended its side.
    Eof,
    /// Nothing yet; [`Events::READABLE`] will be told.
    Pending,
    /// The stream is lost.
    Failed(Error),
}
