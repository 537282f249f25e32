//! A stream some of whose bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BoxIo, ByteQueue, Io, give_front};

/// See the module.
pub(crate) struct Prefixed {
    before: Bytes,
    inner: BoxIo,
}

impl Prefixed {
    pub(crate) fn new(before: impl Into<Bytes>, inner: BoxIo) -> Self {
        Self { before: before.into(), inner }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        give_front(&mut self.before, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Io for Prefixed {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.before.is_empty() {
            return self.inner.poll_fill(cx, queue, space, max);
        }
        let before = self.before.split_to(self.before.len().min(max));
        let n = before.len();
        queue.push(before);
        Poll::Ready(Ok(n))
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_give(cx, queue)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_closed(cx)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}
