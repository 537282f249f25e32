//! Datagrams as a byte stream: each behind its length as two bytes, big-endian (docs/wire.md, UDP). One flow is one stream.
//!
//! The framing is here; where datagrams come from and go to is a [`Datagrams`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ByteQueue, Io};

/// Bytes of a datagram's length.
const HEAD: usize = 2;

/// Room that any datagram fits in: what the length can say.
const ROOM: usize = u16::MAX as usize;

/// Both directions of a flow of datagrams.
pub(crate) trait Datagrams: Send + Unpin + 'static {
    /// Appends the next datagram to `to`, which has room for any. False is the end of the flow.
    fn poll_recv(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>>;

    /// Sends a datagram, or loses it, as the network may. An error ends the flow.
    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>>;

    /// Nothing more will be sent.
    fn finish(&mut self);

    /// The flow ends by a failure of the other side.
    fn abort(&mut self) {}
}

/// See the module.
pub(crate) struct DatagramStream<D> {
    flow: D,
    /// Read, but not fetched.
    rest: Bytes,
    /// The beginning of a datagram, or one that waits to be sent.
    partial: BytesMut,
    /// Waits for a datagram.
    reader: Option<std::task::Waker>,
}

impl<D: Datagrams> DatagramStream<D> {
    pub(crate) fn new(flow: D) -> Self {
        Self { flow, rest: Bytes::new(), partial: BytesMut::new(), reader: None }
    }

    /// Reads a datagram behind its length into `space`. False is the end.
    fn poll_frame(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<bool>> {
        let begin = space.len();
        space.reserve(HEAD + ROOM);
        space.put_bytes(0, HEAD);
        let polled = self.flow.poll_recv(cx, space);
        match &polled {
            Poll::Ready(Ok(true)) => {
                let len = space.len() - begin - HEAD;
                // More than a length can say does not fit the room either.
                let head = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
                space[begin..begin + HEAD].copy_from_slice(&head);
            }
            other => {
                space.truncate(begin);
                if other.is_pending() {
                    self.reader = Some(cx.waker().clone());
                }
            }
        }
        polled
    }

    /// Sends what is whole of `partial`.
    fn poll_partial(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(len) = whole(&self.partial) {
            ready!(self.flow.poll_send(cx, &self.partial[HEAD..len]))?;
            self.partial.clear();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes from `bytes` what belongs to the datagram that has begun.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.partial.len() < HEAD {
            taken = bytes.len().min(HEAD - self.partial.len());
            self.partial.extend_from_slice(&bytes[..taken]);
        }
        if self.partial.len() >= HEAD {
            let missing = frame(&self.partial) - self.partial.len();
            let more = missing.min(bytes.len() - taken);
            self.partial.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
        }
        taken
    }
}

/// Length of the frame that begins `bytes`, which has its head.
fn frame(bytes: &[u8]) -> usize {
    HEAD + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The same, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= HEAD).then(|| frame(bytes)).filter(|len| bytes.len() >= *len)
}

/// The network takes no datagram of that length: EMSGSIZE of send(2), WSAEMSGSIZE of Windows.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(90 | 40 | 10_040))
}

impl<D: Datagrams> AsyncRead for DatagramStream<D> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let mut space = BytesMut::new();
            if ready!(self.poll_frame(cx, &mut space))? {
                self.rest = space.freeze();
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<D: Datagrams> AsyncWrite for DatagramStream<D> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let sent = match (self.partial.is_empty(), whole(rest)) {
                (true, Some(len)) => {
                    let sent = self.flow.poll_send(cx, &rest[HEAD..len]);
                    if sent.is_ready() {
                        taken += len;
                    }
                    sent
                }
                _ => {
                    let sent = self.poll_partial(cx);
                    if sent.is_ready() {
                        taken += self.take(rest);
                    }
                    sent
                }
            };
            match sent {
                Poll::Ready(sent) => sent?,
                Poll::Pending if taken > 0 => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_partial(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_partial(cx))?;
        self.flow.finish();
        // The end of one direction may be that of the other.
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl<D: Datagrams> Io for DatagramStream<D> {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        space: &mut BytesMut,
        _max: usize,
    ) -> Poll<io::Result<usize>> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            let len = rest.len();
            queue.push(rest);
            return Poll::Ready(Ok(len));
        }
        if !ready!(self.poll_frame(cx, space))? {
            return Poll::Ready(Ok(0));
        }
        let frame = space.split().freeze();
        let len = frame.len();
        queue.push(frame);
        Poll::Ready(Ok(len))
    }

    fn abort(&mut self) {
        self.flow.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What is to come, and what was sent; every other send has to wait.
    #[derive(Default)]
    struct Flow {
        coming: VecDeque<Vec<u8>>,
        sent: Vec<Vec<u8>>,
        slow: bool,
    }

    impl Datagrams for Flow {
        fn poll_recv(&mut self, _: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>> {
            let next = self.coming.pop_front();
            let more = next.is_some();
            to.extend_from_slice(&next.unwrap_or_default());
            Poll::Ready(Ok(more))
        }

        fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
            self.slow = !self.slow;
            if self.slow {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.sent.push(datagram.to_vec());
            Poll::Ready(Ok(()))
        }

        fn finish(&mut self) {}
    }

    fn datagrams() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..20)
    }

    #[tokio::test]
    async fn a_datagram_is_two_bytes_of_length_and_itself() {
        let coming = [b"ask".to_vec(), Vec::new(), vec![7; 65_535]].into();
        let mut stream = DatagramStream::new(Flow { coming, ..Flow::default() });
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("the end");
        assert_eq!(read[..9], [0, 3, b'a', b's', b'k', 0, 0, 0xff, 0xff]);
        assert_eq!(read.len(), 9 + 65_535);
    }

    proptest! {
        #[test]
        fn datagrams_are_the_same_wherever_the_stream_is_cut(
            sent in datagrams(), piece in 1_usize..700,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let coming = sent.clone().into();
                let mut from = DatagramStream::new(Flow { coming, ..Flow::default() });
                let mut to = DatagramStream::new(Flow::default());
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).await.expect("the end");
                for piece in bytes.chunks(piece) {
                    to.write_all(piece).await.expect("a write");
                }
                to.shutdown().await.expect("an end");
                assert_eq!(to.flow.sent, sent);
            });
        }
    }
}
