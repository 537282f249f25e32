//! The relay: bytes both ways between two streams, each end passed on, each abort passed on. Written once, for every forward.
//!
//! One task serves both directions. Each holds at most [`QUEUE`] bytes, and no buffer at all while nothing moves. Bytes are copied also
//! from socket to socket. splice(2) takes less of this process's time and more of the machine's: on loopback 0.65 to 0.78 ms for a
//! megabyte in sender, relay and receiver instead of 0.54 to 0.63 (measured, pipes of 256 KiB; of 64 KiB
//! no better, of 1 MiB as good as copies for uploads and worse for downloads).

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

/// What the relays of one forward have in common.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// Bytes that were delivered from the first stream to the second.
    pub(crate) up: AtomicU64,
    /// From the second to the first.
    pub(crate) down: AtomicU64,
    /// Silence that ends a relay; `None` never does, while both sides are open.
    pub(crate) idle: Option<Duration>,
}

impl Relays {
    pub(crate) fn new(idle: Option<Duration>) -> Self {
        Self { idle, ..Self::default() }
    }
}

/// Copies until both sides have ended, or one is gone. Dropped before, it resets both: an end that was cut short must not look like
/// an end.
///
/// # Errors
/// How one side failed; both are reset then. `TimedOut` when nothing moved for as long as `relays` says, or for 300 s after one side
/// has ended.
pub(crate) async fn relay(a: BoxIo, b: BoxIo, relays: &Relays) -> io::Result<()> {
    let mut pair = Pair::new(a, b, HALF_CLOSED_LIMIT);
    let ended = poll_fn(|cx| pair.poll(cx, relays)).await;
    pair.over = ended.is_ok();
    ended
}

struct Pair {
    a: BoxIo,
    b: BoxIo,
    up: Flow,
    down: Flow,
    /// Runs once a side has ended, and where silence has a limit.
    reaper: Option<Pin<Box<Sleep>>>,
    half_closed_limit: Duration,
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
    fn new(a: BoxIo, b: BoxIo, half_closed_limit: Duration) -> Self {
        Self {
            a,
            b,
            up: Flow::default(),
            down: Flow::default(),
            reaper: None,
            half_closed_limit,
            moved_at: Instant::now(),
            over: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, relays: &Relays) -> Poll<io::Result<()>> {
        let Self { a, b, up, down, .. } = self;
        let (a, b) = (a.as_mut(), b.as_mut());
        let moved = up.poll(cx, a, b, &relays.up)? | down.poll(cx, b, a, &relays.down)?;
        if up.has_ended() {
            down.give_up_if(a.poll_closed(cx));
        }
        if down.has_ended() {
            up.give_up_if(b.poll_closed(cx));
        }
        if up.stage == Stage::Over && down.stage == Stage::Over {
            return Poll::Ready(Ok(()));
        }
        let half_closed = up.has_ended() || down.has_ended();
        let half_closed = half_closed.then_some(self.half_closed_limit);
        match relays.idle.into_iter().chain(half_closed).min() {
            Some(limit) => self.watch(cx, limit, moved),
            None => Poll::Pending,
        }
    }

    /// Counts the silence since the last byte.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        moved: bool,
    ) -> Poll<io::Result<()>> {
        if moved || self.reaper.is_none() {
            self.moved_at = Instant::now();
        }
        let until = self.moved_at + limit;
        let reaper = self.reaper.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < reaper.deadline() {
            reaper.as_mut().reset(until);
        }
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
mod tests;
