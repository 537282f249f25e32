//! The runner: agents on one side, users' sessions on the other. Every id of a session has an id of its own towards the agent, so that
//! two users of one container never meet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::carry::{End, carry};
use super::frame::{HEADER, Header, Kind, decode, encode, with_id};
use super::mux::Fault;
use super::outbox::Outbox;
use super::routes::{Route, Routes};
use super::session::Session;
use crate::error::{Code, Error, Result};
use crate::http::{Message, Socket};

/// Bytes on their way to an agent beyond which its sessions are not read.
pub(super) const TO_AGENT: usize = 4 * 1024 * 1024;

/// Bytes on their way to a session beyond which it holds its agent up, and for how long it may without taking any.
const TO_SESSION: usize = 64 * 1024 * 1024;
const STALL: Duration = Duration::from_secs(1);

/// Bytes of a session without credits that its services do not take yet, beyond which it is not read; and for how long it may be held up
/// by a service that takes nothing (as for peers of SSH without credits).
const HELD: usize = 4 * 1024 * 1024;
const STUCK: Duration = Duration::from_secs(10);

/// Bytes on their way to a session without credits below which more is taken for it.
const ROOM: usize = 512 * 1024;

/// The agents that are connected, by their containers' names.
#[derive(Default)]
pub(crate) struct Runner {
    agents: Mutex<HashMap<String, Arc<Agent>>>,
    /// Told when one has come or gone.
    pub(super) changed: Notify,
    /// Numbers of agents and sessions.
    pub(super) last: AtomicU64,
}

impl Runner {
    /// Serves an agent until it has gone. One of the same name that was there is told so and ended.
    pub(crate) async fn agent(&self, name: &str, socket: Socket, extended: bool) -> Error {
        let agent = Arc::new(Agent {
            number: self.last.fetch_add(1, Ordering::Relaxed),
            extended,
            out: Outbox::default(),
            routes: Mutex::default(),
        });
        let before = self.agents.lock().insert(name.to_owned(), Arc::clone(&agent));
        if let Some(before) = before {
            tracing::info!("an agent was replaced");
            before.out.close(1008, "replaced by another agent");
        }
        self.changed.notify_one();
        let why = carry(socket, &*agent).await;
        let mut agents = self.agents.lock();
        if agents.get(name).is_some_and(|now| Arc::ptr_eq(now, &agent)) {
            agents.remove(name);
        }
        drop(agents);
        self.changed.notify_one();
        agent.end();
        why
    }

    /// Whether an agent of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.agents.lock().contains_key(name)
    }

    pub(super) fn named(&self, name: &str) -> Option<Arc<Agent>> {
        self.agents.lock().get(name).cloned()
    }

    /// How many agents are there.
    pub(crate) fn len(&self) -> usize {
        self.agents.lock().len()
    }

    /// Their containers' names, each with a number that no two of them have.
    pub(crate) fn names(&self) -> HashMap<String, u64> {
        let agents = self.agents.lock();
        agents.iter().map(|(name, agent)| (name.clone(), agent.number)).collect()
    }

    /// Serves a user's session with a container until either has gone.
    pub(crate) async fn session(&self, name: &str, socket: Socket, extended: bool) -> Error {
        let agent = self.named(name);
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(number, extended, agent));
        match &session.agent {
            Some(_) => session.out.text("CONNECTED"),
            None => {
                let text = format!("Error: Container tunnel not connected (container={name})");
                session.out.text(&text);
                session.out.close(1011, "");
            }
        }
        let why = carry(socket, &Served(Arc::clone(&session))).await;
        session.out.shut();
        if let Some(agent) = &session.agent {
            agent.leave(number);
        }
        why
    }
}

/// A connected agent.
pub(super) struct Agent {
    number: u64,
    /// It knows what is ours.
    pub(super) extended: bool,
    pub(super) out: Outbox,
    routes: Mutex<Routes>,
}

impl Agent {
    /// What becomes of a user's message.
    pub(super) fn asked(
        &self,
        session: &Arc<Session>,
        header: Header,
        message: Bytes,
    ) -> Option<Bytes> {
        let mut routes = self.routes.lock();
        let key = (session.number, header.id);
        let kind = header.kind()?;
        if kind == Kind::Connect {
            return routes.connect(self.extended, session, header, message);
        }
        let id = *routes.by_session.get(&key)?;
        if routes.step(id, &self.out, |stead, _| stead.said_by_user(kind, message.slice(HEADER..)))
        {
            return None;
        }
        match kind {
            Kind::Data => {}
            Kind::Close => routes.forget(id),
            Kind::Credit | Kind::Finish if !self.extended => return None,
            Kind::Credit => {}
            Kind::Finish => routes.finished(id, 0),
            _ => return None,
        }
        Some(with_id(message, id))
    }

    /// Where a message of the agent goes.
    fn answered(&self, header: Header, message: Bytes) -> Option<(Arc<Session>, Bytes)> {
        let mut routes = self.routes.lock();
        let kind = header.kind()?;
        if routes.step(header.id, &self.out, |stead, sides| {
            stead.said_by_agent(kind, message.slice(HEADER..), sides.user);
        }) {
            return None;
        }
        let route = routes.by_agent.get(&header.id)?;
        let (session, id, proto) = (Arc::clone(&route.session), route.id, route.proto);
        match kind {
            Kind::Connected | Kind::Data => {}
            Kind::Close | Kind::Error => {
                routes.forget(header.id);
                // The original's agent keeps an id until it is told.
                self.tell(Kind::Close, proto, header.id);
            }
            Kind::Credit | Kind::Finish if !session.extended => return None,
            Kind::Credit => {}
            Kind::Finish => routes.finished(header.id, 1),
            _ => return None,
        }
        Some((session, with_id(message, id)))
    }

    /// A session that takes nothing loses the connection that has too much for it.
    fn give_up(&self, header: Header) {
        let mut routes = self.routes.lock();
        if let Some(route) = routes.by_agent.get(&header.id) {
            let (session, id, proto) = (Arc::clone(&route.session), route.id, route.proto);
            routes.forget(header.id);
            self.tell(Kind::Close, proto, header.id);
            let header = Header { kind: Kind::Error as u8, proto, id, port: 0 };
            session.out.push(Message::Binary(encode(header, b"the user does not read")));
        }
    }

    /// A session is over: so are its connections.
    pub(super) fn leave(&self, session: u64) {
        let mut routes = self.routes.lock();
        let of_session = |(id, route): (&u32, &Route)| {
            (route.session.number == session).then_some((*id, route.proto))
        };
        let ids: Vec<_> = routes.by_agent.iter().filter_map(of_session).collect();
        for (id, proto) in ids {
            if !routes.step(id, &self.out, |stead, sides| stead.leave(sides)) {
                self.tell(Kind::Close, proto, id);
            }
            routes.forget(id);
        }
    }

    /// The agent is over: so are its sessions, which may come back to another.
    fn end(&self) {
        self.out.shut();
        let mut routes = self.routes.lock();
        routes.over = true;
        let ended = std::mem::take(&mut routes.by_agent);
        routes.by_session.clear();
        drop(routes);
        for mut route in ended.into_values() {
            if route.lose("the agent has gone") {
                continue;
            }
            let header =
                Header { kind: Kind::Error as u8, proto: route.proto, id: route.id, port: 0 };
            route.session.out.push(Message::Binary(encode(header, b"the agent has gone")));
        }
    }

    /// Waits while a user without credits has too much here that its services do not take, and ends what they take nothing of.
    async fn pace(&self, session: &Session) {
        while session.held.load(Ordering::Relaxed) > HELD {
            let Some((id, held)) = self.routes.lock().fullest(session.number) else { return };
            let is_less = async {
                loop {
                    session.relieved.notified().await;
                    let now = self.routes.lock().fullest(session.number);
                    if now.is_none_or(|(_, now)| now < held) {
                        return;
                    }
                }
            };
            if tokio::time::timeout(STUCK, is_less).await.is_err() {
                tracing::warn!(
                    "a service takes nothing: its connection is ended, so that the others of its user go on"
                );
                let mut routes = self.routes.lock();
                routes.step(id, &self.out, |stead, sides| {
                    stead.kill(sides, "the service does not read")
                });
                routes.forget(id);
            }
        }
    }

    fn tell(&self, kind: Kind, proto: u8, id: u32) {
        let header = Header { kind: kind as u8, proto, id, port: 0 };
        self.out.push(Message::Binary(encode(header, b"")));
    }
}

impl End for Agent {
    fn next(&self) -> Option<Message> {
        self.out.pop()
    }

    fn ready(&self) -> &Notify {
        &self.out.ready
    }

    async fn take(&self, message: Message) -> Result<()> {
        let Message::Binary(message) = message else { return Ok(()) };
        let Ok((header, _)) = decode(&message) else { return Ok(()) };
        let Some((session, message)) = self.answered(header, message) else { return Ok(()) };
        session.out.push(Message::Binary(message));
        while session.out.size() > TO_SESSION {
            let before = session.out.size();
            if tokio::time::timeout(STALL, session.out.below(before)).await.is_err() {
                self.give_up(header);
                break;
            }
        }
        Ok(())
    }

    fn tick(&self, asking: bool) {
        if asking {
            self.tell(Kind::Ping, 0, 0);
        }
    }
}

/// A session at its socket.
struct Served(Arc<Session>);

impl End for Served {
    fn next(&self) -> Option<Message> {
        let message = self.0.out.pop();
        message.iter().for_each(|message| self.0.said(message));
        if let Some(agent) = &self.0.agent
            && self.0.waiting.load(Ordering::Relaxed)
            && self.0.out.size() < ROOM
        {
            self.0.waiting.store(false, Ordering::Relaxed);
            agent.routes.lock().resume(self.0.number, &agent.out);
            return message.or_else(|| self.0.out.pop());
        }
        message
    }

    fn ready(&self) -> &Notify {
        &self.0.out.ready
    }

    async fn take(&self, message: Message) -> Result<()> {
        let (Message::Binary(message), Some(agent)) = (message, &self.0.agent) else {
            return Ok(());
        };
        let Ok((header, _)) = decode(&message) else { return Ok(()) };
        if let Some(message) = agent.asked(&self.0, header, message) {
            agent.out.push(Message::Binary(message));
        }
        if self.0.is_flooding() {
            return Err(Error::new(Code::Protocol, Fault::Flood.to_string()));
        }
        agent.out.below(TO_AGENT).await;
        agent.pace(&self.0).await;
        Ok(())
    }

    fn tick(&self, _asking: bool) {
        // Without its agent a session has nothing to wait for.
        if self.0.agent.as_ref().is_some_and(|agent| agent.out.is_closed()) {
            self.0.out.close(1011, "the container's tunnel is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::mux::MAX_CONTROL;

    #[tokio::test]
    async fn who_asks_on_without_reading_the_answers_is_ended() {
        let (out, routes) = (Outbox::default(), Mutex::default());
        let agent = Arc::new(Agent { number: 0, extended: true, out, routes });
        let user = Served(Arc::new(Session::new(1, true, Some(agent))));
        let asked = Header { kind: Kind::Connect as u8, proto: 2, id: 1, port: 80 };
        let ask = || user.take(Message::Binary(encode(asked, b"")));
        for _ in 0..3 * MAX_CONTROL {
            ask().await.expect("its answers are read");
            assert!(user.next().is_some());
        }
        for _ in 0..MAX_CONTROL {
            ask().await.expect("not too many yet");
        }
        assert!(ask().await.is_err());
    }
}
