//! What clients that have logged in ask a server for, and the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{self, ChannelOpenHandle, Msg};
use russh::{ChannelId, ChannelOpenFailure};

use super::before::Unanswered;
use super::channel::Channel;
use super::flush::Writer;
use super::forwarded::origin;
use super::forwarding::Wanted;
use super::opening::Ask;
use super::server::Handler;
use super::session::Info;
use super::spare::{self, Named};
use super::stream::Stream;
use crate::target::{CONTROL, Target};

/// Spare channels that a session may have: twice as many as a client of ours keeps.
const MOST_SPARES: usize = 16;

/// Longest time from a header's first byte to its last: as long as a proxy's client gets (reference table: SOCKS5).
const HEADER_LIMIT: Duration = Duration::from_secs(10);

impl Handler {
    /// Decides on a channel and, when it is ours, hands its stream to the program.
    pub(super) async fn open_direct(
        &mut self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        origin: Option<SocketAddr>,
        reply: ChannelOpenHandle,
    ) {
        let core = &self.core.0;
        if host == spare::NAME && core.peer_is_alknet() && self.forwards.are_offered() {
            return self.keep_spare(channel, reply).await;
        }
        let target = match Target::from_open(host, port) {
            Ok(Target::Reserved(_)) if !self.rules.may_reach_program() => {
                let text = "this key may run its command only, and none is run here";
                return self.refuse(reply, 1, text).await;
            }
            Ok(Target::Reserved(name)) if name == CONTROL && self.policy.control => name,
            Ok(Target::Reserved(_)) => return self.refuse(reply, 1, "no such name here").await,
            Ok(target) => return self.forward(target, origin, Ask::open(channel, reply)).await,
            Err(e) => return self.refuse(reply, 1, &e.to_string()).await,
        };
        if core.open_channels() >= self.policy.limits.max_channels_per_session {
            return self.refuse(reply, 4, "too many open channels").await;
        }
        let Ok(room) = Arc::clone(&self.policy.channels).try_acquire_owned() else {
            return self.refuse(reply, 4, "too many open channels on this server").await;
        };
        let Some(place) = self.policy.backlog.reserve(&self.pending) else {
            let text = "the program does not accept streams fast enough";
            return self.refuse(reply, 4, text).await;
        };
        reply.accept().await;
        let id = channel.id();
        core.keep(id, room);
        let (incoming, writer) = channel.split();
        let channel = Channel::open(core, id, incoming, Writer::Server(writer));
        let info = Info { target, ..Info::clone(&self.info) };
        place.fill(Stream::new(channel, Arc::new(info)));
    }

    /// Keeps a channel that the client will name later.
    async fn keep_spare(&mut self, channel: russh::Channel<Msg>, reply: ChannelOpenHandle) {
        if self.spares.len() >= MOST_SPARES {
            return self.refuse(reply, 4, "too many spare channels").await;
        }
        let id = channel.id();
        let (incoming, writer) = channel.split();
        let spare = Channel::open_spare(&self.core.0, id, incoming, Writer::Server(writer));
        self.spares.insert(id, spare);
        reply.accept().await;
    }

    /// Something has come on one of the session's channels.
    pub(super) async fn came(&mut self, id: ChannelId) {
        let core = &self.core.0;
        core.pump(id).await;
        let Some(spare) = self.spares.get(&id) else { return };
        if let Some(named) = spare.take_named() {
            if let Some(spare) = self.spares.remove(&id) {
                self.name(spare, named).await;
            }
        } else if spare.is_over_now() {
            self.spares.remove(&id);
        } else if spare.is_begun() {
            let spare = Arc::clone(spare);
            core.scope().spawn_to_end(async move {
                tokio::time::sleep(HEADER_LIMIT).await;
                spare.close_unnamed();
            });
        }
    }

    /// Decides on a header as on an open that says the same.
    async fn name(&self, spare: Arc<Channel>, named: Named) {
        let ask = Ask::Spare(Unanswered(spare));
        let (target, origin) = match named {
            Named::Tcp { host, port, originator, originator_port } => {
                (Target::from_open(&host, port), origin(&originator, originator_port))
            }
            Named::Unix { path } => (Target::from_path(&path), None),
        };
        match target {
            // They are the program's, and asked for by opens.
            Ok(Target::Reserved(_)) => self.refuse_ask(ask, 1, "no such name here").await,
            Ok(target) => self.forward(target, origin, ask).await,
            Err(e) => self.refuse_ask(ask, 1, &e.to_string()).await,
        }
    }

    /// A request that leads elsewhere.
    pub(super) async fn forward(&self, target: Target, origin: Option<SocketAddr>, ask: Ask<Msg>) {
        let core = &self.core.0;
        let allowed = match &target {
            Target::Tcp(at) | Target::Udp(at) => self.rules.may_open(&at.host, at.port),
            Target::Unix(path) => self.rules.may_open(path, 0),
            Target::Reserved(_) => false,
        };
        if !allowed {
            return self.refuse_ask(ask, 1, "this key may not open that").await;
        }
        if core.open_channels() >= self.policy.limits.max_channels_per_session {
            return self.refuse_ask(ask, 4, "too many open channels").await;
        }
        if let Some((ask, why)) = self.forwards.open(core, &self.info, target, origin, ask) {
            // A refused open costs nothing after its answer, a refused channel goes on until the client closes it.
            if matches!(ask, Ask::Spare(_)) {
                self.refusals.take().await;
            }
            ask.reject(core, why).await;
        }
    }

    pub(super) async fn listen(&mut self, wanted: Wanted<'_>, back: server::Handle) -> Option<u16> {
        let allowed = match wanted {
            Wanted::Tcp(address, port) | Wanted::Udp(address, port) => {
                self.rules.may_listen(address, port)
            }
            Wanted::Unix(path) => self.rules.may_listen(path, 0),
        };
        if !allowed {
            tracing::info!("a key may not have the listener that it asks for");
            return None;
        }
        self.forwards.listen(&self.core.0, back, &self.info, wanted).await
    }

    /// Refuses a request that leads elsewhere, like an open.
    pub(super) async fn refuse_ask(&self, ask: Ask<Msg>, code: u32, reason: &str) {
        self.refusals.take().await;
        let reason = reason.to_owned();
        ask.reject(&self.core.0, ChannelOpenFailure::Other { code, reason }).await;
    }

    /// Refuses an open. Each costs the client next to nothing and us a little, so they are rationed; those that the program takes
    /// are not, for it bounds them itself.
    pub(super) async fn refuse(&self, reply: ChannelOpenHandle, code: u32, reason: &str) {
        self.refusals.take().await;
        reply.reject(ChannelOpenFailure::Other { code, reason: reason.to_owned() }).await;
    }

    pub(super) async fn refuse_session(
        &self,
        reply: ChannelOpenHandle,
    ) -> Result<(), russh::Error> {
        self.refuse(reply, 1, "shells, commands and subsystems are not offered here").await;
        Ok(())
    }
}
