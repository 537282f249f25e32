//! What the tasks of a session share about its transport, beside the stream itself.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::events::{Events, Observer};
use super::greeting::Greeting;
use super::written::Written;

/// Bytes after which consumers are told although more is coming.
const NEWS_LIMIT: usize = 256 * 1024;

#[derive(Default)]
struct News {
    observers: Vec<Arc<dyn Observer>>,
    bytes: usize,
}

/// What a session's tasks share about its transport.
#[derive(Default)]
pub(crate) struct Link {
    pub(super) full: AtomicBool,
    pub(super) drained: Notify,
    pub(super) killed: AtomicBool,
    pub(super) reader: AtomicWaker,
    pub(super) logged_in: AtomicBool,
    pub(super) failure: OnceLock<io::ErrorKind>,
    /// Somebody waits for [`Link::settle`].
    settling: AtomicBool,
    settled: Notify,
    leaving: AtomicBool,
    /// Consumers to be told that bytes have come, and how many bytes those are.
    news: Mutex<News>,
    pub(super) written: Written,
    /// What either side said in the clear.
    pub(super) ours: Mutex<Greeting>,
    pub(super) theirs: Mutex<Greeting>,
}

impl Link {
    /// Waits until the transport has room for more channel data. Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if self.has_room() {
                return;
            }
            drained.await;
        }
    }

    /// Whether channel senders may go on.
    pub(crate) fn has_room(&self) -> bool {
        !self.full.load(Ordering::Acquire) || self.killed.load(Ordering::Acquire)
    }

    /// Ends the session at its next poll, whatever it is waiting for.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.leaves();
        self.reader.wake();
        self.drained.notify_waiters();
    }

    /// Lifts the pre-login byte budget.
    pub(crate) fn logged_in(&self) {
        self.logged_in.store(true, Ordering::Release);
    }

    /// Waits until the session has read all that has come. `false`: it is ending, and why is told when it has. Cancel-safe.
    pub(super) async fn settle(&self) -> bool {
        self.settling.store(true, Ordering::Release);
        self.reader.wake();
        self.settled.notified().await;
        !self.leaving.load(Ordering::Acquire)
    }

    /// The session has nothing more to read now.
    pub(super) fn is_idle(&self) {
        if self.settling.load(Ordering::Acquire) && self.settling.swap(false, Ordering::AcqRel) {
            self.settled.notify_one();
        }
    }

    /// The session ends: it writes no more.
    pub(super) fn leaves(&self) {
        self.leaving.store(true, Ordering::Release);
        self.settled.notify_one();
    }

    /// How the transport failed, if it did.
    pub(crate) fn failure(&self) -> Option<io::ErrorKind> {
        self.failure.get().copied()
    }

    /// Counts `bytes` that came, and notes who waits for them. They are told soon, with others, for each telling may wake a
    /// thread. Locks of the caller's must be free: an observer may read at once.
    pub(super) fn came(&self, waiting: Option<Arc<dyn Observer>>, bytes: usize) {
        let mut news = self.news.lock();
        news.observers.extend(waiting);
        if news.observers.is_empty() {
            return;
        }
        news.bytes += bytes;
        if news.bytes >= NEWS_LIMIT {
            drop(news);
            self.tell_now();
        }
    }

    /// Tells what there is to tell. Called when the transport has nothing more to read.
    pub(super) fn tell_now(&self) {
        let mut news = self.news.lock();
        if news.observers.is_empty() {
            return;
        }
        let told = std::mem::take(&mut *news);
        drop(news);
        for observer in told.observers {
            observer.notify(Events::READABLE);
        }
    }

    /// Notes how the transport failed.
    pub(super) fn failed(&self, error: io::Error) -> io::Error {
        let _ = self.failure.set(error.kind());
        error
    }
}
