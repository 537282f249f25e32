//! The server's side of a session: who logs in, which channels open, where their streams go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, Disconnect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backlog::Backlog;
use super::channel::Channel;
use super::core::EndGuard;
use super::flush::Writer;
use super::forwarded::origin;
use super::forwarding::{Forwarding, Forwards, Wanted};
use super::greeting::session_id;
use super::login::{Attempts, Identity};
use super::opening::failure;
use super::session::Info;
use super::stream::Stream;
use crate::auth::{KeyRing, KeyRules, fingerprint};
use crate::target::{CONTROL, Target};

/// What a server decides with, shared by its sessions.
pub(crate) struct Policy {
    pub(crate) config: Arc<server::Config>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) max_auth_attempts: u32,
    pub(crate) host_key_fingerprint: String,
    pub(crate) window: u32,
    pub(crate) login_timeout: Duration,
    pub(crate) max_channels: usize,
    /// Sessions that have logged in.
    pub(crate) sessions: Arc<Semaphore>,
    /// Where accepted streams wait for the program.
    pub(crate) backlog: Arc<Backlog>,
    /// What is offered of forwards.
    pub(crate) forwarding: Option<Arc<dyn Forwarding>>,
}

/// A connection's places among those not logged in; given back at log-in.
pub(crate) type Tickets = Box<dyn Send + Sync>;

/// Hears what russh says of a server's session. Never waits, but to pace a foreign peer.
pub(super) struct Handler {
    pub(super) core: EndGuard,
    pub(super) policy: Arc<Policy>,
    pub(super) attempts: Attempts,
    pub(super) identity: Arc<Identity>,
    /// What the key that logged in may do.
    pub(super) rules: Arc<KeyRules>,
    /// Emptied at log-in.
    pub(super) tickets: Arc<Mutex<Option<Tickets>>>,
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) info: Arc<Info>,
    pub(super) forwards: Forwards,
}

type Handled = Result<(), russh::Error>;

impl Handler {
    async fn pump(&self, id: ChannelId) -> Handled {
        self.core.0.pump(id).await;
        Ok(())
    }

    /// Decides on a channel and, when it is ours, hands its stream to the program.
    async fn open_direct(
        &self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        origin: Option<SocketAddr>,
        reply: ChannelOpenHandle,
    ) {
        let refuse = |code, text: &str| ChannelOpenFailure::Other { code, reason: text.to_owned() };
        let core = &self.core.0;
        let target = match Target::from_open(host, port) {
            Ok(Target::Reserved(_)) if !self.rules.may_reach_program() => {
                let reason = "this key may run its command only, and none is run here";
                return reply.reject(refuse(1, reason)).await;
            }
            Ok(Target::Reserved(name)) if name == CONTROL => name,
            Ok(Target::Reserved(_)) => return reply.reject(refuse(1, "no such name here")).await,
            Ok(target) => return self.forward(channel, target, origin, reply).await,
            Err(e) => return reply.reject(refuse(1, &e.to_string())).await,
        };
        if core.open_channels() >= self.policy.max_channels {
            return reply.reject(refuse(4, "too many open channels")).await;
        }
        let Some(place) = self.policy.backlog.reserve() else {
            return reply
                .reject(refuse(4, "the program does not accept streams fast enough"))
                .await;
        };
        reply.accept().await;
        let id = channel.id();
        let (incoming, writer) = channel.split();
        let channel = Channel::open(core, id, incoming, Writer::Server(writer));
        let info = Info { target, ..Info::clone(&self.info) };
        place.fill(Stream::new(channel, Arc::new(info)));
    }
}

impl Handler {
    /// An open that leads elsewhere.
    async fn forward(
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
            let reason = "this key may not open that".to_owned();
            return reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
        }
        if core.open_channels() >= self.policy.max_channels {
            let reason = "too many open channels".to_owned();
            return reply.reject(ChannelOpenFailure::Other { code: 4, reason }).await;
        }
        self.forwards.open(core, &self.info, target, origin, channel, reply).await;
    }

    async fn listen(&mut self, wanted: Wanted<'_>, back: server::Handle) -> Option<u16> {
        let allowed = match wanted {
            Wanted::Tcp(address, port) => self.rules.may_listen(address, port),
            Wanted::Unix(path) => self.rules.may_listen(path, 0),
        };
        if !allowed {
            tracing::info!("a key may not have the listener that it asks for");
            return None;
        }
        self.forwards.listen(&self.core.0, back, &self.info, wanted).await
    }
}

async fn refuse_session(reply: ChannelOpenHandle) -> Handled {
    let reason = "shells, commands and subsystems are not offered here".to_owned();
    reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
    Ok(())
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        self.attempts.offered(user, offer.public_key, offer.algorithm).await
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.attempts.proved(user, key.public_key, key.algorithm)
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        self.attempts.refuse()
    }

    async fn auth_succeeded(&mut self, session: &mut server::Session) -> Handled {
        let Some(proved) = self.attempts.take_proved() else {
            return Err(russh::Error::Inconsistent);
        };
        let core = &self.core.0;
        core.identified(session.remote_sshid());
        let info = Arc::make_mut(&mut self.info);
        info.user = proved.user;
        info.key_fingerprint = fingerprint(&proved.key);
        core.peer_version().clone_into(&mut info.peer);
        info.session_id = session_id(&core.link().theirs.lock(), &core.link().ours.lock());
        self.rules = proved.rules;
        if let Err(reason) = self.identity.set(proved.key) {
            return session.disconnect(Disconnect::ByApplication, &reason, "");
        }
        match Arc::clone(&self.policy.sessions).try_acquire_owned() {
            Ok(place) => self.place = Some(place),
            Err(_) => {
                return session.disconnect(Disconnect::TooManyConnections, "too many sessions", "");
            }
        }
        core.link().logged_in();
        *self.tickets.lock() = None;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        self.open_direct(channel, host, port, origin(originator, originator_port), reply).await;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        _channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        refuse_session(reply).await
    }

    async fn channel_open_x11(
        &mut self,
        _channel: russh::Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        refuse_session(reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: russh::Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        match Target::from_path(path) {
            Ok(target) => self.forward(channel, target, None, reply).await,
            Err(why) => reply.reject(failure(&why)).await,
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        let Ok(number) = u16::try_from(*port) else { return Ok(false) };
        let bound = self.listen(Wanted::Tcp(address, number), session.handle()).await;
        *port = bound.map_or(0, u32::from);
        Ok(bound.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        let Ok(port) = u16::try_from(port) else { return Ok(false) };
        Ok(self.forwards.cancel(Wanted::Tcp(address, port)))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        Ok(self.listen(Wanted::Unix(path), session.handle()).await.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        Ok(self.forwards.cancel(Wanted::Unix(path)))
    }

    async fn data(&mut self, id: ChannelId, _: &[u8], _: &mut server::Session) -> Handled {
        self.pump(id).await
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _: u32,
        _: &[u8],
        _: &mut server::Session,
    ) -> Handled {
        self.pump(id).await
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut server::Session) -> Handled {
        self.pump(id).await
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut server::Session) -> Handled {
        self.pump(id).await
    }

    async fn window_adjusted(&mut self, id: ChannelId, _: u32, _: &mut server::Session) -> Handled {
        self.pump(id).await
    }

    // Requests on a channel: each is taken from the channel's queue and refused.

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(russh::Pty, u32)],
        session: &mut server::Session,
    ) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut server::Session,
    ) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut server::Session,
    ) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut server::Session) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut server::Session,
    ) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut server::Session,
    ) -> Handled {
        session.channel_failure(id)?;
        self.pump(id).await
    }

    async fn agent_request(
        &mut self,
        id: ChannelId,
        _: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        self.core.0.pump(id).await;
        Ok(false)
    }

    async fn signal(&mut self, id: ChannelId, _: russh::Sig, _: &mut server::Session) -> Handled {
        self.pump(id).await
    }
}
