//! A connection of a link by calls that never wait, and who hears of what happens to it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::connection::Connection;
use super::flow::Pull;
use super::link::{Half, State};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Events, Face, Observer, Read};

/// Who is told of the events of a connection, and of which.
pub(super) struct Watched {
    observer: Arc<dyn Observer>,
    reading: bool,
    writing: bool,
    finishing: bool,
    closed: bool,
}

/// Who is to hear of a change, once the lock is gone.
#[derive(Default)]
pub(super) struct Told {
    pub(super) wakers: [Option<Waker>; 2],
    pub(super) observer: Option<(Arc<dyn Observer>, Events)>,
}

impl Told {
    pub(super) fn tell(self) {
        self.wakers.into_iter().flatten().for_each(Waker::wake);
        if let Some((observer, events)) = self.observer {
            observer.notify(events);
        }
    }
}

impl State {
    /// What an observer waits for and now is so.
    pub(super) fn news(&mut self, id: u32) -> Option<(Arc<dyn Observer>, Events)> {
        let watched = self.watched.get_mut(&id)?;
        let mux = &self.mux;
        let mut events = Events::default();
        let mut look = |waits: &mut bool, is_so: bool, event: Events| {
            if *waits && is_so {
                *waits = false;
                events.add(event);
            }
        };
        look(&mut watched.reading, mux.is_readable(id), Events::READABLE);
        look(&mut watched.writing, mux.room(id) != Some(0), Events::WRITABLE);
        look(&mut watched.finishing, mux.is_finished(id), Events::FINISHED);
        if mux.is_over(id) && !std::mem::replace(&mut watched.closed, true) {
            events.add(Events::CLOSED);
        }
        (events != Events::default()).then(|| (Arc::clone(&watched.observer), events))
    }

    fn watched(&mut self, id: u32, arm: impl FnOnce(&mut Watched)) {
        if let Some(watched) = self.watched.get_mut(&id) {
            arm(watched);
        }
    }
}

impl Connection {
    /// Why it was lost, if it was.
    fn reason(&self) -> Option<Error> {
        let state = self.link.state.lock();
        let why = state.mux.failure(self.id)?;
        let code = if state.lost { Code::SessionClosed } else { Code::System("ECONNRESET") };
        Some(Error::new(code, format!("the connection was lost: {why}")).at(Phase::Stream))
    }

    fn over(&self) -> Error {
        self.reason().unwrap_or_else(|| {
            let message = "the other end of the stream is closed";
            Error::new(Code::System("EPIPE"), message).by("write").at(Phase::Stream)
        })
    }

    /// What was ended well and read to its end is of no use to the link any more.
    fn let_go(&self) {
        let mut state = self.link.state.lock();
        if state.mux.is_over(self.id) {
            state.mux.close(self.id);
            drop(state);
            self.link.transmit.notify_one();
        }
    }
}

impl Face for Connection {
    fn observe(&self, observer: Arc<dyn Observer>) {
        let mut state = self.link.state.lock();
        let watched =
            Watched { observer, reading: false, writing: false, finishing: false, closed: false };
        state.watched.insert(self.id, watched);
        let told = state.changed(self.id);
        drop(state);
        told.tell();
    }

    fn read(&self, max: usize, waker: Option<&Waker>) -> Read {
        let pulled = match waker {
            Some(waker) => match self.poll_pull(&mut Context::from_waker(waker), max) {
                Poll::Ready(pulled) => pulled,
                Poll::Pending => return Read::Pending,
            },
            None => {
                self.pull(max, |state| state.watched(self.id, |watched| watched.reading = true))
            }
        };
        match pulled {
            Pull::Data(bytes) => Read::Data(bytes),
            Pull::Wait => Read::Pending,
            Pull::End => {
                self.let_go();
                Read::Eof
            }
            Pull::Failed(_) => Read::Failed(self.over()),
        }
    }

    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Result<usize> {
        let mut state = self.link.state.lock();
        let Some(room) = state.mux.room(self.id) else {
            drop(state);
            return Err(self.over());
        };
        let count = room.min(bytes.len());
        if count > 0 {
            state.push(self.id, Bytes::copy_from_slice(&bytes[..count]));
        }
        if count < bytes.len() {
            match waker {
                Some(waker) => state.register(self.id, Half::Write, &Context::from_waker(waker)),
                None => state.watched(self.id, |watched| watched.writing = true),
            }
        }
        drop(state);
        self.link.transmit.notify_one();
        Ok(count)
    }

    fn finish(&self, waker: Option<&Waker>) -> Result<bool> {
        if let Some(why) = self.reason() {
            return Err(why);
        }
        if let Some(waker) = waker {
            return Ok(self.poll_finish(&mut Context::from_waker(waker)).is_ready());
        }
        let mut state = self.link.state.lock();
        state.watched(self.id, |watched| watched.finishing = true);
        let finished = state.mux.finish(self.id);
        let told = state.changed(self.id);
        drop(state);
        told.tell();
        self.link.transmit.notify_one();
        Ok(finished)
    }

    fn close(&self) {
        let mut state = self.link.state.lock();
        state.mux.close(self.id);
        let told = state.changed(self.id);
        drop(state);
        told.tell();
        self.link.relieved.notify_one();
        self.link.transmit.notify_one();
    }

    fn failure(&self) -> Option<Error> {
        self.reason()
    }

    fn buffered(&self) -> (usize, usize) {
        let state = self.link.state.lock();
        (state.mux.held(self.id), state.mux.waiting(self.id))
    }
}
