//! One channel: what arrived and was not read, what was written and is not sent, and the byte credits between.
//!
//! russh hands a channel's messages over inside the session's loop and waits when they are not taken, which stops every other
//! channel. So they are always taken, there and then, into a queue that the credits bound: a peer may send no more than
//! [`State::granted`] bytes, and gets more as the consumer reads. A lock guards the state; nothing awaits under it.

use std::sync::Arc;

use parking_lot::Mutex;
use russh::{ChannelId, ChannelMsg, ChannelReadHalf};
use tokio::sync::Notify;

use super::before::{Before, give_up};
use super::core::Core;
use super::events::Events;
use super::flush::{Writer, flush};
use super::session::Session;
use super::state::{FIRST_CREDIT, State, next_message, wake_reader};
use crate::error::Error;

/// Extended data type of a credit: 8 bytes, big-endian, the absolute number of bytes the peer may send (private use, RFC 4254 §5.2).
pub(super) const CREDIT: u32 = 0xFE00_0A1C;

/// Bytes accepted and not yet sent; more is refused until half is gone.
pub(super) const SEND_HIGH_WATER: usize = 1024 * 1024;

/// Bytes held for a peer that sends no credits, per channel: beyond, the session is paced.
const FOREIGN_LIMIT: usize = 16 * 1024 * 1024;

/// See the module.
pub(crate) struct Channel {
    pub(super) id: ChannelId,
    pub(super) core: Arc<Core>,
    /// Wakes a flusher that waits for room.
    pub(super) nudge: Notify,
    pub(super) state: Mutex<State>,
}

impl Channel {
    /// Registers an open channel with its session and takes what has come already.
    pub(super) fn open(
        core: &Arc<Core>,
        id: ChannelId,
        incoming: ChannelReadHalf,
        writer: Writer,
    ) -> Arc<Self> {
        Self::register(core, id, incoming, writer, None)
    }

    pub(super) fn register(
        core: &Arc<Core>,
        id: ChannelId,
        incoming: ChannelReadHalf,
        writer: Writer,
        before: Option<Box<Before>>,
    ) -> Arc<Self> {
        let limit = if core.peer_is_alknet() { FIRST_CREDIT } else { u64::MAX };
        // `ssh -W` never closes first, and has one channel: its user must not wait, and one queue in russh is no loss.
        let awaited_close = core.is_first() && matches!(writer, Writer::Server(_));
        let state = State {
            incoming: Some(incoming),
            writer: Some(Arc::new(writer)),
            granted: FIRST_CREDIT,
            limit,
            awaited_close,
            before,
            ..State::default()
        };
        let channel = Arc::new(Self {
            id,
            core: Arc::clone(core),
            nudge: Notify::new(),
            state: Mutex::new(state),
        });
        core.register(&channel);
        {
            let mut state = channel.state.lock();
            if state.before.is_none() {
                channel.count(&mut state);
            }
        }
        channel.pump();
        channel
    }
}

/// From the session's loop.
impl Channel {
    /// Takes everything russh has for this channel. Returns whether its buffer is over what a foreign peer gets.
    pub(super) fn pump(self: &Arc<Self>) -> bool {
        let mut events = Events::default();
        let mut state = self.state.lock();
        let held = state.recv.len();
        while let Some(message) = next_message(&mut state) {
            self.absorb(&mut state, message);
        }
        let came = state.recv.len().saturating_sub(held);
        let mut waiting = None;
        if came > 0 || state.recv_eof || state.remote_closed {
            if let Some(waker) = state.read_waker.take() {
                waker.wake();
            }
            if std::mem::take(&mut state.read_armed) {
                waiting.clone_from(&state.observer);
            }
        }
        self.core.buffered(state.recv.len() as isize - held as isize);
        if state.remote_closed {
            self.finish(&mut state, &mut events);
        }
        let crowded = !self.core.peer_is_alknet() && state.recv.len() > FOREIGN_LIMIT;
        self.kick(&mut state);
        self.tell(state, events);
        self.core.link().came(waiting, came);
        crowded
    }

    fn absorb(&self, state: &mut State, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { mut data } => {
                state.received += data.len() as u64;
                if self.core.peer_is_alknet() && state.received > state.granted {
                    return self.core.violated("the peer sent more than its credit");
                }
                if let Err(wrong) = self.take_before(state, &mut data) {
                    return self.core.violated(wrong);
                }
                self.core.count_received(data.len());
                if !state.closing && !data.is_empty() {
                    state.recv.push(data);
                }
            }
            ChannelMsg::ExtendedData { data, ext: CREDIT } if self.core.peer_is_alknet() => {
                match <[u8; 8]>::try_from(&data[..]) {
                    Ok(limit) => state.limit = state.limit.max(u64::from_be_bytes(limit)),
                    Err(_) => self.core.violated("a credit is 8 bytes long"),
                }
            }
            ChannelMsg::Eof => {
                if matches!(state.before.as_deref(), Some(Before::Asked { .. })) {
                    return self.core.violated("an end before the answer");
                }
                state.recv_eof = true;
            }
            ChannelMsg::Close => state.remote_closed = true,
            _ => {}
        }
    }

    /// The session is gone, or this channel alone is given up.
    pub(super) fn fail(self: &Arc<Self>, error: &Error) {
        let mut events = Events::default();
        let mut state = self.state.lock();
        state.incoming = None;
        if !state.over {
            // A stream that ended in good order before the session did has nothing to complain of.
            let in_order = state.recv_eof && state.eof_sent;
            if !in_order && !state.closing {
                state.failure = Some(error.clone());
            }
            self.finish(&mut state, &mut events);
        }
        self.nudge.notify_one();
        self.tell(state, events);
    }

    /// The session was ended on this side: the stream is over, and that is no failure.
    pub(super) fn end_by_choice(self: &Arc<Self>) {
        let mut events = Events::default();
        let mut state = self.state.lock();
        state.closing = true;
        self.finish(&mut state, &mut events);
        self.nudge.notify_one();
        self.tell(state, events);
    }

    /// Gives the channel up because its consumer does not consume: tells the peer, fails the stream.
    pub(super) fn abandon(self: &Arc<Self>, error: &Error) {
        let mut state = self.state.lock();
        state.failure = Some(error.clone());
        self.drop_buffers(&mut state);
        state.closing = true;
        self.kick(&mut state);
    }

    /// Bytes held, and bytes ever taken by the consumer.
    pub(super) fn progress(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.recv.len(), state.consumed)
    }
}

/// Within.
impl Channel {
    /// Whether the peer should be told of consumed bytes.
    pub(super) fn credit_due(&self, state: &State) -> Option<u64> {
        self.core.peer_is_alknet().then(|| state.credit_due(self.core.window())).flatten()
    }

    /// Starts a flusher when there is something for it; one at most runs per channel.
    pub(super) fn kick(self: &Arc<Self>, state: &mut State) {
        if state.flushing {
            if state.closing || state.remote_closed {
                self.nudge.notify_one();
            }
            return;
        }
        if self.has_work(state) {
            state.flushing = true;
            self.core.scope().spawn_to_end(flush(Arc::clone(self)));
        }
    }

    fn has_work(&self, state: &State) -> bool {
        if state.over || state.close_sent || state.remote_closed {
            return false;
        }
        state.closing
            || (!state.send.is_empty() && state.sent < state.limit)
            || (state.fin && state.send.is_empty() && !state.eof_sent)
            || (state.eof_sent && state.recv_eof)
            || self.credit_due(state).is_some()
    }

    /// The stream is over: the session forgets it, everybody who waits is woken.
    pub(super) fn finish(self: &Arc<Self>, state: &mut State, events: &mut Events) {
        if state.over {
            return;
        }
        state.over = true;
        give_up(state);
        state.incoming = None;
        state.writer = None;
        self.core.forget(self.id, state.counted);
        wake_reader(state, events);
        if let Some(waker) = state.write_waker.take() {
            waker.wake();
        }
        match state.owned.take() {
            Some(session) => self.core.scope().spawn_to_end(close_owned(session, Arc::clone(self))),
            None => {
                state.closed_told = true;
                events.add(Events::CLOSED);
            }
        }
    }

    /// Our end is with the operating system. Not told when the stream is over by then: that is all there is to say.
    pub(super) fn tell_finished(&self) {
        let state = self.state.lock();
        if !state.closed_told {
            self.tell(state, Events::FINISHED);
        }
    }

    /// From here on it is a stream that is open.
    pub(super) fn count(&self, state: &mut State) {
        if !state.over && !std::mem::replace(&mut state.counted, true) {
            self.core.count_stream();
        }
    }

    pub(super) fn drop_buffers(&self, state: &mut State) {
        self.core.buffered(-(state.recv.len() as isize));
        state.recv.clear();
        state.send.clear();
    }

    /// Tells the observer, after the lock is gone.
    pub(super) fn tell(&self, state: parking_lot::MutexGuard<'_, State>, events: Events) {
        if events == Events::default() {
            return;
        }
        let observer = state.observer.clone();
        drop(state);
        if let Some(observer) = observer {
            observer.notify(events);
        }
    }
}

/// Ends the session of a one-stream connection; only then is the stream over for its consumer.
async fn close_owned(session: Session, channel: Arc<Channel>) {
    session.close().await;
    let mut state = channel.state.lock();
    state.closed_told = true;
    channel.tell(state, Events::CLOSED);
}
