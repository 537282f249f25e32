//! The server's side of a session: who logs in, which channels open, where their streams go.

use std::collections::HashMap;
use std::sync::Arc;

use russh::keys::Certificate;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{ChannelId, Disconnect};
use tokio::sync::Semaphore;

use super::accept::Door;
use super::backlog::Backlog;
use super::channel::Channel;
use super::core::EndGuard;
use super::forwarded::origin;
use super::forwarding::{Forwarding, Forwards, Wanted};
use super::greeting::session_id;
use super::login::{Attempts, Identity};
use super::opening::Ask;
use super::rate::Rate;
use super::session::Info;
use super::settings::{ServerConfigs, rejection_time};
use crate::auth::{KeyRing, KeyRules, Limits, Member};
use crate::target::Target;

/// What a server decides with, shared by its sessions.
pub(crate) struct Policy {
    pub(crate) configs: ServerConfigs,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) host_key_fingerprint: String,
    pub(crate) window: u32,
    pub(crate) limits: Limits,
    /// Places for open streams, of all sessions.
    pub(crate) channels: Arc<Semaphore>,
    /// Where accepted streams wait for the program.
    pub(crate) backlog: Arc<Backlog>,
    /// Whether there is a program that takes them.
    pub(crate) control: bool,
    /// What is offered of forwards.
    pub(crate) forwarding: Option<Arc<dyn Forwarding>>,
}

/// Hears what russh says of a server's session. Never waits, but to pace a foreign peer.
pub(super) struct Handler {
    pub(super) core: EndGuard,
    pub(super) policy: Arc<Policy>,
    door: Door,
    attempts: Attempts,
    identity: Arc<Identity>,
    /// What the key that logged in may do.
    pub(super) rules: Arc<KeyRules>,
    /// From log-in on.
    member: Option<Member>,
    pub(super) info: Arc<Info>,
    pub(super) forwards: Forwards,
    /// Places for streams that wait for the program.
    pub(super) pending: Arc<Semaphore>,
    /// Channels that the client has opened in advance and not named.
    pub(super) spares: HashMap<ChannelId, Arc<Channel>>,
    pub(super) refusals: Rate,
    pub(super) requests: Rate,
}

type Handled = Result<(), russh::Error>;

impl Handler {
    /// The handler of a session whose client has not logged in.
    pub(super) fn new(
        core: EndGuard,
        policy: Arc<Policy>,
        door: Door,
        identity: Arc<Identity>,
        info: Info,
    ) -> Self {
        let source = info.remote.map(|remote| remote.ip());
        let limits = &policy.limits;
        let scope = core.0.scope().clone();
        Self {
            core,
            attempts: Attempts::new(scope, Arc::clone(&policy.keys), source, limits)
                .at_door(door.clone()),
            door,
            identity,
            rules: Arc::default(),
            member: None,
            info: Arc::new(info),
            pending: Arc::new(Semaphore::new(limits.max_pending_per_session)),
            spares: HashMap::new(),
            refusals: Rate::new(limits.max_refused_opens),
            requests: Rate::new(limits.max_requests),
            forwards: Forwards::new(policy.forwarding.clone(), Arc::clone(&policy.channels)),
            policy,
        }
    }

    /// Puts a refusal off for as long as each takes.
    async fn answer(auth: Result<Auth, russh::Error>) -> Result<Auth, russh::Error> {
        if !matches!(auth, Ok(Auth::Accept)) {
            tokio::time::sleep(rejection_time()).await;
        }
        auth
    }

    async fn pump(&mut self, id: ChannelId) -> Handled {
        self.came(id).await;
        Ok(())
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        self.door.knock();
        Ok(None)
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        Self::answer(self.attempts.offered(user, offer.public_key, offer.algorithm).await).await
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Self::answer(self.attempts.proved(user, key.public_key, key.algorithm)).await
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, russh::Error> {
        Self::answer(self.attempts.certified(user, certificate)).await
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Self::answer(self.attempts.refuse()).await
    }

    async fn auth_succeeded(&mut self, session: &mut server::Session) -> Handled {
        let Some(proved) = self.attempts.take_proved() else {
            return Err(russh::Error::Inconsistent);
        };
        let core = &self.core.0;
        core.identified(session.remote_sshid());
        let info = Arc::make_mut(&mut self.info);
        info.user.clone_from(&proved.user);
        info.key_fingerprint = proved.proof.fingerprint();
        info.certificate = proved.proof.certificate();
        core.peer_version().clone_into(&mut info.peer);
        info.session_id = session_id(&core.link().theirs.lock(), &core.link().ours.lock());
        info.rules = Arc::clone(&proved.rules);
        self.rules = proved.rules;
        if let Err(reason) = self.identity.set(proved.user, proved.proof) {
            return session.disconnect(Disconnect::ByApplication, &reason, "");
        }
        match self.door.log_in(&self.info.key_fingerprint) {
            Ok(member) => self.member = member,
            Err(why) => {
                self.attempts.log_full(&self.info, why);
                return session.disconnect(Disconnect::TooManyConnections, why, "");
            }
        }
        core.link().logged_in();
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
        self.refuse_session(reply).await
    }

    async fn channel_open_x11(
        &mut self,
        _channel: russh::Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        self.refuse_session(reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: russh::Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        match Target::from_path(path) {
            Ok(target) => self.forward(target, None, Ask::open(channel, reply)).await,
            Err(why) => self.refuse(reply, 1, &why.to_string()).await,
        }
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: russh::Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        self.refuse(reply, 1, "only a server opens these").await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        self.requests.take().await;
        let Ok(number) = u16::try_from(*port) else { return Ok(false) };
        let bound = self.listen(Wanted::port(address, number), session.handle()).await;
        *port = bound.map_or(0, u32::from);
        Ok(bound.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        self.requests.take().await;
        let Ok(port) = u16::try_from(port) else { return Ok(false) };
        Ok(self.forwards.cancel(Wanted::port(address, port)))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        self.requests.take().await;
        Ok(self.listen(Wanted::Unix(path), session.handle()).await.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut server::Session,
    ) -> Result<bool, russh::Error> {
        self.requests.take().await;
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
        self.came(id).await;
        Ok(false)
    }

    async fn signal(&mut self, id: ChannelId, _: russh::Sig, _: &mut server::Session) -> Handled {
        self.pump(id).await
    }
}
