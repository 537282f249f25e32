//! Streams that clients opened and the program has not taken: in order, bounded, none lost.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::events::{Events, Observer};
use super::stream::Stream;

/// See the module.
pub(crate) struct Backlog {
    places: Arc<Semaphore>,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Stream, Permits)>,
    observer: Option<Arc<dyn Observer>>,
    /// The program found nothing, and wants to be told.
    armed: bool,
}

/// A place among all, and one among those of the stream's session.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// A place for one stream.
pub(super) struct Place<'a> {
    backlog: &'a Backlog,
    permits: Permits,
}

impl Backlog {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(max.max(1))),
            state: Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// A place, if one is free here and among the `session`'s.
    pub(super) fn reserve(&self, session: &Arc<Semaphore>) -> Option<Place<'_>> {
        let of_session = Arc::clone(session).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { backlog: self, permits: (of_all, of_session) })
    }

    /// The oldest waiting stream. When there is none the observer is told of the next.
    pub(crate) fn try_accept(&self) -> Option<Stream> {
        let mut state = self.state.lock();
        let stream = state.waiting.pop_front().map(|(stream, _)| stream);
        state.armed = stream.is_none();
        stream
    }

    /// Waits for a stream. Cancel-safe.
    pub(crate) async fn accept(&self) -> Stream {
        loop {
            let arrived = self.arrived.notified();
            if let Some(stream) = self.try_accept() {
                return stream;
            }
            arrived.await;
        }
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        self.state.lock().observer = Some(observer);
    }

    /// Closes what waits.
    pub(crate) fn clear(&self) {
        let dropped = std::mem::take(&mut self.state.lock().waiting);
        drop(dropped);
    }
}

impl Place<'_> {
    pub(super) fn fill(self, stream: Stream) {
        let mut state = self.backlog.state.lock();
        state.waiting.push_back((stream, self.permits));
        let observer = std::mem::take(&mut state.armed).then(|| state.observer.clone()).flatten();
        drop(state);
        self.backlog.arrived.notify_waiters();
        if let Some(observer) = observer {
            observer.notify(Events::READABLE);
        }
    }
}
