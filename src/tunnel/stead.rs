//! One connection of a user who knows no credits, towards an agent that does: held here, in the user's stead, so that a service or a
//! user who is slow holds up nobody but itself.

use bytes::Bytes;

use super::flow::{Flow, Pull, Stage};
use super::frame::{Header, Kind, MAX_PAYLOAD, Proto, encode, limit};
use super::outbox::Outbox;
use crate::http::Message;

/// Bytes on their way to a user beyond which nothing is taken for it from an agent.
const TO_USER: usize = 1024 * 1024;

/// See the module.
pub(super) struct Stead {
    /// The agent's side: this is who has asked.
    flow: Flow,
    /// The user wants no more of it.
    leaving: bool,
    /// The user knows that it is over.
    told: bool,
    /// The agent's last word was a CLOSE.
    closed: bool,
    waiting: bool,
}

/// Where the two sides of a connection are.
pub(super) struct Sides<'a> {
    pub(super) agent: (&'a Outbox, u32),
    pub(super) user: (&'a Outbox, u32),
}

impl Stead {
    pub(super) fn new() -> Self {
        let flow = Flow::new(Proto::Tcp, true);
        Self { flow, leaving: false, told: false, closed: false, waiting: false }
    }

    /// Bytes of the user that the agent does not take yet.
    pub(super) fn held(&self) -> usize {
        self.flow.waiting()
    }

    /// Whether it has something for the user, who has enough.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    pub(super) fn said_by_user(&mut self, kind: Kind, payload: Bytes) {
        match kind {
            Kind::Data if !self.leaving && self.flow.room().is_some() && !payload.is_empty() => {
                self.flow.push(payload);
            }
            Kind::Close => self.leaving = true,
            _ => {}
        }
    }

    /// Takes a message of the agent.
    pub(super) fn said_by_agent(&mut self, kind: Kind, payload: Bytes, user: (&Outbox, u32)) {
        match kind {
            Kind::Connected if self.flow.stage == Stage::Opening => {
                self.flow.stage = Stage::Open;
                match limit(&payload) {
                    Some(limit) => self.flow.extend(limit),
                    None => self.flow.fail("the agent does not do as it has announced"),
                }
                if !self.leaving && self.flow.is_extended() {
                    push(user, Kind::Connected, b"");
                }
            }
            Kind::Data => {
                let allowed = self.flow.receive(payload);
                if !allowed {
                    self.flow.fail("more than was allowed was sent");
                }
            }
            Kind::Credit => limit(&payload).into_iter().for_each(|at| self.flow.credit(at)),
            Kind::Finish => self.flow.peer_finished(),
            Kind::Close => {
                self.closed = true;
                self.flow.peer_closed();
            }
            Kind::Error => self.flow.fail(&String::from_utf8_lossy(&payload)),
            _ => {}
        }
    }

    /// Passes on what can be. True once it is over for both.
    pub(super) fn pass(&mut self, sides: &Sides<'_>) -> bool {
        if self.leaving && self.flow.is_extended() {
            self.flow.finish();
        }
        let over = self.deliver(sides.user);
        while let Some(message) = self.flow.message(sides.agent.1) {
            sides.agent.0.push(Message::Binary(message));
        }
        if self.leaving && !over && self.flow.is_extended() && self.flow.is_finished() {
            push(sides.agent, Kind::Close, b"");
            return true;
        }
        over || self.flow.is_over() && self.told
    }

    /// The user has gone, and whatever it had sent on its way: in good order, when all of that has gone out.
    pub(super) fn leave(&mut self, sides: &Sides<'_>) {
        self.leaving = true;
        if !self.pass(sides) {
            push(sides.agent, Kind::Close, b"");
        }
    }

    /// The agent has gone: the user gets what it had sent.
    pub(super) fn lose(&mut self, user: (&Outbox, u32), why: &str) {
        self.flow.fail(why);
        self.deliver(user);
    }

    /// Ends it for both.
    pub(super) fn kill(&mut self, sides: &Sides<'_>, why: &str) {
        push(sides.agent, Kind::Close, b"");
        self.tell(sides.user, Kind::Error, why);
        self.leaving = true;
        self.flow.fail(why);
    }

    /// True when it was lost and the user knows.
    fn deliver(&mut self, user: (&Outbox, u32)) -> bool {
        self.waiting = false;
        let lost = matches!(self.flow.stage, Stage::Failed(_));
        loop {
            if !self.leaving && !lost && user.0.size() > TO_USER {
                self.waiting = self.flow.is_readable() && !self.told;
                return false;
            }
            match self.flow.pull(MAX_PAYLOAD) {
                Pull::Data(bytes) if self.leaving => drop(bytes),
                Pull::Data(bytes) => push(user, Kind::Data, &bytes),
                Pull::Wait => return false,
                Pull::End => {
                    self.tell(user, Kind::Close, "");
                    self.flow.finish();
                    return false;
                }
                Pull::Failed(_) if self.closed => {
                    self.tell(user, Kind::Close, "");
                    return true;
                }
                Pull::Failed(why) => {
                    self.tell(user, Kind::Error, &why);
                    return true;
                }
            }
        }
    }

    fn tell(&mut self, user: (&Outbox, u32), kind: Kind, why: &str) {
        if !std::mem::replace(&mut self.told, true) && !self.leaving {
            push(user, kind, why.as_bytes());
        }
    }
}

fn push((out, id): (&Outbox, u32), kind: Kind, payload: &[u8]) {
    let header = Header { kind: kind as u8, proto: Proto::Tcp as u8, id, port: 0 };
    out.push(Message::Binary(encode(header, payload)));
}
