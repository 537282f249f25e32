//! One connection of a link.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::carry::closed;
use super::flow::{Pull, Stage};
use super::link::{Half, Link, State};
use crate::error::{Code, Error, Phase, Refusal, Result};

/// One connection of a link. Dropping it ends both directions.
pub(crate) struct Connection {
    pub(super) link: Arc<Link>,
    pub(super) id: u32,
}

impl Connection {
    pub(super) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.link.state.lock();
        match state.mux.stage(self.id) {
            Some(Stage::Opening) => {
                state.register(self.id, Half::Read, cx);
                Poll::Pending
            }
            Some(Stage::Open) => Poll::Ready(Ok(())),
            Some(Stage::Failed(why)) => Poll::Ready(Err(refused(why, state.lost))),
            None => Poll::Ready(Err(closed("the tunnel is gone"))),
        }
    }

    /// Takes what has come.
    pub(super) fn poll_pull(&self, cx: &mut Context<'_>, max: usize) -> Poll<Pull> {
        match self.pull(max, |state| state.register(self.id, Half::Read, cx)) {
            Pull::Wait => Poll::Pending,
            pulled => Poll::Ready(pulled),
        }
    }

    /// The same, and `wait` when there is nothing.
    pub(super) fn pull(&self, max: usize, wait: impl FnOnce(&mut State)) -> Pull {
        let mut state = self.link.state.lock();
        let pulled = state.mux.pull(self.id, max);
        match &pulled {
            Pull::Wait => wait(&mut state),
            Pull::Data(bytes) => {
                state.traffic.received += bytes.len() as u64;
                let owes = state.mux.wants_to_transmit();
                drop(state);
                if owes {
                    self.link.transmit.notify_one();
                }
                self.link.relieved.notify_one();
            }
            Pull::End | Pull::Failed(_) => {}
        }
        pulled
    }

    /// Room to send, above 0. `None` when nothing can be sent any more: with why it was lost, if it was.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut state = self.link.state.lock();
        match state.mux.room(self.id) {
            Some(0) => {
                state.register(self.id, Half::Write, cx);
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    pub(super) fn push(&self, bytes: Bytes) {
        self.link.state.lock().push(self.id, bytes);
        self.link.transmit.notify_one();
    }

    /// Ends our direction; ready once everything is on its way.
    pub(super) fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.state.lock();
        if state.mux.finish(self.id) {
            return Poll::Ready(());
        }
        state.register(self.id, Half::Write, cx);
        drop(state);
        self.link.transmit.notify_one();
        Poll::Pending
    }

    /// Ends our direction, and waits for nothing.
    pub(super) fn end(&self) {
        self.link.change(self.id, |mux| mux.finish(self.id));
    }

    /// Ready when nothing sent can arrive.
    pub(super) fn poll_deaf(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.link.state.lock();
        if state.mux.is_deaf(self.id) {
            return Poll::Ready(());
        }
        state.register(self.id, Half::Read, cx);
        Poll::Pending
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.link.state.lock().mux.failure(self.id).map(str::to_owned)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.link.state.lock();
        state.mux.close(self.id);
        state.wakers.remove(&self.id);
        state.watched.remove(&self.id);
        drop(state);
        self.link.relieved.notify_one();
        self.link.transmit.notify_one();
    }
}

/// What an agent said, under the code of what it means.
fn refused(why: &str, lost: bool) -> Error {
    if lost {
        return closed(why);
    }
    let told = why.to_ascii_lowercase();
    let code = match () {
        () if told.contains("refused") => Code::System("ECONNREFUSED"),
        () if told.contains("timed out") || told.contains("in time") => Code::System("ETIMEDOUT"),
        () if told.contains("unreachable") => Code::System("EHOSTUNREACH"),
        () => Code::ChannelRejected,
    };
    let error = Error::new(code, format!("the agent could not connect: {why}")).at(Phase::Channel);
    if code == Code::ChannelRejected { error.refused(Refusal::ConnectFailed) } else { error }
}
