//! What one subscriber is to be sent and has not taken: bounded, and whole frames only, so that it can be cut short anywhere.
//!
//! Publishers push, the subscriber's own task takes. A lock guards the queue; nothing awaits under it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::io::ByteQueue;

/// Bytes above which publishers wait for a subscriber that goes on reading.
const HIGH: usize = 1024 * 1024;

/// Bytes below which they go on.
const LOW: usize = 512 * 1024;

/// For how long they wait for one that does not come down to [`LOW`]: it reads 2 MiB/s at least, or is on its own.
pub(super) const GRACE: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The subscriber's task.
    pub(super) task: AtomicWaker,
    drained: Notify,
}

#[derive(Default)]
struct State {
    queue: ByteQueue,
    /// Events in the queue.
    events: u64,
    /// Bytes taken by the task and not written.
    held: usize,
    /// Since when there have been more than [`HIGH`].
    lagging: Option<Instant>,
    fate: Fate,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Open,
    /// It was too slow; a last message says so.
    Slow,
    /// Nobody takes any more.
    Gone,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits to be sent.
    Taken,
    /// It does, and so does much else: whoever sends should wait for [`Outbox::room`].
    Crowded,
    /// There was no room. All that waited, so many events, is dropped.
    Overflow(u64),
    /// There is nobody.
    Gone,
}

impl Outbox {
    /// Adds whole frames, of `events` events; more than `max` bytes in all close the subscriber, with `last_words`.
    pub(super) fn push(
        &self,
        frames: &Bytes,
        events: u64,
        max: usize,
        last_words: &[u8],
    ) -> Pushed {
        let mut state = self.state.lock();
        if state.fate != Fate::Open {
            return Pushed::Gone;
        }
        let held = state.queue.len() + state.held;
        let pushed = if held > 0 && held + frames.len() > max {
            let lost = state.events + events;
            state.queue.clear();
            state.events = 0;
            state.queue.push_slice(last_words);
            state.fate = Fate::Slow;
            Pushed::Overflow(lost)
        } else {
            state.queue.push(frames.clone());
            state.events += events;
            state.crowded(held + frames.len())
        };
        drop(state);
        self.task.wake();
        pushed
    }

    /// Moves everything into `current`, which is empty. Returns how many events those are; `None` when there is nothing.
    pub(super) fn take(&self, current: &mut ByteQueue) -> Option<u64> {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return None;
        }
        std::mem::swap(&mut state.queue, current);
        state.held = current.len();
        Some(std::mem::take(&mut state.events))
    }

    /// Notes that `count` bytes of what was taken are written.
    pub(super) fn written(&self, count: usize) {
        let mut state = self.state.lock();
        state.held = state.held.saturating_sub(count);
        if state.lagging.is_some() && state.held + state.queue.len() <= LOW {
            state.lagging = None;
            drop(state);
            self.drained.notify_waiters();
        }
    }

    /// Waits until little enough waits, however long that takes; at once when nobody takes any more.
    #[cfg(feature = "nats")]
    pub(super) async fn calm(&self) {
        loop {
            let drained = self.drained.notified();
            if self.state.lock().is_calm() {
                return;
            }
            drained.await;
        }
    }

    /// Whether nobody takes any more.
    #[cfg(feature = "nats")]
    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().fate != Fate::Open
    }

    /// Whether the subscriber was closed for being slow.
    pub(super) fn is_slow(&self) -> bool {
        self.state.lock().fate == Fate::Slow
    }

    /// Takes no more. Returns how many events were never taken.
    pub(super) fn close(&self) -> u64 {
        let mut state = self.state.lock();
        state.fate = Fate::Gone;
        state.queue.clear();
        state.lagging = None;
        let lost = std::mem::take(&mut state.events);
        drop(state);
        self.drained.notify_waiters();
        lost
    }

    /// Waits until there is room again, [`GRACE`] at most.
    pub(super) async fn room(&self) {
        let waiting = async {
            loop {
                let drained = self.drained.notified();
                let Some(since) = self.state.lock().lagging else { return };
                if since.elapsed() >= GRACE {
                    return;
                }
                drained.await;
            }
        };
        let _ = tokio::time::timeout(GRACE, waiting).await;
    }
}

impl State {
    /// Whether little waits, or nobody takes any more.
    #[cfg(feature = "nats")]
    fn is_calm(&self) -> bool {
        self.fate != Fate::Open || self.lagging.is_none()
    }

    /// Notes that the queue is long, and says whether it is worth waiting for.
    fn crowded(&mut self, len: usize) -> Pushed {
        if len <= HIGH {
            return Pushed::Taken;
        }
        let since = *self.lagging.get_or_insert_with(Instant::now);
        if since.elapsed() < GRACE { Pushed::Crowded } else { Pushed::Taken }
    }
}
