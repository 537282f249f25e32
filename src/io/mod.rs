//! Byte streams and byte queues. Knows tokio and nothing of alknet but its errors.

#[cfg(all(feature = "cli", feature = "ws"))]
mod cut;
mod datagram;
mod events;
mod face;
mod lock;
#[cfg(all(test, feature = "model"))]
#[path = "pipe_model.rs"]
mod model;
mod pipe;
mod prefixed;
mod queue;
mod relay;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::{poll_read_buf, poll_write_buf};

#[cfg(all(feature = "cli", feature = "ws"))]
pub(crate) use cut::Cut;
pub(crate) use datagram::{DatagramStream, Datagrams, is_too_long};
pub use events::{Events, Observer, Read};
pub(crate) use events::{give_front, polled_write};
#[cfg_attr(
    not(feature = "ws"),
    allow(unused_imports, reason = "named where streams come from elsewhere")
)]
pub(crate) use face::Face;
#[cfg(test)]
pub(crate) use pipe::PipeEnd;
pub(crate) use pipe::pipe;
pub(crate) use prefixed::Prefixed;
pub(crate) use queue::ByteQueue;
pub(crate) use relay::{Relays, relay};

/// What every transport turns an address into: bytes both ways, half-close by `shutdown`, abort by drop.
///
/// The methods are for the relay; streams that hold their bytes in pieces hand these over instead of copying them.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Reads into `queue`, about `max` bytes at most, through `space`, which is kept for the next read. 0 is the end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        fill_through(self, cx, queue, space, max)
    }

    /// Writes from the front of `queue`.
    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        poll_write_buf(Pin::new(self), cx, queue)
    }

    /// After the end of its bytes: ready when nothing written can reach the peer any more.
    fn poll_closed(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Makes the drop to come a reset rather than an end.
    fn abort(&mut self) {}
}

/// Least room worth a read, and what is made when there is less: two full SSH packets of ours, still below what an allocator asks the
/// system for each time.
const SPACE: (usize, usize) = (16 * 1024, 120 * 1024);

fn fill_through<S: AsyncRead + Unpin + ?Sized>(
    from: &mut S,
    cx: &mut Context<'_>,
    queue: &mut ByteQueue,
    space: &mut BytesMut,
    _max: usize,
) -> Poll<io::Result<usize>> {
    if space.capacity() - space.len() < SPACE.0 {
        space.reserve(SPACE.1);
    }
    let read = poll_read_buf(Pin::new(from), cx, space);
    if let Poll::Ready(Ok(1..)) = read {
        queue.push(space.split().freeze());
    }
    read
}

#[cfg(test)]
impl Io for tokio::io::DuplexStream {}

/// An erased [`Io`]; one virtual call per poll.
pub(crate) type BoxIo = Box<dyn Io>;

/// A stream that a dial or an accept gave, and who is at its ends.
pub(crate) struct Connected {
    pub(crate) io: BoxIo,
    pub(crate) ends: Ends,
}

/// Who is at the two ends of a transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// The other end, when the transport has addresses.
    pub(crate) remote: Option<SocketAddr>,
    /// This end.
    pub(crate) local: Option<SocketAddr>,
    /// The transport's name: `tcp`, `udp`, `unix`.
    pub(crate) transport: &'static str,
    /// The other end, when the transport has proved its key: then that is what limits go by, wherever it is.
    pub(crate) endpoint: Option<EndpointId>,
}

/// The public key of an endpoint that has no lasting address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointId(pub(crate) [u8; 32]);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
