//! What comes on a spare channel before the stream's own bytes: a header on a server's, an answer on a client's.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::channel::Channel;
use super::core::Core;
use super::flush::Writer;
use super::open::refused;
use super::spare::{Found, Named, Verdict};
use super::state::State;
use crate::error::{Code, Error, Phase, Result};
use crate::io::ByteQueue;
use crate::target::Target;

/// How far a spare channel has come; none once it is a stream like any other.
#[derive(Debug)]
pub(super) enum Before {
    /// A client's that nobody uses yet: nothing may come.
    Idle,
    /// A client's: the server's answer is still to come.
    Asked { target: Target, held: Vec<u8>, waker: Option<Waker> },
    /// A server's: the header is still to come. `timed`: its time runs.
    Unnamed { held: Vec<u8>, timed: bool },
    /// A server's: it has come, and is to be answered.
    Named(Option<Named>),
    /// A server's: the answer was no, and what comes is dropped.
    Refused,
}

/// From the session's loop.
impl Channel {
    /// Registers an open channel that is a spare one.
    pub(super) fn open_spare(
        core: &Arc<Core>,
        id: russh::ChannelId,
        incoming: russh::ChannelReadHalf,
        writer: Writer,
    ) -> Arc<Self> {
        let before = match writer {
            Writer::Client(_) => Before::Idle,
            Writer::Server(_) => Before::Unnamed { held: Vec::new(), timed: false },
        };
        Self::register(core, id, incoming, writer, Some(Box::new(before)))
    }

    /// Takes from `data` what is not the stream's own.
    pub(super) fn take_before(
        &self,
        state: &mut State,
        data: &mut Bytes,
    ) -> Result<(), &'static str> {
        let Some(mut before) = state.before.take() else { return Ok(()) };
        let length = data.len();
        let mut answered = None;
        match &mut *before {
            Before::Idle => return Err("data on a channel that is not used yet"),
            Before::Named(_) => {}
            Before::Refused => data.clear(),
            Before::Unnamed { held, .. } => {
                if let Some(named) = prefix(held, data, Named::read)? {
                    *before = Before::Named(Some(named));
                }
            }
            Before::Asked { held, .. } => answered = prefix(held, data, Verdict::read)?,
        }
        state.consumed += (length - data.len()) as u64;
        match (*before, answered) {
            (Before::Asked { target, waker, .. }, Some(verdict)) => {
                if let Verdict::Refused { code, text } = verdict {
                    refuse(state, &target, code, &text);
                }
                waker.into_iter().for_each(Waker::wake);
            }
            (before, _) => state.before = Some(Box::new(before)),
        }
        Ok(())
    }
}

/// Takes the beginning of `data` as far as it belongs to what `read` reads, with what came before.
pub(super) fn prefix<T>(
    held: &mut Vec<u8>,
    data: &mut Bytes,
    read: impl Fn(&[u8]) -> Found<T>,
) -> Result<Option<T>, &'static str> {
    let before = held.len();
    held.extend_from_slice(data);
    let Some((whole, length)) = read(held)? else {
        data.clear();
        return Ok(None);
    };
    data.advance(length - before);
    Ok(Some(whole))
}

fn refuse(state: &mut State, target: &Target, code: u32, text: &str) {
    state.failure.get_or_insert_with(|| refused(target, code, text));
    state.send.clear();
    state.closing = true;
}

/// The stream is over: who waits for an answer gets none.
pub(super) fn give_up(state: &mut State) {
    if let Some(Before::Asked { target, waker, .. }) = state.before.as_deref_mut() {
        // As an open that is refused without a reason.
        if state.remote_closed && !state.closing {
            state.failure.get_or_insert_with(|| refused(target, 1, ""));
        }
        waker.take().into_iter().for_each(Waker::wake);
    }
}

/// A client's.
impl Channel {
    /// Asks for what `header` says, from [`Channel::send_early`] on. `false`: it cannot be used any more.
    pub(super) fn ask(&self, target: &Target, header: &[u8]) -> bool {
        let mut state = self.state.lock();
        if !is_fit(&state) {
            return false;
        }
        let asked = Before::Asked { target: target.clone(), held: Vec::new(), waker: None };
        state.before = Some(Box::new(asked));
        state.foreword = header.len();
        state.send.push_slice(header);
        self.count(&mut state);
        true
    }

    /// Sends the header, and what there is to send behind it.
    pub(super) fn send_early(self: &Arc<Self>, bytes: &mut ByteQueue) {
        let mut state = self.state.lock();
        match state.is_dead() {
            // The answer says why.
            true => bytes.clear(),
            false => drop(bytes.move_to(&mut state.send, usize::MAX)),
        }
        self.kick(&mut state);
    }

    /// Ready when the server has answered, or will not.
    pub(super) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state.lock();
        let over = state.over;
        let waiting = match state.before.as_deref_mut() {
            Some(Before::Asked { waker, .. }) => {
                *waker = Some(cx.waker().clone());
                true
            }
            _ => false,
        };
        match &state.failure {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if waiting && over => {
                let closed = Error::new(Code::SessionClosed, "the session is closed");
                Poll::Ready(Err(closed.at(Phase::Channel)))
            }
            None if waiting => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

fn is_fit(state: &State) -> bool {
    let idle = matches!(state.before.as_deref(), Some(Before::Idle));
    idle && !state.over && !state.recv_eof && !state.is_dead()
}

/// A server's, with a header that is to be answered. Dropped before, it is closed.
pub(super) struct Unanswered(pub(super) Arc<Channel>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        let unanswered = matches!(self.0.state.lock().before.as_deref(), Some(Before::Named(_)));
        if unanswered {
            self.0.close();
        }
    }
}

/// A server's.
impl Channel {
    /// Gives it up unless it was named.
    pub(super) fn close_unnamed(self: &Arc<Self>) {
        let unnamed = matches!(self.state.lock().before.as_deref(), Some(Before::Unnamed { .. }));
        if unnamed {
            self.close();
        }
    }

    /// What is asked for, once that has come.
    pub(super) fn take_named(&self) -> Option<Named> {
        match self.state.lock().before.as_deref_mut() {
            Some(Before::Named(named)) => named.take(),
            _ => None,
        }
    }

    pub(super) fn is_over_now(&self) -> bool {
        self.state.lock().over
    }

    /// True once: when a part of the header has come, and no more.
    pub(super) fn is_begun(&self) -> bool {
        match self.state.lock().before.as_deref_mut() {
            Some(Before::Unnamed { held, timed }) if !held.is_empty() => {
                !std::mem::replace(timed, true)
            }
            _ => false,
        }
    }

    /// Ready once it is over. Nobody else may read meanwhile.
    pub(super) async fn closed(&self) {
        poll_fn(|cx| match self.is_over(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Answers. After a refusal the client is the one to close.
    pub(super) fn answer(self: &Arc<Self>, verdict: &Verdict) {
        let mut state = self.state.lock();
        state.before = None;
        if state.over || state.is_dead() {
            return;
        }
        let bytes = verdict.bytes();
        state.foreword = bytes.len();
        state.send.push_slice(&bytes);
        match verdict {
            Verdict::Accepted => self.count(&mut state),
            Verdict::Refused { .. } => {
                state.before = Some(Box::new(Before::Refused));
                self.core.buffered(-(state.recv.len() as isize));
                state.recv.clear();
                state.fin = true;
            }
        }
        self.kick(&mut state);
    }
}
