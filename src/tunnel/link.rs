//! A multiplexer on a WebSocket: one task reads, writes and watches; connections are byte streams on it.
//!
//! The reader never waits for a connection between ends of ours. For a peer without credits it does at a bound, while that connection
//! is read, and not for long when it is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::carry::{End, carry, closed};
use super::flow::{Pull, Stage};
use super::frame::{Kind, Proto};
use super::mux::{Event, Fault, MAX_IDS, Mux, Side};
use super::socket::Socket;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::http::raw::Message;

/// How long a connection without credits may hold the others up by not being read.
const STALL: Duration = Duration::from_secs(1);

/// A port that somebody asks for.
pub(crate) struct Wanted {
    pub(crate) id: u32,
    pub(crate) proto: Proto,
    pub(crate) port: u16,
}

/// See the module.
pub(crate) struct Link {
    state: Mutex<State>,
    /// There is something to send.
    transmit: Notify,
    /// Something was read.
    relieved: Notify,
    wanted: Option<mpsc::Sender<Wanted>>,
}

struct State {
    mux: Mux,
    wakers: HashMap<u32, [Option<Waker>; 2]>,
    lost: bool,
}

#[derive(Clone, Copy)]
enum Half {
    Read = 0,
    Write = 1,
}

impl Link {
    /// A user's end. `extended` when every piece up to the agent knows what is ours, or takes it away.
    pub(crate) fn opener(extended: bool) -> Arc<Self> {
        Self::new(Side::Opener { extended }, None)
    }

    /// An agent's end, and what is asked of it.
    pub(crate) fn acceptor() -> (Arc<Self>, mpsc::Receiver<Wanted>) {
        let (wanted, asks) = mpsc::channel(MAX_IDS);
        (Self::new(Side::Acceptor, Some(wanted)), asks)
    }

    fn new(side: Side, wanted: Option<mpsc::Sender<Wanted>>) -> Arc<Self> {
        let state = State { mux: Mux::new(side), wakers: HashMap::new(), lost: false };
        Arc::new(Self {
            state: Mutex::new(state),
            transmit: Notify::new(),
            relieved: Notify::new(),
            wanted,
        })
    }

    /// Carries messages until the socket ends or the peer breaks the rules: why. Every connection is lost then.
    pub(crate) async fn drive(&self, socket: Socket) -> Error {
        let why = carry(socket, self).await;
        self.lose(&why.to_string());
        why
    }

    fn receive(&self, message: &Bytes) -> Result<()> {
        let mut state = self.state.lock();
        let event = match state.mux.receive(message) {
            Ok(event) => event,
            // As the original's pieces do, what is no message is passed over.
            Err(Fault::Malformed(why)) => {
                tracing::debug!(%why, "a message was dropped");
                return Ok(());
            }
            Err(why) => return Err(Error::new(Code::Protocol, why.to_string())),
        };
        match event {
            Some(Event::Asked { id, proto, port }) => {
                let asks =
                    self.wanted.as_ref().map(|wanted| wanted.try_send(Wanted { id, proto, port }));
                if !matches!(asks, Some(Ok(()))) {
                    state.mux.refuse(id, "too many connections");
                }
            }
            Some(Event::Changed(id)) => {
                let wakers = state.wakers.remove(&id);
                drop(state);
                wakers.into_iter().flatten().flatten().for_each(Waker::wake);
            }
            None => {}
        }
        self.transmit.notify_one();
        Ok(())
    }

    /// Waits while a connection without credits holds too much, and ends it when nobody reads it.
    async fn pace(&self) {
        loop {
            let Some((id, held)) = self.crowded() else { return };
            let read = tokio::time::timeout(STALL, async {
                while self.state.lock().mux.held(id) >= held {
                    self.relieved.notified().await;
                }
            });
            if read.await.is_err() {
                tracing::warn!("a connection was not read and is ended, so that the others go on");
                self.change(id, |mux| mux.kill(id, "the other end does not read"));
            }
        }
    }

    fn crowded(&self) -> Option<(u32, usize)> {
        let state = self.state.lock();
        let id = state.mux.crowded()?;
        Some((id, state.mux.held(id)))
    }

    fn lose(&self, why: &str) {
        let mut state = self.state.lock();
        state.lost = true;
        state.mux.lose(why);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_values().flatten().flatten().for_each(Waker::wake);
        self.relieved.notify_one();
    }

    fn wake(&self, id: u32) {
        let wakers = self.state.lock().wakers.remove(&id);
        wakers.into_iter().flatten().flatten().for_each(Waker::wake);
    }

    fn change<T>(&self, id: u32, change: impl FnOnce(&mut Mux) -> T) -> T {
        let changed = change(&mut self.state.lock().mux);
        self.wake(id);
        self.transmit.notify_one();
        changed
    }

    // ------------------------------------------------------------------ connections

    /// Asks for a port and waits for the answer. Dropping the future gives it up.
    ///
    /// # Errors
    /// `ECONNREFUSED` and others as the agent says it, `ERR_ALKNET_CHANNEL_REJECTED` when there are too many connections,
    /// `ERR_ALKNET_SESSION_CLOSED` when the link is gone.
    pub(crate) async fn open(self: &Arc<Self>, proto: Proto, port: u16) -> Result<Connection> {
        let id = {
            let mut state = self.state.lock();
            if state.lost {
                return Err(closed("the tunnel is gone"));
            }
            state.mux.open(proto, port).ok_or_else(|| {
                let error = Error::new(Code::ChannelRejected, "too many connections in one tunnel");
                error.refused(Refusal::ResourceShortage)
            })?
        };
        self.transmit.notify_one();
        let connection = Connection { link: Arc::clone(self), id };
        std::future::poll_fn(|cx| connection.poll_answer(cx)).await?;
        Ok(connection)
    }

    /// Says yes to who asked.
    ///
    /// # Errors
    /// `ERR_ALKNET_SESSION_CLOSED` when the asker has gone.
    pub(crate) fn accept(self: &Arc<Self>, id: u32) -> Result<Connection> {
        let connection = Connection { link: Arc::clone(self), id };
        match self.change(id, |mux| mux.accept(id)) {
            true => Ok(connection),
            false => Err(closed("the asker has gone")),
        }
    }

    /// Says no, and why.
    pub(crate) fn refuse(&self, id: u32, why: &str) {
        self.change(id, |mux| mux.refuse(id, why));
    }
}

impl End for Link {
    fn next(&self) -> Option<Message> {
        let mut state = self.state.lock();
        let message = state.mux.transmit()?;
        // What has gone leaves room for more.
        let id = match message.first_chunk() {
            Some([kind, _, a, b, c, d])
                if *kind == Kind::Data as u8
                    || *kind == Kind::Finish as u8
                    || *kind == Kind::Close as u8 =>
            {
                Some(u32::from_be_bytes([*a, *b, *c, *d]))
            }
            _ => None,
        };
        let wakers = id.and_then(|id| state.wakers.get_mut(&id));
        let waker = wakers.and_then(|wakers| wakers[Half::Write as usize].take());
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Some(Message::Binary(message))
    }

    fn ready(&self) -> &Notify {
        &self.transmit
    }

    async fn take(&self, message: Message) -> Result<()> {
        // Text has no meaning here, and is no reason to end.
        if let Message::Binary(message) = message {
            self.receive(&message)?;
            self.pace().await;
        }
        Ok(())
    }

    fn tick(&self, _asking: bool) {
        let ended = self.state.lock().mux.tick();
        if !ended.is_empty() {
            ended.into_iter().for_each(|id| self.wake(id));
            self.transmit.notify_one();
        }
    }
}

/// One connection of a link. Dropping it ends both directions.
pub(crate) struct Connection {
    link: Arc<Link>,
    id: u32,
}

impl Connection {
    fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
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
        let mut state = self.link.state.lock();
        let pulled = state.mux.pull(self.id, max);
        match &pulled {
            Pull::Wait => {
                state.register(self.id, Half::Read, cx);
                return Poll::Pending;
            }
            Pull::Data(_) => {
                let owes = state.mux.wants_to_transmit();
                drop(state);
                if owes {
                    self.link.transmit.notify_one();
                }
                self.link.relieved.notify_one();
            }
            Pull::End | Pull::Failed(_) => {}
        }
        Poll::Ready(pulled)
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
        self.link.state.lock().mux.push(self.id, bytes);
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
        drop(state);
        self.link.relieved.notify_one();
        self.link.transmit.notify_one();
    }
}

impl State {
    fn register(&mut self, id: u32, half: Half, cx: &Context<'_>) {
        let place = &mut self.wakers.entry(id).or_default()[half as usize];
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
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
