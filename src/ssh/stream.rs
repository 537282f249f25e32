//! The two faces of a channel: calls that never wait, for the JS boundary, and `AsyncRead + AsyncWrite` for everything in Rust.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::channel::Channel;
use super::events::{Observer, Read};
use super::session::{Info, Session};
use crate::error::{Code, Error, Result};
use crate::io::{ByteQueue, Face, Io, polled_write};

/// An open byte stream over SSH, through a tunnel, or within the process ([`crate::Server::bus`]). Dropping it closes both directions; bytes not yet sent are lost then, so end it first.
///
/// `shutdown` half-closes: the peer sees the end and may go on sending.
pub struct Stream {
    way: Way,
    info: Arc<Info>,
}

/// How its bytes travel.
enum Way {
    Channel(Arc<Channel>),
    /// Without SSH.
    Other(Box<dyn Face>),
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("target", &self.info.target).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(channel: Arc<Channel>, info: Arc<Info>) -> Self {
        Self { way: Way::Channel(channel), info }
    }

    /// A stream that does not go over SSH.
    pub(crate) fn of(other: impl Face, info: Info) -> Self {
        Self { way: Way::Other(Box::new(other)), info: Arc::new(info) }
    }

    /// Makes the session end with the stream; [`super::Events::CLOSED`] is then told when the session is gone.
    pub(super) fn own(self, session: Session) -> Self {
        if let Way::Channel(channel) = &self.way {
            channel.own(session);
        }
        self
    }

    /// What the two ends know of each other.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The same, to be kept.
    pub(crate) fn shared_info(&self) -> Arc<Info> {
        Arc::clone(&self.info)
    }

    /// Sets who is told of events. Calls made before are not told again.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        match &self.way {
            Way::Channel(channel) => channel.observe(observer),
            Way::Other(other) => other.observe(observer),
        }
    }

    /// Takes what has arrived, at most `max` bytes. Never waits.
    pub fn try_read(&self, max: usize) -> Read {
        self.read(max, None)
    }

    /// Accepts a copy of as much as there is room for (1 MiB is kept). Never waits.
    ///
    /// # Errors
    /// `EPIPE` when the stream cannot be written any more, or why it was lost.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        self.write(bytes, None)
    }

    /// Ends our side after what was accepted; [`super::Events::FINISHED`] follows. Never waits.
    ///
    /// # Errors
    /// Why the stream was lost.
    pub fn finish(&self) -> Result<()> {
        self.finish_writing(None).map(drop)
    }

    /// Ends both directions and drops what is buffered. Idempotent.
    pub fn close(&self) {
        match &self.way {
            Way::Channel(channel) => channel.close(),
            Way::Other(other) => other.close(),
        }
    }

    /// Why the stream ended badly; `None` while it is open and after a good end.
    pub fn failure(&self) -> Option<Error> {
        match &self.way {
            Way::Channel(channel) => channel.failure(),
            Way::Other(other) => other.failure(),
        }
    }

    /// Bytes received and not read, and bytes accepted and not sent.
    pub fn buffered(&self) -> (usize, usize) {
        match &self.way {
            Way::Channel(channel) => channel.buffers(),
            Way::Other(other) => other.buffered(),
        }
    }

    fn read(&self, max: usize, waker: Option<&Waker>) -> Read {
        match &self.way {
            Way::Channel(channel) => channel.read(max, waker),
            Way::Other(other) => other.read(max, waker),
        }
    }

    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Result<usize> {
        match &self.way {
            Way::Channel(channel) => channel.write(bytes, waker),
            Way::Other(other) => other.write(bytes, waker),
        }
    }

    fn finish_writing(&self, waker: Option<&Waker>) -> Result<bool> {
        match &self.way {
            Way::Channel(channel) => channel.finish_writing(waker),
            Way::Other(other) => other.finish(waker),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(buf.remaining(), Some(cx.waker())).polled(buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        polled_write(self.write(bytes, Some(cx.waker())), bytes.len())
    }

    /// Bytes leave by themselves; there is nothing to push.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.finish_writing(Some(cx.waker())) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) if error.code() == Code::System("EPIPE") => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

/// Bytes change hands in the pieces that they came in.
impl Io for Stream {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let channel = match &mut self.way {
            Way::Channel(channel) => channel,
            Way::Other(other) => return other.poll_fill(cx, queue, space, max),
        };
        let before = queue.len();
        match channel.read_into(queue, max, cx.waker()) {
            Read::Data(_) => Poll::Ready(Ok(queue.len() - before)),
            Read::Eof => Poll::Ready(Ok(0)),
            Read::Pending => Poll::Pending,
            Read::Failed(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        let channel = match &mut self.way {
            Way::Channel(channel) => channel,
            Way::Other(other) => return other.poll_give(cx, queue),
        };
        polled_write(channel.write_from(queue, cx.waker()), 1)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Channel(channel) if channel.is_over(cx.waker()) => Poll::Ready(()),
            Way::Channel(_) => Poll::Pending,
            Way::Other(other) => other.poll_closed(cx),
        }
    }
}
