//! A user's session at a runner: what is on its way to the user, and what it may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::frame::{Header, Kind, encode};
use super::mux::MAX_CONTROL;
use super::outbox::Outbox;
use super::runner::Agent;
use crate::http::Message;

/// See the module.
pub(super) struct Session {
    pub(super) number: u64,
    /// Its user knows what is ours.
    pub(super) extended: bool,
    /// It may ask for terminals: the runner's own.
    pub(super) terminals: bool,
    pub(super) out: Outbox,
    pub(super) agent: Option<Arc<Agent>>,
    /// Bytes of a user without credits that its services do not take yet.
    pub(super) held: AtomicUsize,
    /// Told when these have become less.
    pub(super) relieved: Notify,
    /// There is something for the user, who had enough.
    pub(super) waiting: AtomicBool,
    /// Refusals that the user has not been sent.
    refusals: AtomicUsize,
}

impl Session {
    pub(super) fn new(number: u64, extended: bool, agent: Option<Arc<Agent>>) -> Self {
        Self {
            number,
            extended,
            terminals: false,
            out: Outbox::default(),
            agent,
            held: AtomicUsize::new(0),
            relieved: Notify::new(),
            waiting: AtomicBool::new(false),
            refusals: AtomicUsize::new(0),
        }
    }

    /// The runner's own, which may ask for terminals.
    pub(super) fn for_terminals(number: u64, agent: Arc<Agent>) -> Self {
        Self { terminals: true, ..Self::new(number, true, Some(agent)) }
    }

    /// Says no to a CONNECT.
    pub(super) fn refuse(&self, asked: Header, why: &[u8]) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        let header = Header { kind: Kind::Error as u8, port: 0, ..asked };
        self.out.push(Message::Binary(encode(header, why)));
    }

    /// A message has gone to the user.
    pub(super) fn said(&self, message: &Message) {
        if matches!(message, Message::Binary(bytes) if bytes.first() == Some(&(Kind::Error as u8)))
        {
            // An agent's refusals are not counted: it is asked for no more than a session may have.
            let less = |count: usize| count.checked_sub(1);
            let _ = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Whether the user asks on for what it is refused, and does not read that it is.
    pub(super) fn is_flooding(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) > MAX_CONTROL
    }
}
