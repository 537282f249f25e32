//! A multiplexer on a WebSocket: one task reads, writes and watches; connections are byte streams on it.
//!
//! The reader never waits for a connection between ends of ours. For a peer without credits it does at a bound, while that connection
//! is read, and not for long when it is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::carry::{End, carry, closed};
use super::connection::Connection;
use super::face::{Told, Watched};
use super::frame::{Kind, Proto};
use super::mux::{Event, Fault, MAX_IDS, Mux, Side};
use crate::error::{Code, Error, Refusal, Result};
use crate::http::{Message, Socket};

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
    pub(super) state: Mutex<State>,
    /// There is something to send.
    pub(super) transmit: Notify,
    /// Something was read.
    pub(super) relieved: Notify,
    wanted: Option<mpsc::Sender<Wanted>>,
}

pub(super) struct State {
    pub(super) mux: Mux,
    pub(super) wakers: HashMap<u32, [Option<Waker>; 2]>,
    pub(super) watched: HashMap<u32, Watched>,
    pub(super) lost: bool,
    /// This end wants no more of it.
    ending: bool,
    pub(super) traffic: Traffic,
}

/// What went over a link's connections, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Half {
    Read = 0,
    Write = 1,
}

impl Link {
    /// A user's end. `extended` when every piece up to the agent knows what is ours, or takes it away.
    pub(crate) fn opener(extended: bool) -> Arc<Self> {
        Self::new(Side::Opener { extended }, None)
    }

    /// An agent's end, and what is asked of it: terminals as well, when the runner knows what is ours.
    pub(crate) fn acceptor(terminals: bool) -> (Arc<Self>, mpsc::Receiver<Wanted>) {
        let (wanted, asks) = mpsc::channel(MAX_IDS);
        (Self::new(Side::Acceptor { terminals }, Some(wanted)), asks)
    }

    fn new(side: Side, wanted: Option<mpsc::Sender<Wanted>>) -> Arc<Self> {
        let state = State {
            mux: Mux::new(side),
            wakers: HashMap::new(),
            watched: HashMap::new(),
            lost: false,
            ending: false,
            traffic: Traffic::default(),
        };
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
                let told = state.changed(id);
                drop(state);
                told.tell();
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
        let lost = state.mux.lose(why);
        let told: Vec<Told> = lost.into_iter().map(|id| state.changed(id)).collect();
        drop(state);
        told.into_iter().for_each(Told::tell);
        self.relieved.notify_one();
    }

    /// Ends the link, and with it every connection.
    pub(crate) fn end(&self) {
        self.state.lock().ending = true;
        self.transmit.notify_one();
    }

    /// Connections now, and what went over all there were.
    pub(crate) fn traffic(&self) -> (usize, Traffic) {
        let state = self.state.lock();
        (state.mux.len(), state.traffic)
    }

    /// What went over it; counted from 0 again.
    pub(crate) fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut self.state.lock().traffic)
    }

    fn wake(&self, id: u32) {
        let told = self.state.lock().changed(id);
        told.tell();
    }

    pub(super) fn change<T>(&self, id: u32, change: impl FnOnce(&mut Mux) -> T) -> T {
        let changed = change(&mut self.state.lock().mux);
        self.wake(id);
        self.transmit.notify_one();
        changed
    }
}

/// Its connections.
impl Link {
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
        if std::mem::take(&mut state.ending) {
            return Some(Message::Close(None));
        }
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
        let told = id.map(|id| state.sent(id)).unwrap_or_default();
        drop(state);
        told.tell();
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

impl State {
    /// Something about an id: who is to hear of it.
    pub(super) fn changed(&mut self, id: u32) -> Told {
        Told { wakers: self.wakers.remove(&id).unwrap_or_default(), observer: self.news(id) }
    }

    /// Something of an id has gone out.
    fn sent(&mut self, id: u32) -> Told {
        let wakers = self.wakers.get_mut(&id);
        let writer = wakers.and_then(|wakers| wakers[Half::Write as usize].take());
        Told { wakers: [writer, None], observer: self.news(id) }
    }

    /// Takes bytes, for which there is room.
    pub(super) fn push(&mut self, id: u32, bytes: Bytes) {
        self.traffic.sent += bytes.len() as u64;
        self.mux.push(id, bytes);
    }

    pub(super) fn register(&mut self, id: u32, half: Half, cx: &Context<'_>) {
        let place = &mut self.wakers.entry(id).or_default()[half as usize];
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
    }
}
