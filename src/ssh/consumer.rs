//! A channel as its consumer sees it: calls that never wait, from any thread.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::channel::{Channel, SEND_HIGH_WATER};
use super::events::{Events, Observer, Read};
use super::session::Session;
use super::state::{State, broken, reset};
use crate::error::Error;
use crate::io::ByteQueue;

impl Channel {
    pub(super) fn own(&self, session: Session) {
        let mut state = self.state.lock();
        // The channel may be over before it is owned; then dropping the session ends it.
        if !state.over {
            state.owned = Some(session);
        }
    }

    /// Sets who is told. An end that has come already is told at once: nobody else would.
    pub(super) fn observe(&self, observer: Arc<dyn Observer>) {
        let mut state = self.state.lock();
        state.observer = Some(Arc::clone(&observer));
        let over = state.closed_told;
        drop(state);
        if over {
            observer.notify(Events::CLOSED);
        }
    }

    /// Takes what is there, at most `max` bytes. `waker` is kept when there is nothing.
    pub(super) fn read(self: &Arc<Self>, max: usize, waker: Option<&Waker>) -> Read {
        let mut state = self.state.lock();
        if let Some(bytes) = state.recv.pop(max) {
            self.taken(&mut state, bytes.len());
            return Read::Data(bytes);
        }
        self.nothing_read(&mut state, waker)
    }

    /// Moves what is there to `queue`, at most `max` bytes. Empty data says that some was moved.
    pub(super) fn read_into(
        self: &Arc<Self>,
        queue: &mut ByteQueue,
        max: usize,
        waker: &Waker,
    ) -> Read {
        let mut state = self.state.lock();
        match state.recv.move_to(queue, max) {
            0 => self.nothing_read(&mut state, Some(waker)),
            n => {
                self.taken(&mut state, n);
                Read::Data(Bytes::new())
            }
        }
    }

    fn taken(self: &Arc<Self>, state: &mut State, n: usize) {
        state.consumed += n as u64;
        self.core.buffered(-(n as isize));
        self.kick(state);
    }

    fn nothing_read(&self, state: &mut State, waker: Option<&Waker>) -> Read {
        if state.recv_eof || (state.remote_closed && !self.core.peer_is_alknet()) {
            return Read::Eof;
        }
        if let Some(error) = self.why_dead(state) {
            return Read::Failed(error);
        }
        state.read_armed = true;
        state.read_waker = waker.cloned();
        Read::Pending
    }

    /// After the end of its bytes: whether the stream is over. `waker` is kept otherwise.
    pub(super) fn is_over(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let over = state.over || state.is_dead();
        if !over {
            state.read_waker = Some(waker.clone());
        }
        over
    }

    /// Accepts a copy of what fits. Fewer bytes than offered means that [`Events::WRITABLE`] will be told, or `waker` woken.
    pub(super) fn write(
        self: &Arc<Self>,
        bytes: &[u8],
        waker: Option<&Waker>,
    ) -> Result<usize, Error> {
        self.accept(bytes.len(), waker, |send, n| send.push_slice(&bytes[..n]))
    }

    /// The same without a copy, from the front of `queue`.
    pub(super) fn write_from(
        self: &Arc<Self>,
        queue: &mut ByteQueue,
        waker: &Waker,
    ) -> Result<usize, Error> {
        self.accept(queue.len(), Some(waker), |send, n| {
            queue.move_to(send, n);
        })
    }

    fn accept(
        self: &Arc<Self>,
        offered: usize,
        waker: Option<&Waker>,
        take: impl FnOnce(&mut ByteQueue, usize),
    ) -> Result<usize, Error> {
        let mut state = self.state.lock();
        if let Some(error) = self.why_dead(&state) {
            return Err(error);
        }
        if state.fin {
            return Err(broken("write after end"));
        }
        let n = offered.min(SEND_HIGH_WATER.saturating_sub(state.send.len()));
        take(&mut state.send, n);
        if n < offered {
            state.write_armed = true;
            state.write_waker = waker.cloned();
        }
        self.kick(&mut state);
        Ok(n)
    }

    /// Ends our side once all is sent. True when that has happened; `waker` is kept otherwise.
    pub(super) fn finish_writing(self: &Arc<Self>, waker: Option<&Waker>) -> Result<bool, Error> {
        let mut state = self.state.lock();
        if state.eof_sent {
            return Ok(true);
        }
        if let Some(error) = self.why_dead(&state) {
            return Err(error);
        }
        state.fin = true;
        state.write_waker = waker.cloned();
        self.kick(&mut state);
        Ok(false)
    }

    /// Ends both sides at once and forgets what is buffered. Idempotent.
    pub(super) fn close(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.eof_sent && state.recv_eof {
            // Both sides have ended: the close is coming, and a foreign peer must be left to deliver first.
            self.core.buffered(-(state.recv.len() as isize));
            state.recv.clear();
            return;
        }
        self.drop_buffers(&mut state);
        state.closing = true;
        self.kick(&mut state);
    }

    /// Why the stream ended badly, if it did.
    pub(super) fn failure(&self) -> Option<Error> {
        let state = self.state.lock();
        if state.remote_closed && state.failure.is_none() && !state.closing {
            let cut = !state.recv_eof && self.core.peer_is_alknet();
            let unsent = !state.send.is_empty();
            return (cut || unsent).then(reset);
        }
        state.failure.clone()
    }

    /// Bytes waiting to be read, and to be sent.
    pub(super) fn buffers(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.recv.len(), state.send.len())
    }

    fn why_dead(&self, state: &State) -> Option<Error> {
        if let Some(error) = &state.failure {
            return Some(error.clone());
        }
        if state.remote_closed {
            let cut = !state.recv_eof && self.core.peer_is_alknet();
            return Some(if cut { reset() } else { broken("the peer has closed the stream") });
        }
        state.closing.then(|| broken("the stream is closed"))
    }
}
