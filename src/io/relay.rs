//! The relay: bytes both ways between two streams, each end passed on, each abort passed on. Written once, for every forward.
//!
//! One task serves both directions. Each holds at most [`QUEUE`] bytes, and no buffer at all while nothing moves.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{BoxIo, ByteQueue, Io};

/// Bytes that a direction may hold. Many small packets then leave in one system call.
const QUEUE: usize = 256 * 1024;

/// Moves in a row before other tasks of the thread get their turn.
const ROUNDS: usize = 16;

/// Silence that ends a relay of which one side has ended: a peer that never ends its own would hold it for ever (reference table:
/// half-close reaper).
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(300);

/// Bytes that were delivered, each way.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// From the first stream to the second.
    pub(crate) up: AtomicU64,
    /// From the second to the first.
    pub(crate) down: AtomicU64,
}

/// Copies until both sides have ended, or one is gone. Dropped before, it resets both: an end that was cut short must not look like
/// an end.
///
/// # Errors
/// How one side failed; both are reset then. `TimedOut` when one side has ended and nothing moved for 300 s.
pub(crate) async fn relay(a: BoxIo, b: BoxIo, carried: &Carried) -> io::Result<()> {
    let mut pair = Pair::new(a, b, HALF_CLOSED_LIMIT);
    let ended = poll_fn(|cx| pair.poll(cx, carried)).await;
    pair.over = ended.is_ok();
    ended
}

struct Pair {
    a: BoxIo,
    b: BoxIo,
    up: Flow,
    down: Flow,
    /// Runs once a side has ended.
    reaper: Option<Pin<Box<Sleep>>>,
    limit: Duration,
    moved_at: Instant,
    over: bool,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.over {
            self.a.abort();
            self.b.abort();
        }
    }
}

impl Pair {
    fn new(a: BoxIo, b: BoxIo, limit: Duration) -> Self {
        Self {
            a,
            b,
            up: Flow::default(),
            down: Flow::default(),
            reaper: None,
            limit,
            moved_at: Instant::now(),
            over: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, carried: &Carried) -> Poll<io::Result<()>> {
        let Self { a, b, up, down, .. } = self;
        let (a, b) = (a.as_mut(), b.as_mut());
        let moved = up.poll(cx, a, b, &carried.up)? | down.poll(cx, b, a, &carried.down)?;
        if up.has_ended() {
            down.give_up_if(a.poll_closed(cx));
        }
        if down.has_ended() {
            up.give_up_if(b.poll_closed(cx));
        }
        if up.stage == Stage::Over && down.stage == Stage::Over {
            return Poll::Ready(Ok(()));
        }
        if up.has_ended() || down.has_ended() {
            return self.watch(cx, moved);
        }
        Poll::Pending
    }

    /// Counts the silence since the last byte.
    fn watch(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<io::Result<()>> {
        if moved || self.reaper.is_none() {
            self.moved_at = Instant::now();
        }
        let until = self.moved_at + self.limit;
        let reaper = self.reaper.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while reaper.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            reaper.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// Its reader has ended; what is held, and the end, are still to be delivered.
    Ending,
    Over,
}

/// One direction.
#[derive(Default)]
struct Flow {
    queue: ByteQueue,
    space: BytesMut,
    stage: Stage,
    /// Written since the last flush.
    unflushed: bool,
}

impl Flow {
    fn has_ended(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Nobody is there to deliver to.
    fn give_up_if(&mut self, closed: Poll<()>) {
        if closed.is_ready() {
            self.queue.clear();
            self.stage = Stage::Over;
        }
    }

    /// Moves what can be moved. Returns whether a byte was.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut dyn Io,
        to: &mut dyn Io,
        count: &AtomicU64,
    ) -> io::Result<bool> {
        let mut moved = false;
        for _ in 0..ROUNDS {
            let read = self.fill(cx, from)?;
            let wrote = self.give(cx, to)?;
            count.fetch_add(wrote as u64, Ordering::Relaxed);
            moved |= read || wrote > 0;
            if !read && wrote == 0 {
                self.end(cx, to)?;
                return Ok(moved);
            }
        }
        cx.waker().wake_by_ref();
        Ok(moved)
    }

    /// Reads once. True unless it has to wait.
    fn fill(&mut self, cx: &mut Context<'_>, from: &mut dyn Io) -> io::Result<bool> {
        if self.stage != Stage::Open || self.queue.len() >= QUEUE {
            return Ok(false);
        }
        let max = QUEUE - self.queue.len();
        match from.poll_fill(cx, &mut self.queue, &mut self.space, max) {
            Poll::Ready(read) => {
                if read? == 0 {
                    self.stage = Stage::Ending;
                }
                Ok(true)
            }
            Poll::Pending => {
                // An idle connection keeps no buffer.
                self.space = BytesMut::new();
                Ok(false)
            }
        }
    }

    fn give(&mut self, cx: &mut Context<'_>, to: &mut dyn Io) -> io::Result<usize> {
        if self.queue.is_empty() {
            return Ok(0);
        }
        match to.poll_give(cx, &mut self.queue) {
            Poll::Ready(written) => {
                self.unflushed = true;
                match written? {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    n => Ok(n),
                }
            }
            Poll::Pending => Ok(0),
        }
    }

    /// Flushes, and passes the end on.
    fn end(&mut self, cx: &mut Context<'_>, to: &mut dyn Io) -> io::Result<()> {
        if self.unflushed && self.queue.is_empty() {
            match Pin::new(&mut *to).poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return Ok(()),
            }
            self.unflushed = false;
        }
        if self.stage == Stage::Ending
            && self.queue.is_empty()
            && let Poll::Ready(shut) = Pin::new(&mut *to).poll_shutdown(cx)
        {
            self.stage = Stage::Over;
            // A peer that has gone meanwhile (ENOTCONN) has nothing to be told.
            return shut.or_else(|e| match e.kind() {
                io::ErrorKind::NotConnected => Ok(()),
                _ => Err(e),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    /// The outer ends of a relay, and its result.
    #[expect(clippy::disallowed_methods, reason = "a test has no scope")]
    fn relayed() -> (DuplexStream, DuplexStream, JoinHandle<io::Result<()>>) {
        let (a, near) = duplex(1024);
        let (b, far) = duplex(1024);
        let run = async move { relay(Box::new(near), Box::new(far), &Carried::default()).await };
        (a, b, tokio::spawn(run))
    }

    #[tokio::test]
    async fn a_half_close_is_passed_on_and_the_answer_comes_back() {
        let (mut a, mut b, done) = relayed();
        a.write_all(b"question").await.expect("a write");
        a.shutdown().await.expect("an end");
        let mut heard = String::new();
        b.read_to_string(&mut heard).await.expect("the end");
        assert_eq!(heard, "question");
        let mut answer = Vec::new();
        let answering = async {
            b.write_all(&[7; 100_000]).await.expect("a write");
            b.shutdown().await.expect("an end");
        };
        tokio::join!(answering, a.read_to_end(&mut answer)).1.expect("the answer");
        assert_eq!(answer, [7; 100_000]);
        done.await.expect("a relay").expect("a good end");
    }

    #[tokio::test]
    async fn a_half_closed_relay_in_which_nothing_moves_is_ended() {
        let (mut a, near) = duplex(1024);
        let (mut b, far) = duplex(1024);
        let limit = Duration::from_millis(20);
        let mut pair = Pair::new(Box::new(near), Box::new(far), limit);
        b.write_all(b"before").await.expect("room");
        a.shutdown().await.expect("an end");
        let carried = Carried::default();
        let error = poll_fn(|cx| pair.poll(cx, &carried)).await.expect_err("the reaper");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(pair);
        let mut heard = Vec::new();
        a.read_to_end(&mut heard).await.expect("the end");
        assert_eq!(heard, b"before");
    }

    #[tokio::test]
    async fn any_byte_starts_the_silence_of_a_half_closed_relay_anew() {
        let (_a, near) = duplex(1024);
        let (_b, far) = duplex(1024);
        let mut pair = Pair::new(Box::new(near), Box::new(far), Duration::from_secs(3600));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(pair.watch(&mut cx, false).is_pending());
        let began = pair.moved_at;
        assert!(pair.watch(&mut cx, false).is_pending());
        assert_eq!(pair.moved_at, began);
        assert!(pair.watch(&mut cx, true).is_pending());
        assert!(pair.moved_at > began, "the clock is finer than a poll");
    }

    #[tokio::test]
    async fn silence_is_no_reason_to_end_while_both_sides_are_open() {
        let (_a, near) = duplex(1024);
        let (_b, far) = duplex(1024);
        let mut pair = Pair::new(Box::new(near), Box::new(far), Duration::ZERO);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            assert!(pair.poll(&mut cx, &Carried::default()).is_pending());
        }
        assert!(pair.reaper.is_none());
    }
}
