//! What a stream tells its consumer, and what a read finds.

use std::io;
use std::task::Poll;

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use crate::error::{Error, Result};

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
    /// Of a server: what [`crate::Server::relay`] says has changed.
    pub const CHANGED: Self = Self(16);

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

impl Read {
    /// The same as `AsyncRead` has it, for a read of at most what `buf` has room for.
    pub(crate) fn polled(self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Data(bytes) => buf.put_slice(&bytes),
            Self::Eof => {}
            Self::Pending => return Poll::Pending,
            Self::Failed(error) => return Poll::Ready(Err(error.into())),
        }
        Poll::Ready(Ok(()))
    }
}

/// A write that does not wait as `AsyncWrite` has it; `wanted` is how many bytes there were.
pub(crate) fn polled_write(written: Result<usize>, wanted: usize) -> Poll<io::Result<usize>> {
    match written {
        Ok(0) if wanted > 0 => Poll::Pending,
        Ok(count) => Poll::Ready(Ok(count)),
        Err(error) => Poll::Ready(Err(error.into())),
    }
}

/// Gives as much of the front of `bytes` as `buf` has room for.
pub(crate) fn give_front(bytes: &mut Bytes, buf: &mut ReadBuf<'_>) {
    let count = buf.remaining().min(bytes.len());
    buf.put_slice(&bytes[..count]);
    bytes.advance(count);
}
