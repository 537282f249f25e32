//! A WebSocket as a byte stream: the payload of its binary messages, whatever their borders.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::{Failure, Message, ProtocolError, Socket};
use crate::io::{ByteQueue, Io, give_front};

/// Longest message that is sent: what everybody takes (reference table: WS tunnel), and above one SSH packet.
const MESSAGE: usize = 64 * 1024;

/// See the module. The end is a close: there is no half of it.
pub(crate) struct SocketIo {
    inner: Socket,
    /// Received and not yet read.
    rest: Bytes,
}

impl SocketIo {
    pub(crate) fn new(inner: Socket) -> Self {
        Self { inner, rest: Bytes::new() }
    }

    /// Has bytes in `rest`, or the end when it is empty.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                None | Some(Ok(Message::Close(_)) | Err(Failure::ConnectionClosed)) => break,
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Text(_))) => {
                    let wrong = "a text message where bytes belong";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, wrong)));
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(as_io(e))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends `bytes` as one message, once there is room for it.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce() -> Bytes,
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.inner).poll_ready(cx)).map_err(as_io)?;
        let bytes = take();
        let n = bytes.len();
        Pin::new(&mut self.inner).start_send(Message::Binary(bytes)).map_err(as_io)?;
        // As far as it goes now; the next write or flush carries on.
        if let Poll::Ready(Err(e)) = Pin::new(&mut self.inner).poll_flush(cx) {
            return Poll::Ready(Err(as_io(e)));
        }
        Poll::Ready(Ok(n))
    }
}

impl AsyncRead for SocketIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_more(cx))?;
        give_front(&mut self.rest, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SocketIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let most = bytes.len().min(MESSAGE);
        self.poll_send(cx, || Bytes::copy_from_slice(&bytes[..most]))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(as_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(as_io)
    }
}

impl Io for SocketIo {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        _space: &mut bytes::BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_more(cx))?;
        let piece = self.rest.split_to(self.rest.len().min(max));
        let n = piece.len();
        queue.push(piece);
        Poll::Ready(Ok(n))
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        if queue.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_send(cx, || queue.pop(MESSAGE).unwrap_or_default())
    }

    fn abort(&mut self) {
        self.inner.get_mut().abort();
    }
}

fn as_io(error: Failure) -> io::Error {
    match error {
        Failure::Io(e) => e,
        Failure::ConnectionClosed | Failure::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        // Whoever goes without a word has not said anything wrong.
        Failure::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            io::ErrorKind::ConnectionReset.into()
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
