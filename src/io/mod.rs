//! Byte streams and byte queues. Knows tokio and nothing of alknet.

mod queue;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use queue::ByteQueue;

/// What every transport turns an address into: bytes both ways, half-close by `shutdown`, abort by drop.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An erased [`Io`]; one virtual call per poll.
pub(crate) type BoxIo = Box<dyn Io>;
