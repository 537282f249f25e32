//! Which connection of which session is which of an agent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::flow::WINDOW;
use super::frame::{HEADER, Header, Kind, Proto, encode, limit, with_id};
use super::mux::MAX_IDS;
use super::outbox::Outbox;
use super::session::Session;
use super::stead::{Sides, Stead};

/// Connections of one session at once.
const MAX_OF_SESSION: usize = 1024;

#[derive(Default)]
pub(super) struct Routes {
    last: u32,
    pub(super) by_agent: HashMap<u32, Route>,
    pub(super) by_session: HashMap<(u64, u32), u32>,
    pub(super) over: bool,
}

pub(super) struct Route {
    pub(super) session: Arc<Session>,
    pub(super) id: u32,
    pub(super) proto: u8,
    /// Which sides have said that they send no more.
    finished: [bool; 2],
    /// Where the user knows no credits and the agent does.
    pub(super) stead: Option<Stead>,
}

impl Route {
    /// Changes what is held in the user's stead, and passes on what can be. True once it is over.
    fn step(
        &mut self,
        id: u32,
        agent: &Outbox,
        change: impl FnOnce(&mut Stead, &Sides<'_>),
    ) -> bool {
        let Some(stead) = &mut self.stead else { return false };
        let before = stead.held();
        let sides = Sides { agent: (agent, id), user: (&self.session.out, self.id) };
        change(stead, &sides);
        let over = stead.pass(&sides);
        let now = stead.held();
        self.session.held.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        if stead.is_waiting() {
            self.session.waiting.store(true, Ordering::Relaxed);
            self.session.out.ready.notify_one();
        }
        if over || now < before {
            self.session.relieved.notify_one();
        }
        over
    }

    /// The agent has gone. False when nothing is held in the user's stead.
    pub(super) fn lose(&mut self, why: &str) -> bool {
        self.let_go();
        let Some(stead) = &mut self.stead else { return false };
        stead.lose((&self.session.out, self.id), why);
        true
    }

    /// What was held does not count any more.
    fn let_go(&self) {
        if let Some(stead) = &self.stead {
            self.session.held.fetch_sub(stead.held(), Ordering::Relaxed);
            self.session.relieved.notify_one();
        }
    }
}

impl Routes {
    /// A new id for the agent, known before the agent hears of it.
    pub(super) fn connect(
        &mut self,
        extended: bool,
        session: &Arc<Session>,
        header: Header,
        message: Bytes,
    ) -> Option<Bytes> {
        let key = (session.number, header.id);
        if self.by_session.contains_key(&key) {
            return None;
        }
        let of_session = || self.by_agent.values().filter(|r| r.session.number == session.number);
        let unknown = header.proto == Proto::Terminal as u8 && !session.terminals;
        let full = self.by_agent.len() >= MAX_IDS || of_session().count() >= MAX_OF_SESSION;
        if full || unknown || self.over {
            let why: &[u8] = match () {
                () if unknown => b"unknown protocol",
                () if full => b"too many connections",
                () => b"the agent has gone",
            };
            session.refuse(header, why);
            return None;
        }
        let id = loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.by_agent.contains_key(&self.last) {
                break self.last;
            }
        };
        let proto = header.proto;
        // A payload is ours, and for those alone who know it.
        let known = extended && session.extended && limit(&message[HEADER..]).is_some();
        let in_stead = extended && !known && proto == Proto::Tcp as u8;
        let route = Route {
            session: Arc::clone(session),
            id: header.id,
            proto,
            finished: [false; 2],
            stead: in_stead.then(Stead::new),
        };
        self.by_agent.insert(id, route);
        self.by_session.insert(key, id);
        if in_stead {
            let header = Header { kind: Kind::Connect as u8, id, ..header };
            return Some(encode(header, &WINDOW.to_be_bytes()));
        }
        let message = if known { message } else { message.slice(..HEADER) };
        Some(with_id(message, id))
    }

    pub(super) fn finished(&mut self, id: u32, side: usize) {
        let Some(route) = self.by_agent.get_mut(&id) else { return };
        route.finished[side] = true;
        if route.finished == [true; 2] {
            self.forget(id);
        }
    }

    pub(super) fn forget(&mut self, id: u32) {
        if let Some(route) = self.by_agent.remove(&id) {
            self.by_session.remove(&(route.session.number, route.id));
            route.let_go();
        }
    }

    /// What [`Route::step`] does, and forgets what is over. False when nothing is held in a user's stead there.
    pub(super) fn step(
        &mut self,
        id: u32,
        agent: &Outbox,
        change: impl FnOnce(&mut Stead, &Sides<'_>),
    ) -> bool {
        let Some(route) = self.by_agent.get_mut(&id).filter(|route| route.stead.is_some()) else {
            return false;
        };
        if route.step(id, agent, change) {
            self.forget(id);
        }
        true
    }

    /// Goes on for a session that has taken something.
    pub(super) fn resume(&mut self, session: u64, agent: &Outbox) {
        let waits = |route: &Route| {
            route.session.number == session && route.stead.as_ref().is_some_and(Stead::is_waiting)
        };
        let ids: Vec<u32> =
            self.by_agent.iter().filter(|(_, route)| waits(route)).map(|(id, _)| *id).collect();
        for id in ids {
            self.step(id, agent, |_, _| {});
        }
    }

    /// The connection of a session with most of what is held, and how much that is.
    pub(super) fn fullest(&self, session: u64) -> Option<(u32, usize)> {
        let of_session = self.by_agent.iter().filter(|(_, route)| route.session.number == session);
        let held = of_session.map(|(id, route)| (*id, route.stead.as_ref().map_or(0, Stead::held)));
        held.max_by_key(|(_, held)| *held)
    }
}
