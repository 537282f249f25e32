//! A stream that somebody else can end: from then on it neither reads nor writes, and whoever uses it sees a reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{BoxIo, ByteQueue, Io};

/// See the module.
pub(crate) struct Cut {
    inner: BoxIo,
    /// Two, for who reads and who writes may be two tasks.
    no_reads: Pin<Box<WaitForCancellationFutureOwned>>,
    no_writes: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    /// `inner` until `end` is cancelled.
    pub(crate) fn new(inner: BoxIo, end: &CancellationToken) -> Self {
        let ended = || Box::pin(end.clone().cancelled_owned());
        Self { inner, no_reads: ended(), no_writes: ended() }
    }
}

fn check(
    ended: &mut Pin<Box<WaitForCancellationFutureOwned>>,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    match ended.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
        Poll::Pending => Ok(()),
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        check(&mut self.no_reads, cx)?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        check(&mut self.no_writes, cx)?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.no_writes, cx)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        check(&mut self.no_writes, cx)?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        check(&mut self.no_writes, cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl Io for Cut {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        check(&mut self.no_reads, cx)?;
        self.inner.poll_fill(cx, queue, space, max)
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        check(&mut self.no_writes, cx)?;
        self.inner.poll_give(cx, queue)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_closed(cx)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_waits_for_bytes_or_room_is_told_that_there_will_be_none() {
        let (near, mut far) = tokio::io::duplex(8);
        let end = CancellationToken::new();
        let (mut reads, mut writes) = tokio::io::split(Cut::new(Box::new(near), &end));
        writes.write_all(b"as ever").await.expect("room");
        let mut heard = [0; 7];
        far.read_exact(&mut heard).await.expect("bytes");
        assert_eq!(&heard, b"as ever");
        let waiting = async {
            tokio::join!(async { reads.read_u8().await.map(drop) }, writes.write_all(&[0; 64]))
        };
        let ending = async {
            far.read_exact(&mut heard).await.expect("the writer waits for room now");
            end.cancel();
        };
        let ((read, written), ()) = tokio::join!(waiting, ending);
        for ended in [read, written] {
            assert_eq!(ended.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionAborted));
        }
    }
}
