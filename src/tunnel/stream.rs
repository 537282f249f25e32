//! A connection of a link as a byte stream, or as a flow of datagrams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::flow::Pull;
use super::frame::MAX_DATAGRAM;
use crate::io::{ByteQueue, Datagrams, Io};

impl Connection {
    fn broken(&self, kind: io::ErrorKind) -> io::Error {
        match self.failure() {
            Some(why) => io::Error::new(io::ErrorKind::ConnectionReset, why),
            None => kind.into(),
        }
    }

    /// What has come, at most `max` bytes; `None` at the end.
    fn poll_piece(&self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Option<Bytes>>> {
        Poll::Ready(match ready!(self.poll_pull(cx, max)) {
            Pull::Data(bytes) => Ok(Some(bytes)),
            Pull::End | Pull::Wait => Ok(None),
            Pull::Failed(why) => Err(io::Error::new(io::ErrorKind::ConnectionReset, why)),
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = ready!(self.poll_piece(cx, buf.remaining()))?;
        buf.put_slice(&piece.unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(room) = ready!(self.poll_room(cx)) else {
            return Poll::Ready(Err(self.broken(io::ErrorKind::BrokenPipe)));
        };
        let n = room.min(bytes.len());
        self.push(Bytes::copy_from_slice(&bytes[..n]));
        Poll::Ready(Ok(n))
    }

    /// Bytes leave by themselves; there is nothing to push.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx).map(Ok)
    }
}

/// Bytes change hands in the pieces that they came in.
impl Io for Connection {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        _space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let piece = ready!(self.poll_piece(cx, max))?.unwrap_or_default();
        let n = piece.len();
        queue.push(piece);
        Poll::Ready(Ok(n))
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        let Some(room) = ready!(self.poll_room(cx)) else {
            return Poll::Ready(Err(self.broken(io::ErrorKind::BrokenPipe)));
        };
        let mut given = 0;
        while given < room
            && let Some(piece) = queue.pop(room - given)
        {
            given += piece.len();
            self.push(piece);
        }
        Poll::Ready(Ok(given))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_deaf(cx)
    }
}

/// One message is one datagram.
impl Datagrams for Connection {
    fn poll_recv(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>> {
        let piece = ready!(self.poll_piece(cx, usize::MAX))?;
        to.extend_from_slice(piece.as_deref().unwrap_or_default());
        Poll::Ready(Ok(piece.is_some()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        let Some(_room) = ready!(self.poll_room(cx)) else {
            return Poll::Ready(Err(self.broken(io::ErrorKind::BrokenPipe)));
        };
        if datagram.len() <= MAX_DATAGRAM {
            self.push(Bytes::copy_from_slice(datagram));
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) {
        self.end();
    }
}
