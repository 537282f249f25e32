//! A member's stream: what has come on it, and what is on its way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::end::End;
use super::{Hub, Member};
use crate::io::{BoxIo, ByteQueue};

/// Bytes read at once.
pub(super) const READ: usize = 64 * 1024;

/// See the module.
pub(super) struct Pipe {
    pub(super) io: BoxIo,
    pub(super) incoming: ByteQueue,
    pub(super) space: BytesMut,
    pub(super) current: ByteQueue,
}

impl Pipe {
    /// Sends, and reads: how many bytes have come.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        hub: &Hub,
        member: &Member,
    ) -> Poll<Result<usize, End>> {
        if let Some(end) = self.poll_send(cx, hub, member) {
            return Poll::Ready(Err(end));
        }
        match self.io.poll_fill(cx, &mut self.incoming, &mut self.space, READ) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(End::Eof)),
            Poll::Ready(Ok(came)) => Poll::Ready(Ok(came)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::Lost)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what there is and the stream takes. Returns why the member is over, if it is.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        hub: &Hub,
        member: &Member,
    ) -> Option<End> {
        member.outbox.task.register(cx.waker());
        loop {
            if !self.current.has_remaining() {
                match member.outbox.take(&mut self.current) {
                    Some(events) => hub.counters.delivered.add(events),
                    None if member.outbox.is_slow() => return Some(End::Slow),
                    None => return flushed(Pin::new(&mut self.io).poll_flush(cx)),
                }
            }
            match self.io.poll_give(cx, &mut self.current) {
                Poll::Ready(Ok(0) | Err(_)) => return Some(End::Lost),
                Poll::Ready(Ok(count)) => member.outbox.written(count),
                Poll::Pending => return member.outbox.is_slow().then_some(End::Slow),
            }
        }
    }
}

fn flushed(flush: Poll<io::Result<()>>) -> Option<End> {
    matches!(flush, Poll::Ready(Err(_))).then_some(End::Lost)
}
