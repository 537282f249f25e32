//! The one stream of a QUIC connection, as bytes both ways. The connection ends with it, and its peer is told.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::endpoint::Shared;
use crate::io::Io;

/// Application codes of a close (RFC 9000 §10.2): done, and given up.
const DONE: u32 = 0;
const ABORTED: u32 = 1;

/// See the module.
pub(super) struct QuicStream {
    send: SendStream,
    recv: RecvStream,
    connection: Connection,
    /// After the end was sent: ready when the peer has everything.
    delivered: Option<BoxFuture<'static, ()>>,
    code: u32,
    endpoint: Arc<Shared>,
}

impl QuicStream {
    pub(super) fn new(
        send: SendStream,
        recv: RecvStream,
        connection: Connection,
        endpoint: Arc<Shared>,
    ) -> Self {
        endpoint.streams.fetch_add(1, Relaxed);
        Self { send, recv, connection, delivered: None, code: DONE, endpoint }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.recv), cx, buf)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    /// Ready when the peer has everything: the close of a connection overtakes what is still under way.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.delivered.is_none() {
            ready!(AsyncWrite::poll_shutdown(Pin::new(&mut self.send), cx))?;
            self.delivered = Some(self.send.stopped().map(drop).boxed());
        }
        if let Some(delivered) = &mut self.delivered {
            ready!(delivered.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl Io for QuicStream {
    fn abort(&mut self) {
        self.code = ABORTED;
    }
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        self.connection.close(self.code.into(), b"");
        self.endpoint.streams.fetch_sub(1, Relaxed);
    }
}
