//! Byte streams and byte queues. Knows tokio and nothing of alknet.

mod queue;

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use queue::ByteQueue;

/// What every transport turns an address into: bytes both ways, half-close by `shutdown`, abort by drop.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// An erased [`Io`]; one virtual call per poll.
pub(crate) type BoxIo = Box<dyn Io>;

/// A stream that a dial or an accept gave, and who is at its ends.
pub(crate) struct Connected {
    pub(crate) io: BoxIo,
    pub(crate) ends: Ends,
}

/// The addresses at the two ends of a transport.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The other end, when the transport has addresses.
    pub(crate) remote: Option<SocketAddr>,
    /// This end.
    pub(crate) local: Option<SocketAddr>,
    /// The transport's name: `tcp`.
    pub(crate) transport: &'static str,
}
