//! The state of a channel, behind its lock: plain data and the questions it answers.

use std::sync::Arc;
use std::task::Waker;

use futures_util::FutureExt;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::task::coop::unconstrained;

use super::events::{Events, Observer};
use super::session::Session;
use crate::error::{Code, Error, Phase};
use crate::io::ByteQueue;

#[derive(Default)]
pub(super) struct State {
    /// russh's end; `None` once nothing more can come.
    pub(super) incoming: Option<ChannelReadHalf>,
    pub(super) recv: ByteQueue,
    pub(super) received: u64,
    pub(super) consumed: u64,
    /// What the peer knows it may send.
    pub(super) granted: u64,
    pub(super) recv_eof: bool,
    pub(super) remote_closed: bool,

    pub(super) send: ByteQueue,
    pub(super) sent: u64,
    /// What the peer lets us send.
    pub(super) limit: u64,
    pub(super) fin: bool,
    pub(super) eof_sent: bool,
    /// Abandoned here: nothing more is delivered or sent.
    pub(super) closing: bool,
    pub(super) close_sent: bool,
    pub(super) awaited_close: bool,
    pub(super) flushing: bool,

    pub(super) failure: Option<Error>,
    pub(super) over: bool,
    pub(super) closed_told: bool,
    pub(super) read_armed: bool,
    pub(super) write_armed: bool,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// The session that ends with this channel.
    pub(super) owned: Option<Session>,
    pub(super) read_waker: Option<Waker>,
    pub(super) write_waker: Option<Waker>,
}

impl State {
    pub(super) fn is_dead(&self) -> bool {
        self.failure.is_some() || self.remote_closed || self.closing
    }
}

pub(super) fn wake_reader(state: &mut State, events: &mut Events) {
    if let Some(waker) = state.read_waker.take() {
        waker.wake();
    }
    if std::mem::take(&mut state.read_armed) {
        events.add(Events::READABLE);
    }
}

/// The next message, if russh has one. Outside the task budget: a budget that ran out must not look like an empty queue.
pub(super) fn next_message(state: &mut State) -> Option<ChannelMsg> {
    let incoming = state.incoming.as_mut()?;
    match unconstrained(incoming.wait()).now_or_never() {
        Some(Some(message)) => Some(message),
        Some(None) => {
            state.incoming = None;
            None
        }
        None => None,
    }
}

pub(super) fn reset() -> Error {
    Error::new(Code::System("ECONNRESET"), "the peer closed the stream before its end")
        .at(Phase::Stream)
}

pub(super) fn broken(message: &str) -> Error {
    Error::new(Code::System("EPIPE"), message).at(Phase::Stream)
}
