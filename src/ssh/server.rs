//! The server's side of a session: who logs in, which channels open, where their streams go.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::keys::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, Disconnect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backlog::Backlog;
use super::channel::Channel;
use super::core::EndGuard;
use super::flush::Writer;
use super::greeting::session_id;
use super::session::Info;
use super::stream::Stream;
use crate::auth::{AuthorizedKeys, fingerprint};
use crate::target::{CONTROL, Target};

/// Keys a client may offer before it proves one (reference table: "auth tries / offered keys").
const MAX_OFFERS: u32 = 20;

/// What a server decides with, shared by its sessions.
pub(crate) struct Policy {
    pub(crate) config: Arc<server::Config>,
    pub(crate) keys: AuthorizedKeys,
    pub(crate) host_key_fingerprint: String,
    pub(crate) window: u32,
    pub(crate) login_timeout: Duration,
    pub(crate) max_channels: usize,
    /// Sessions that have logged in.
    pub(crate) sessions: Arc<Semaphore>,
    /// Where accepted streams wait for the program.
    pub(crate) backlog: Arc<Backlog>,
}

/// A connection's places among those not logged in; given back at log-in.
pub(crate) type Tickets = Box<dyn Send + Sync>;

/// Hears what russh says of a server's session. Never waits, but to pace a foreign peer.
pub(super) struct Handler {
    pub(super) core: EndGuard,
    pub(super) policy: Arc<Policy>,
    /// Emptied at log-in.
    pub(super) login: Arc<Mutex<Option<Tickets>>>,
    pub(super) place: Option<OwnedSemaphorePermit>,
    pub(super) info: Arc<Info>,
    pub(super) offers: u32,
}

type Handled = Result<(), russh::Error>;

impl Handler {
    async fn pump(&self, id: ChannelId) -> Handled {
        self.core.0.pump(id).await;
        Ok(())
    }

    fn is_valid_user(user: &str) -> bool {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        (1..=64).contains(&user.len()) && user.bytes().all(allowed)
    }

    /// The same path, and the same answer, for an unknown user and an unknown key.
    fn may_log_in(&self, user: &str, key: &PublicKey) -> bool {
        self.policy.keys.allows(key) & Self::is_valid_user(user)
    }

    fn log_attempt(&self, user: &str, key: &PublicKey, result: &'static str) {
        let remote_addr = self.info.remote.map(|a| a.ip().to_string()).unwrap_or_default();
        let user = user.escape_default().take(128).collect::<String>();
        tracing::info!(%remote_addr, %user, key_fingerprint = %fingerprint(key), result, "auth attempt");
    }

    /// Decides on a channel and, when it is ours, hands its stream to the program.
    async fn open_direct(
        &self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        reply: ChannelOpenHandle,
    ) {
        let refuse = |code, text: &str| ChannelOpenFailure::Other { code, reason: text.to_owned() };
        let core = &self.core.0;
        let target = match Target::from_open(host, port) {
            Ok(Target::Reserved(name)) if name == CONTROL => name,
            Ok(Target::Reserved(_)) => return reply.reject(refuse(1, "no such name here")).await,
            Ok(_) => {
                return reply.reject(refuse(1, "forwarding is not offered here")).await;
            }
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
        self.offers += 1;
        if self.offers > MAX_OFFERS {
            return Err(russh::Error::Disconnect);
        }
        Ok(if self.may_log_in(user, offer.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        if !self.may_log_in(user, key.public_key) {
            self.log_attempt(user, key.public_key, "reject");
            return Ok(Auth::reject());
        }
        self.log_attempt(user, key.public_key, "accept");
        let info = Arc::make_mut(&mut self.info);
        user.clone_into(&mut info.user);
        info.key_fingerprint = fingerprint(key.public_key);
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut server::Session) -> Handled {
        let core = &self.core.0;
        core.identified(session.remote_sshid());
        let info = Arc::make_mut(&mut self.info);
        core.peer_version().clone_into(&mut info.peer);
        info.session_id = session_id(&core.link().theirs.lock(), &core.link().ours.lock());
        match Arc::clone(&self.policy.sessions).try_acquire_owned() {
            Ok(place) => self.place = Some(place),
            Err(_) => {
                return session.disconnect(Disconnect::TooManyConnections, "too many sessions", "");
            }
        }
        core.link().logged_in();
        *self.login.lock() = None;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: russh::Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        self.open_direct(channel, host, port, reply).await;
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
        _channel: russh::Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Handled {
        let reason = "forwarding is not offered here".to_owned();
        reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
        Ok(())
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
