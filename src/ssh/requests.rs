//! What clients that have logged in ask a server for, and the answers.

use std::net::SocketAddr;
use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::server::{self, ChannelOpenHandle, Msg};

use super::channel::Channel;
use super::flush::Writer;
use super::forwarding::Wanted;
use super::server::Handler;
use super::session::Info;
use super::stream::Stream;
use crate::target::{CONTROL, Target};

impl Handler {
    /// Decides on a channel and, when it is ours, hands its stream to the program.
    pub(super) async fn open_direct(
        &self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        origin: Option<SocketAddr>,
        reply: ChannelOpenHandle,
    ) {
        let core = &self.core.0;
        let target = match Target::from_open(host, port) {
            Ok(Target::Reserved(_)) if !self.rules.may_reach_program() => {
                let text = "this key may run its command only, and none is run here";
                return self.refuse(reply, 1, text).await;
            }
            Ok(Target::Reserved(name)) if name == CONTROL && self.policy.control => name,
            Ok(Target::Reserved(_)) => return self.refuse(reply, 1, "no such name here").await,
            Ok(target) => return self.forward(channel, target, origin, reply).await,
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

    /// An open that leads elsewhere.
    pub(super) async fn forward(
        &self,
        channel: russh::Channel<Msg>,
        target: Target,
        origin: Option<SocketAddr>,
        reply: ChannelOpenHandle,
    ) {
        let core = &self.core.0;
        let allowed = match &target {
            Target::Tcp(at) | Target::Udp(at) => self.rules.may_open(&at.host, at.port),
            Target::Unix(path) => self.rules.may_open(path, 0),
            Target::Reserved(_) => false,
        };
        if !allowed {
            return self.refuse(reply, 1, "this key may not open that").await;
        }
        if core.open_channels() >= self.policy.limits.max_channels_per_session {
            return self.refuse(reply, 4, "too many open channels").await;
        }
        self.forwards.open(core, &self.info, target, origin, channel, reply).await;
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
