//! Many connections in one row of messages: frames and calls in, frames and events out. Pure: no tokio, no clock, no socket.
//!
//! The hazard: whoever drives it must take [`Mux::transmit`] until it is empty after every call.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::flow::{Flow, Pull, Stage, WINDOW};
use super::frame::{self, Header, Kind, Proto, readable};

/// Connections at once on a link (reference table: WS tunnel).
pub(crate) const MAX_IDS: usize = 4096;

/// Answers that wait to be sent. A peer that asks on and reads nothing is ended.
pub(super) const MAX_CONTROL: usize = 2 * MAX_IDS;

/// Bytes that a peer without credits may have waiting on one id, and on all (as for peers of SSH without credits).
const HELD: (usize, usize) = (16 * 1024 * 1024, 64 * 1024 * 1024);

/// Ticks of silence after which a UDP id ends (reference table: WS tunnel; a tick is a second).
const UDP_IDLE: u32 = 60;

/// Ticks without a byte after which an end that was held back from a peer without half-close is told as the end of both directions.
const HOLD: u32 = 30;

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Asks for ports: a user.
    Opener {
        /// Every piece as far as the agent knows what is ours, or takes it away.
        extended: bool,
    },
    /// Is asked: an agent; for terminals too, when the runner has announced to ask for them on nobody's behalf.
    Acceptor { terminals: bool },
}

/// What a message has brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The peer wants a port; [`Mux::accept`] or [`Mux::refuse`] it.
    Asked { id: u32, proto: Proto, port: u16 },
    /// Something about this id: it can be read, or written, or is lost.
    Changed(u32),
}

/// Why the link has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Malformed(#[from] frame::Malformed),
    #[error("the peer asks without reading the answers")]
    Flood,
}

/// See the module.
pub(crate) struct Mux {
    side: Side,
    flows: HashMap<u32, Flow>,
    last: u32,
    control: VecDeque<Bytes>,
    /// Ids with something to send, each once: every one gets its turn.
    ready: VecDeque<u32>,
    held: usize,
}

impl Mux {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            flows: HashMap::new(),
            last: 0,
            control: VecDeque::new(),
            ready: VecDeque::new(),
            held: 0,
        }
    }

    /// Connections now.
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }
}

/// For the link.
impl Mux {
    /// Takes a binary message of the peer.
    ///
    /// # Errors
    /// When the link has to end. What is wrong with one id ends that id.
    pub(crate) fn receive(&mut self, message: &Bytes) -> Result<Option<Event>, Fault> {
        let (header, payload) = frame::decode(message)?;
        if self.control.len() > MAX_CONTROL {
            return Err(Fault::Flood);
        }
        let Some(kind) = header.kind() else { return Ok(None) };
        match kind {
            Kind::Ping => {
                let pong = Header { kind: Kind::Pong as u8, proto: 0, port: 0, ..header };
                self.control.push_back(frame::encode(pong, b""));
                return Ok(None);
            }
            Kind::Pong => return Ok(None),
            Kind::Connect => return Ok(self.asked(header, &payload)),
            _ => {}
        }
        let id = header.id;
        let Some(flow) = self.flows.get_mut(&id) else { return Ok(None) };
        let before = flow.held();
        match kind {
            Kind::Connected => {
                if flow.stage == Stage::Opening && matches!(self.side, Side::Opener { .. }) {
                    flow.stage = Stage::Open;
                    if let (true, Some(limit)) = (self.extends(header), frame::limit(&payload)) {
                        self.flow(id, |flow| flow.extend(limit));
                    }
                }
            }
            Kind::Data => {
                if !flow.receive(payload) {
                    self.kill(id, "more than was allowed was sent");
                }
            }
            Kind::Close => flow.peer_closed(),
            Kind::Error => flow.fail(&readable(&String::from_utf8_lossy(&payload))),
            Kind::Credit => frame::limit(&payload).into_iter().for_each(|at| flow.credit(at)),
            Kind::Finish => flow.peer_finished(),
            Kind::Connect | Kind::Ping | Kind::Pong => {}
        }
        let after = self.flows.get(&id).map_or(0, Flow::held);
        self.held = (self.held + after).saturating_sub(before);
        self.list(id);
        Ok(Some(Event::Changed(id)))
    }

    fn asked(&mut self, header: Header, payload: &Bytes) -> Option<Event> {
        let Header { id, port, .. } = header;
        let (Side::Acceptor { terminals }, false) = (self.side, self.flows.contains_key(&id))
        else {
            return None;
        };
        let Some(proto) = Proto::known(header.proto, terminals) else {
            self.say_error(id, header.proto, "unknown protocol");
            return None;
        };
        if port == 0 || self.flows.len() >= MAX_IDS {
            let why = if port == 0 { "no such port: 0" } else { "too many connections" };
            self.say_error(id, header.proto, why);
            return None;
        }
        let mut flow = Flow::new(proto, false);
        if let (Proto::Tcp | Proto::Terminal, Some(limit)) = (proto, frame::limit(payload)) {
            flow.extend(limit);
        }
        self.flows.insert(id, flow);
        Some(Event::Asked { id, proto, port })
    }

    /// The next message to send, each id in its turn.
    pub(crate) fn transmit(&mut self) -> Option<Bytes> {
        if let Some(message) = self.control.pop_front() {
            return Some(message);
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            flow.listed = false;
            let message = flow.message(id);
            self.list(id);
            if message.is_some() {
                return message;
            }
        }
        None
    }

    /// Whether [`Mux::transmit`] may have something.
    pub(crate) fn wants_to_transmit(&self) -> bool {
        !self.control.is_empty() || !self.ready.is_empty()
    }

    /// An id for which a peer without credits has sent more than is held: the link is not to be read until it has been read from.
    pub(crate) fn crowded(&self) -> Option<u32> {
        let largest = || self.flows.iter().max_by_key(|(_, flow)| flow.held());
        if self.held > HELD.1 {
            return largest().map(|(id, _)| *id);
        }
        if self.held > HELD.0 {
            return largest().filter(|(_, flow)| flow.held() > HELD.0).map(|(id, _)| *id);
        }
        None
    }

    /// Bytes that wait to be read on an id.
    pub(crate) fn held(&self, id: u32) -> usize {
        self.flows.get(&id).map_or(0, Flow::held)
    }

    /// Ends one id, and tells both sides why.
    pub(crate) fn kill(&mut self, id: u32, why: &str) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.fail(why);
        // Nobody will read it.
        let discarded = flow.discard();
        self.held = self.held.saturating_sub(discarded);
        let proto = flow.proto as u8;
        match self.side {
            Side::Acceptor { .. } => self.say_error(id, proto, why),
            Side::Opener { .. } => self.say(Kind::Close, proto, id),
        }
    }

    /// A second has passed. Returns the ids that have ended by it.
    pub(crate) fn tick(&mut self) -> Vec<u32> {
        let (mut silent, mut held) = (Vec::new(), Vec::new());
        for (id, flow) in &mut self.flows {
            flow.idle = flow.idle.saturating_add(1);
            if flow.proto == Proto::Udp && flow.idle > UDP_IDLE && flow.stage == Stage::Open {
                silent.push(*id);
            }
            if flow.held_longer_than(HOLD) {
                flow.release();
                held.push(*id);
            }
        }
        for id in &silent {
            self.flow(*id, Flow::finish);
            self.list(*id);
        }
        held.iter().for_each(|id| self.list(*id));
        silent.into_iter().chain(held).collect()
    }

    /// The link is gone, and every connection with it.
    pub(crate) fn lose(&mut self, why: &str) -> Vec<u32> {
        self.flows.values_mut().filter(|flow| !flow.is_over()).for_each(|flow| flow.fail(why));
        self.control.clear();
        self.ready.clear();
        self.flows.keys().copied().collect()
    }
}

/// For who holds one id.
impl Mux {
    /// Asks for a port of the peer; `None` when there are too many connections.
    pub(crate) fn open(&mut self, proto: Proto, port: u16) -> Option<u32> {
        if self.flows.len() >= MAX_IDS {
            return None;
        }
        // Numbers go up, so that what is late for an old connection does not meet a new one.
        let id = loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.flows.contains_key(&self.last) {
                break self.last;
            }
        };
        self.flows.insert(id, Flow::new(proto, true));
        let header = Header { kind: Kind::Connect as u8, proto: proto as u8, id, port };
        let window = WINDOW.to_be_bytes();
        let payload = if self.extends(header) { &window[..] } else { b"" };
        self.control.push_back(frame::encode(header, payload));
        Some(id)
    }

    /// Says yes. False when the asker has gone.
    pub(crate) fn accept(&mut self, id: u32) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        if flow.stage != Stage::Opening {
            return false;
        }
        flow.stage = Stage::Open;
        let window = WINDOW.to_be_bytes();
        let payload = if flow.is_extended() { &window[..] } else { b"" };
        let header = Header { kind: Kind::Connected as u8, proto: flow.proto as u8, id, port: 0 };
        self.control.push_back(frame::encode(header, payload));
        self.list(id);
        true
    }

    /// Says no, and why.
    pub(crate) fn refuse(&mut self, id: u32, why: &str) {
        if let Some(flow) = self.forget(id) {
            self.say_error(id, flow.proto as u8, why);
        }
    }

    /// Where an id is; `None` when it is unknown.
    pub(crate) fn stage(&self, id: u32) -> Option<&Stage> {
        self.flows.get(&id).map(|flow| &flow.stage)
    }

    /// Takes what has come, at most `max` bytes, or one datagram.
    pub(crate) fn pull(&mut self, id: u32, max: usize) -> Pull {
        let Some(flow) = self.flows.get_mut(&id) else { return Pull::End };
        let before = flow.held();
        let pulled = flow.pull(max);
        self.held = (self.held + flow.held()).saturating_sub(before);
        self.list(id);
        pulled
    }

    /// Bytes that [`Mux::push`] takes now; `None` when it takes none any more.
    pub(crate) fn room(&self, id: u32) -> Option<usize> {
        self.flows.get(&id)?.room()
    }

    /// Sends bytes, or one datagram, for which there is room.
    pub(crate) fn push(&mut self, id: u32, bytes: Bytes) {
        self.flow(id, |flow| flow.push(bytes));
        self.list(id);
    }

    /// Ends our direction. True once that, and all before it, is on its way.
    pub(crate) fn finish(&mut self, id: u32) -> bool {
        self.flow(id, Flow::finish);
        self.list(id);
        self.is_finished(id)
    }

    /// Whether our end, and all before it, has gone out, or will not.
    pub(crate) fn is_finished(&self, id: u32) -> bool {
        self.flows.get(&id).is_none_or(Flow::is_finished)
    }

    /// Whether a pull would not wait.
    pub(crate) fn is_readable(&self, id: u32) -> bool {
        self.flows.get(&id).is_none_or(Flow::is_readable)
    }

    /// Whether both directions have ended, well or not.
    pub(crate) fn is_over(&self, id: u32) -> bool {
        self.flows
            .get(&id)
            .is_none_or(|flow| flow.is_over() || matches!(flow.stage, Stage::Failed(_)))
    }

    /// Bytes that wait to be sent on an id.
    pub(crate) fn waiting(&self, id: u32) -> usize {
        self.flows.get(&id).map_or(0, Flow::waiting)
    }

    /// Whether nothing sent can reach the peer.
    pub(crate) fn is_deaf(&self, id: u32) -> bool {
        self.flows.get(&id).is_none_or(Flow::is_deaf)
    }

    /// Why an id was lost.
    pub(crate) fn failure(&self, id: u32) -> Option<&str> {
        match self.stage(id) {
            Some(Stage::Failed(why)) => Some(why),
            _ => None,
        }
    }

    /// Nobody holds the connection any more. What was not sent is dropped.
    pub(crate) fn close(&mut self, id: u32) {
        let Some(flow) = self.forget(id) else { return };
        // Over between ends that know half-close: nobody waits for a word. Others keep an id until they are told.
        if !(flow.is_extended() && flow.is_over()) {
            self.say(Kind::Close, flow.proto as u8, id);
        }
    }

    fn forget(&mut self, id: u32) -> Option<Flow> {
        let flow = self.flows.remove(&id)?;
        self.held = self.held.saturating_sub(flow.held());
        Some(flow)
    }

    fn flow(&mut self, id: u32, change: impl FnOnce(&mut Flow)) {
        if let Some(flow) = self.flows.get_mut(&id) {
            change(flow);
        }
    }

    /// Puts an id with something to send into the row.
    fn list(&mut self, id: u32) {
        if let Some(flow) = self.flows.get_mut(&id)
            && !flow.listed
            && flow.has_message()
        {
            flow.listed = true;
            self.ready.push_back(id);
        }
    }

    /// Whether this id is asked for with what is ours.
    fn extends(&self, header: Header) -> bool {
        self.side == Side::Opener { extended: true } && header.proto != Proto::Udp as u8
    }

    fn say(&mut self, kind: Kind, proto: u8, id: u32) {
        self.control.push_back(frame::encode(Header { kind: kind as u8, proto, id, port: 0 }, b""));
    }

    fn say_error(&mut self, id: u32, proto: u8, why: &str) {
        let header = Header { kind: Kind::Error as u8, proto, id, port: 0 };
        self.control.push_back(frame::encode(header, why.as_bytes()));
    }
}
