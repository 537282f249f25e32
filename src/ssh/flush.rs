//! Sends a channel's bytes, credits and end. A flusher lives only while there is something to send, so an idle stream costs no task.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::ChannelWriteHalf;

use super::channel::{CREDIT, Channel, SEND_HIGH_WATER};
use super::events::Events;
use super::state::State;
use crate::error::{Code, Error, Phase};

/// How long a peer gets to close a channel that both sides have ended.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The sending half of a channel, of either role.
pub(super) enum Writer {
    Client(ChannelWriteHalf<russh::client::Msg>),
    Server(ChannelWriteHalf<russh::server::Msg>),
}

impl Writer {
    async fn data(&self, bytes: Bytes) -> Result<(), russh::Error> {
        match self {
            Self::Client(half) => half.data_bytes(bytes).await,
            Self::Server(half) => half.data_bytes(bytes).await,
        }
    }

    async fn credit(&self, limit: u64) -> Result<(), russh::Error> {
        let bytes = Bytes::copy_from_slice(&limit.to_be_bytes());
        match self {
            Self::Client(half) => half.extended_data_bytes(CREDIT, bytes).await,
            Self::Server(half) => half.extended_data_bytes(CREDIT, bytes).await,
        }
    }

    async fn eof(&self) -> Result<(), russh::Error> {
        match self {
            Self::Client(half) => half.eof().await,
            Self::Server(half) => half.eof().await,
        }
    }

    async fn close(&self) -> Result<(), russh::Error> {
        match self {
            Self::Client(half) => half.close().await,
            Self::Server(half) => half.close().await,
        }
    }
}

enum Step {
    Idle,
    /// Data is ready, the transport is not.
    Room,
    Credit(u64),
    Data(Bytes),
    Eof,
    /// Both sides have ended; the peer is the one to close.
    AwaitClose,
    Close,
}

/// Does what there is to do on `channel`, then ends.
pub(super) async fn flush(channel: Arc<Channel>) {
    let Some(writer) = writer(&channel) else { return };
    loop {
        let step = next(&channel, &writer);
        let done = match step {
            Step::Idle => return,
            Step::Room => {
                tokio::select! {
                    () = channel.core.link().room() => {}
                    () = channel.nudge.notified() => {}
                }
                Ok(())
            }
            Step::Credit(limit) => writer.credit(limit).await,
            Step::Data(bytes) => send(&channel, &writer, bytes).await,
            Step::AwaitClose => {
                await_close(&channel).await;
                Ok(())
            }
            Step::Eof => end(&channel, &writer).await,
            Step::Close => writer.close().await.map(|()| closed(&channel)),
        };
        if done.is_err() {
            let lost = Error::new(Code::SessionClosed, "the session is closed").at(Phase::Stream);
            channel.fail(&channel.core.failure().unwrap_or(lost));
            channel.state.lock().flushing = false;
            return;
        }
    }
}

fn writer(channel: &Channel) -> Option<Arc<Writer>> {
    let mut state = channel.state.lock();
    state.flushing = state.writer.is_some();
    state.writer.clone()
}

/// Decides what is next: an end that was asked for, then credits, then data as far as the peer allows, then our end.
fn next(channel: &Channel, writer: &Writer) -> Step {
    let mut events = Events::default();
    let mut state = channel.state.lock();
    let step = decide(channel, writer, &mut state, &mut events);
    state.flushing = !matches!(step, Step::Idle);
    channel.tell(state, events);
    step
}

fn decide(channel: &Channel, writer: &Writer, state: &mut State, events: &mut Events) -> Step {
    if state.close_sent || state.remote_closed || (state.failure.is_some() && !state.closing) {
        Step::Idle
    } else if state.closing {
        Step::Close
    } else if let Some(limit) = channel.credit_due(state) {
        state.granted = limit;
        Step::Credit(limit)
    } else if !state.send.is_empty() && state.sent < state.limit {
        data(channel, state, events)
    } else if state.send.is_empty() && state.fin && !state.eof_sent {
        Step::Eof
    } else if state.eof_sent && state.recv_eof {
        // OpenSSH drops what it has not delivered yet when the session ends, and ours may end with this channel. A server lets
        // its clients close first: for a channel whose first close it sends, russh keeps 4 KiB until the session ends.
        let first = channel.core.peer_is_alknet() && matches!(writer, Writer::Client(_));
        match first || state.awaited_close {
            true => Step::Close,
            false => Step::AwaitClose,
        }
    } else {
        Step::Idle
    }
}

fn data(channel: &Channel, state: &mut State, events: &mut Events) -> Step {
    if !channel.core.link().has_room() {
        return Step::Room;
    }
    let allowed = usize::try_from(state.limit - state.sent).unwrap_or(usize::MAX);
    let Some(bytes) = state.send.pop(allowed) else { return Step::Idle };
    state.sent += bytes.len() as u64;
    let foreword = bytes.len().min(state.foreword);
    state.foreword -= foreword;
    channel.core.count_sent(bytes.len() - foreword);
    if state.send.len() <= SEND_HIGH_WATER / 2 {
        if std::mem::take(&mut state.write_armed) {
            events.add(Events::WRITABLE);
        }
        if !state.fin
            && let Some(waker) = state.write_waker.take()
        {
            waker.wake();
        }
    }
    Step::Data(bytes)
}

/// Waits for a foreign peer's window, but not beyond the stream's own end.
async fn send(channel: &Channel, writer: &Writer, bytes: Bytes) -> Result<(), russh::Error> {
    let sending = writer.data(bytes);
    tokio::pin!(sending);
    loop {
        tokio::select! {
            done = &mut sending => return done,
            () = channel.nudge.notified() => if is_dead(channel) { return Ok(()) }
        }
    }
}

fn is_dead(channel: &Channel) -> bool {
    let state = channel.state.lock();
    state.closing || state.remote_closed || state.failure.is_some()
}

async fn await_close(channel: &Channel) {
    let closed = async {
        loop {
            let nudged = channel.nudge.notified();
            if is_dead(channel) {
                return;
            }
            nudged.await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_WAIT, closed).await;
    channel.state.lock().awaited_close = true;
}

async fn end(channel: &Arc<Channel>, writer: &Writer) -> Result<(), russh::Error> {
    writer.eof().await?;
    if ended(channel)
        && let Some(inbox) = channel.core.inbox()
    {
        inbox.mark(channel).await;
    }
    Ok(())
}

/// Returns whether somebody is to be told when the end is written.
fn ended(channel: &Channel) -> bool {
    let mut state = channel.state.lock();
    state.eof_sent = true;
    if let Some(waker) = state.write_waker.take() {
        waker.wake();
    }
    state.observer.is_some()
}

fn closed(channel: &Arc<Channel>) {
    let mut events = Events::default();
    let mut state = channel.state.lock();
    state.close_sent = true;
    channel.finish(&mut state, &mut events);
    channel.tell(state, events);
}
