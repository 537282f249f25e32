//! The state of a channel, behind its lock: plain data and the questions it answers.

use std::sync::Arc;
use std::task::Waker;

use futures_util::FutureExt;
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::task::coop::unconstrained;

use super::before::Before;
use super::events::{Events, Observer};
use super::flush::Writer;
use super::session::Session;
use crate::error::{Code, Error, Phase};
use crate::io::ByteQueue;

/// What may be sent before the first credit, and the least window: docs/wire.md.
pub(super) const FIRST_CREDIT: u64 = 256 * 1024;

#[derive(Default)]
pub(super) struct State {
    /// russh's end; `None` once nothing more can come.
    pub(super) incoming: Option<ChannelReadHalf>,
    /// `None` once the stream is over: a program may hold it for long after, and this holds the session's queues.
    pub(super) writer: Option<Arc<Writer>>,
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

    /// What must come before the stream's own bytes, on a channel that was opened in advance.
    pub(super) before: Option<Box<Before>>,
    /// Bytes at the front of `send` that are not the stream's own.
    pub(super) foreword: usize,
    /// It is among the open streams of its session.
    pub(super) counted: bool,

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

    /// The limit that the peer should be told of: each quarter window, and first when a quarter of what it may send unasked has
    /// come, so that short streams need no credit at all.
    pub(super) fn credit_due(&self, window: u64) -> Option<u64> {
        // Nobody takes what comes before the answer.
        let early = self.before.is_some();
        if early || self.received < FIRST_CREDIT / 4 || self.recv_eof || self.is_dead() {
            return None;
        }
        let limit = self.consumed + window;
        (limit >= self.granted + window / 4).then_some(limit)
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::settings::WINDOW;

    /// What happens next on a stream between two alknet peers.
    #[derive(Clone, Copy, Debug)]
    enum Turn {
        /// The peer sends so much, or what it may.
        Send(u64),
        /// Bytes under way arrive.
        Arrive(u64),
        Read(u64),
        /// Our credit, if one is due, is sent.
        Grant,
        /// A credit under way reaches the peer.
        Deliver,
    }

    fn turn() -> impl Strategy<Value = Turn> {
        let bytes = 1_u64..1 << 20;
        prop_oneof![
            bytes.clone().prop_map(Turn::Send),
            bytes.clone().prop_map(Turn::Arrive),
            bytes.prop_map(Turn::Read),
            Just(Turn::Grant),
            Just(Turn::Deliver),
        ]
    }

    /// The receiving end as it is, and a peer that does what docs/wire.md says.
    struct Stream {
        window: u64,
        here: State,
        sent: u64,
        limit: u64,
        credits: VecDeque<u64>,
    }

    impl Stream {
        fn new(window: u64) -> Self {
            let here = State { granted: FIRST_CREDIT, ..State::default() };
            Self { window, here, sent: 0, limit: FIRST_CREDIT, credits: VecDeque::new() }
        }

        /// Does it, as far as it can be done; says whether anything was.
        fn take(&mut self, turn: Turn) -> bool {
            let Self { window, here, sent, limit, credits } = self;
            let (bytes, counter) = match turn {
                Turn::Send(most) => (most.min(*limit - *sent), &mut *sent),
                Turn::Arrive(most) => (most.min(*sent - here.received), &mut here.received),
                Turn::Read(most) => (most.min(here.received - here.consumed), &mut here.consumed),
                Turn::Grant => {
                    let Some(due) = here.credit_due(*window) else { return false };
                    assert!(due > here.granted, "a credit takes nothing back");
                    here.granted = due;
                    credits.push_back(due);
                    return true;
                }
                Turn::Deliver => {
                    let Some(credit) = credits.pop_front() else { return false };
                    *limit = credit.max(*limit);
                    return true;
                }
            };
            *counter += bytes;
            assert!(here.received <= here.granted, "an honest peer was caught");
            assert!(here.received - here.consumed <= *window, "more than a window is held");
            bytes > 0
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn credits_hold_a_window_at_most_and_never_stop_an_honest_stream(
            window in WINDOW, turns in vec(turn(), 0..400),
        ) {
            let mut stream = Stream::new(u64::from(window));
            for turn in turns {
                stream.take(turn);
            }
            // From wherever that led, everything that can happen does, and the stream must go on.
            let target = stream.sent + 4 * u64::from(window);
            while stream.sent < target {
                let all = [Turn::Arrive(u64::MAX), Turn::Read(u64::MAX), Turn::Grant, Turn::Deliver];
                let mut moved = stream.take(Turn::Send(target - stream.sent));
                for turn in all {
                    moved |= stream.take(turn);
                }
                prop_assert!(moved, "both ends wait for each other");
            }
        }
    }
}
