//! One id of the tunnel: what has come and was not read, what is to be sent, and who has ended. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

use super::frame::{Header, Kind, MAX_DATAGRAM, MAX_PAYLOAD, Proto, begin, encode};
use crate::io::ByteQueue;

/// Bytes of one id that an end of ours takes before they are read.
pub(crate) const WINDOW: u64 = 1024 * 1024;

/// Bytes, or datagrams, that wait to be sent. More are not accepted.
const OUTBOX: usize = 256 * 1024;

/// Datagrams that wait, each way, and [`WINDOW`] bytes of them; those beyond are dropped.
const DATAGRAMS: usize = 256;

/// How far an id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asked for, and not answered.
    Opening,
    Open,
    /// Refused, or lost: why.
    Failed(String),
}

/// The end of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not yet.
    None,
    /// Ours: to be said once everything is sent.
    Due,
    /// Ours, to a peer that knows no half-close: held back, for so many ticks without a byte.
    Held(u32),
    Done,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    Data(Bytes),
    End,
    Wait,
    Failed(String),
}

/// See the module.
pub(crate) struct Flow {
    pub(crate) proto: Proto,
    pub(crate) stage: Stage,
    /// Both ends know credits and half-close on this id.
    extended: bool,
    /// This end has asked for the id.
    opener: bool,
    /// In the list of those with something to send.
    pub(crate) listed: bool,
    /// Nothing that is sent reaches the peer any more.
    deaf: bool,
    /// Ticks since something was received or sent.
    pub(crate) idle: u32,
    inbox: Queue,
    outbox: Queue,
    incoming: End,
    outgoing: End,
    received: u64,
    consumed: u64,
    /// What the peer was told last that it may send in all.
    granted: u64,
    sent: u64,
    may_send: u64,
}

impl Flow {
    pub(crate) fn new(proto: Proto, opener: bool) -> Self {
        Self {
            proto,
            stage: Stage::Opening,
            extended: false,
            opener,
            listed: false,
            deaf: false,
            idle: 0,
            inbox: Queue::new(proto),
            outbox: Queue::new(proto),
            incoming: End::None,
            outgoing: End::None,
            received: 0,
            consumed: 0,
            granted: 0,
            sent: 0,
            may_send: u64::MAX,
        }
    }

    /// The peer knows what is ours, and takes `may_send` bytes in all; it was told of a window.
    pub(crate) fn extend(&mut self, may_send: u64) {
        self.extended = true;
        self.may_send = may_send;
        self.granted = WINDOW;
    }

    pub(crate) fn is_extended(&self) -> bool {
        self.extended
    }

    /// Bytes that wait to be read.
    pub(crate) fn held(&self) -> usize {
        self.inbox.len()
    }

    /// Bytes that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether a pull would not wait.
    pub(crate) fn is_readable(&self) -> bool {
        !self.inbox.is_empty()
            || self.incoming != End::None
            || matches!(self.stage, Stage::Failed(_))
    }
}

/// From the peer.
impl Flow {
    /// Takes what came. False when the peer has sent more than it may.
    pub(crate) fn receive(&mut self, payload: Bytes) -> bool {
        self.idle = 0;
        if self.incoming != End::None || matches!(self.stage, Stage::Failed(_)) {
            return true;
        }
        if self.proto == Proto::Udp {
            // A peer's mistake and a slow reader cost datagrams, as on any network.
            if payload.len() <= MAX_DATAGRAM && self.inbox.has_room_for_datagrams() {
                self.inbox.push(payload);
            }
            return true;
        }
        self.received += payload.len() as u64;
        if self.extended && self.received > self.granted {
            return false;
        }
        if let End::Held(idle) = &mut self.outgoing {
            *idle = 0;
        }
        self.inbox.push(payload);
        true
    }

    /// The peer takes `limit` bytes in all. Limits never fall.
    pub(crate) fn credit(&mut self, limit: u64) {
        if self.extended {
            self.may_send = self.may_send.max(limit);
        }
    }

    /// The peer sends no more, and still reads.
    pub(crate) fn peer_finished(&mut self) {
        if self.extended && self.incoming == End::None {
            self.incoming = End::Done;
        }
    }

    /// The peer neither sends nor reads any more.
    pub(crate) fn peer_closed(&mut self) {
        // Between ends that know half-close that is no way to end, unless all was said; and who asked has no answer now.
        let cut = self.extended && self.incoming != End::Done;
        if cut || (self.opener && self.stage == Stage::Opening) {
            self.fail("the peer has closed the connection");
        }
        self.deaf = true;
        self.incoming = End::Done;
        self.outgoing = End::Done;
        self.outbox.clear();
    }

    pub(crate) fn fail(&mut self, why: &str) {
        if !matches!(self.stage, Stage::Failed(_)) {
            self.stage = Stage::Failed(why.to_owned());
        }
        self.incoming = End::Done;
        self.outgoing = End::Done;
        self.outbox.clear();
    }

    /// Drops what came and was not read. Returns how much that was.
    pub(crate) fn discard(&mut self) -> usize {
        let held = self.held();
        self.inbox.clear();
        held
    }
}

/// For who reads and writes.
impl Flow {
    pub(crate) fn pull(&mut self, max: usize) -> Pull {
        if let Some(bytes) = self.inbox.pop(max) {
            self.consumed += bytes.len() as u64;
            return Pull::Data(bytes);
        }
        match (&self.stage, self.incoming) {
            (Stage::Failed(why), _) => Pull::Failed(why.clone()),
            (_, End::None) => Pull::Wait,
            _ => Pull::End,
        }
    }

    /// What may be pushed now; `None` when nothing ever again.
    pub(crate) fn room(&self) -> Option<usize> {
        if self.outgoing != End::None {
            return None;
        }
        Some(match self.proto {
            Proto::Tcp | Proto::Terminal => OUTBOX.saturating_sub(self.outbox.len()),
            Proto::Udp if self.outbox.has_room_for_datagrams() => MAX_DATAGRAM,
            Proto::Udp => 0,
        })
    }

    /// Takes bytes to send, or one datagram. The caller has looked at the room.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if let End::Held(idle) = &mut self.outgoing {
            *idle = 0;
        }
        self.idle = 0;
        self.outbox.push(bytes);
    }

    /// Ends our direction after what was pushed.
    pub(crate) fn finish(&mut self) {
        if self.outgoing == End::None {
            let hold = self.opener && !self.extended && self.proto == Proto::Tcp;
            self.outgoing = if hold { End::Held(0) } else { End::Due };
        }
    }

    /// Whether the end, and all before it, has gone out, or will not.
    pub(crate) fn is_finished(&self) -> bool {
        match self.outgoing {
            End::Held(_) => self.outbox.is_empty(),
            End::Done => true,
            End::None | End::Due => false,
        }
    }

    /// Whether nothing pushed can reach the peer.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf || matches!(self.stage, Stage::Failed(_))
    }

    /// Whether both directions have ended well, so that nobody needs to be told.
    pub(crate) fn is_over(&self) -> bool {
        self.outgoing == End::Done && self.incoming == End::Done
    }
}

/// To the peer.
impl Flow {
    /// The next message of this id, if there is one that may be sent.
    pub(crate) fn message(&mut self, id: u32) -> Option<Bytes> {
        if self.owes_credit() {
            self.granted = self.consumed + WINDOW;
            return Some(encode(self.header(Kind::Credit, id), &self.granted.to_be_bytes()));
        }
        if self.may_send_data() {
            return Some(self.data(id));
        }
        (self.outgoing == End::Due && self.outbox.is_empty()).then(|| {
            self.outgoing = End::Done;
            if self.extended {
                return encode(self.header(Kind::Finish, id), b"");
            }
            // For this peer the end of one direction is the end of both.
            self.incoming = End::Done;
            self.deaf = true;
            encode(self.header(Kind::Close, id), b"")
        })
    }

    /// Whether [`Flow::message`] would give one.
    pub(crate) fn has_message(&self) -> bool {
        self.owes_credit()
            || self.may_send_data()
            || (self.outgoing == End::Due && self.outbox.is_empty())
    }

    /// Counts a tick of held-back ends. True when the limit is reached: the peer is to be told that it is over.
    pub(crate) fn held_longer_than(&mut self, limit: u32) -> bool {
        match &mut self.outgoing {
            End::Held(idle) if self.outbox.is_empty() => {
                *idle += 1;
                *idle > limit
            }
            _ => false,
        }
    }

    /// Ends a direction that was held back.
    pub(crate) fn release(&mut self) {
        self.outgoing = End::Due;
    }

    fn owes_credit(&self) -> bool {
        self.extended
            && self.stage == Stage::Open
            && self.incoming == End::None
            && self.proto != Proto::Udp
            && self.consumed + WINDOW - self.granted >= WINDOW / 4
    }

    fn may_send_data(&self) -> bool {
        self.stage == Stage::Open && !self.outbox.is_empty() && self.sent < self.may_send
    }

    fn data(&mut self, id: u32) -> Bytes {
        let header = self.header(Kind::Data, id);
        let message = match &mut self.outbox {
            Queue::Datagrams(waiting) => encode(header, &waiting.pop_front().unwrap_or_default()),
            Queue::Bytes(queue) => {
                let allowed = usize::try_from(self.may_send - self.sent).unwrap_or(usize::MAX);
                let length = queue.len().min(MAX_PAYLOAD).min(allowed);
                let mut message = begin(header, length);
                let mut left = length;
                while left > 0
                    && let Some(piece) = queue.pop(left)
                {
                    left -= piece.len();
                    message.extend_from_slice(&piece);
                }
                self.sent += length as u64;
                message.freeze()
            }
        };
        self.idle = 0;
        message
    }

    fn header(&self, kind: Kind, id: u32) -> Header {
        Header { kind: kind as u8, proto: self.proto as u8, id, port: 0 }
    }
}

/// Bytes, or datagrams, which are never cut or joined.
enum Queue {
    Bytes(ByteQueue),
    Datagrams(VecDeque<Bytes>),
}

impl Queue {
    fn new(proto: Proto) -> Self {
        match proto {
            Proto::Tcp | Proto::Terminal => Self::Bytes(ByteQueue::default()),
            Proto::Udp => Self::Datagrams(VecDeque::new()),
        }
    }

    fn push(&mut self, bytes: Bytes) {
        match self {
            Self::Bytes(queue) => queue.push(bytes),
            Self::Datagrams(waiting) => waiting.push_back(bytes),
        }
    }

    fn pop(&mut self, max: usize) -> Option<Bytes> {
        match self {
            Self::Bytes(queue) => queue.pop(max),
            Self::Datagrams(waiting) => waiting.pop_front(),
        }
    }

    fn has_room_for_datagrams(&self) -> bool {
        matches!(self, Self::Datagrams(waiting) if waiting.len() < DATAGRAMS)
            && (self.len() as u64) < WINDOW
    }

    fn len(&self) -> usize {
        match self {
            Self::Bytes(queue) => queue.len(),
            Self::Datagrams(waiting) => waiting.iter().map(Bytes::len).sum(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(queue) => queue.is_empty(),
            Self::Datagrams(waiting) => waiting.is_empty(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Bytes(queue) => queue.clear(),
            Self::Datagrams(waiting) => waiting.clear(),
        }
    }
}
