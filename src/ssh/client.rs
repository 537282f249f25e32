//! The client's handshake: identification, key exchange, host key, log-in.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use russh::client::{self, ChannelOpenHandle};
use russh::keys::{Certificate, PublicKeyOrCertificate};
use russh::{ChannelId, ChannelOpenFailure};

use super::agent;
use super::authenticate::{Applicant, authenticate};
use super::core::{Core, EndGuard, ended_by_server, session_error};
use super::elastic::Elastic;
use super::forwarded::{Forwarded, origin, refuse};
use super::greeting::session_id;
use super::link::Link;
use super::refusals::Refusals;
use super::session::{Info, Session};
use super::settings::{self, SessionSettings};
use super::written::Inbox;
use crate::auth::{self, CertificateInfo, HostKeys, SharedKey, fingerprint};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{BoxIo, Connected};
use crate::scope::Scope;

/// What a client brings to a handshake.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    /// The key; without one, those of an agent.
    pub(crate) key: Option<SharedKey>,
    /// What an authority says of it.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) settings: SessionSettings,
}

/// Kills the session's transport unless the handshake came to its end.
struct Undo(Option<Arc<Link>>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.kill();
        }
    }
}

/// Runs the handshake on a connected transport. Dropping the future ends the connection. `server` is what the user calls it; `agent`
/// leads to an ssh-agent; `phase` follows what is going on.
///
/// # Errors
/// `ERR_ALKNET_HOST_KEY_UNKNOWN`, `_HOST_KEY_CHANGED`, `_HOST_KEY_REVOKED`, `_AUTH_REJECTED`, `_PROTOCOL`, `_SESSION_CLOSED`.
pub(crate) async fn handshake(
    transport: Connected,
    server: &str,
    host_keys: HostKeys,
    login: Login,
    agent: Option<BoxIo>,
    scope: &Scope,
    phase: &Mutex<Phase>,
) -> Result<Session> {
    let link = Arc::new(Link::default());
    let mut undo = Undo(Some(Arc::clone(&link)));
    let core = Core::new(scope.clone(), Arc::clone(&link), login.settings.window);
    let refusals = Arc::new(Refusals::default());
    let forwarded = Arc::new(Forwarded::default());
    let host_key = Arc::new(OnceLock::new());
    let config =
        settings::client(login.settings, &host_keys.algorithms(), host_keys.wants_certificate());
    let handler = Handler {
        core: EndGuard(Arc::clone(&core)),
        server: server.to_owned(),
        host_keys,
        host_key: Arc::clone(&host_key),
        refusals: Arc::clone(&refusals),
        forwarded: Arc::clone(&forwarded),
    };
    *phase.lock() = Phase::Kex;
    tracing::debug!(transport = transport.ends.transport, "reached the server");
    let silence = login.settings.keepalive.silence();
    let io = Elastic::new(transport.io, Arc::clone(&link), silence);
    let mut handle = client::connect_stream(config, io, handler)
        .await
        .map_err(|e| handshake_error(&core, server, &e, Phase::Kex))?;
    *phase.lock() = Phase::Auth;
    let (key_fingerprint, certificate) = log_in(&mut handle, &core, server, &login, agent).await?;
    link.logged_in();
    tracing::debug!(%key_fingerprint, user = login.user, "logged in");
    stay(&core, server).await?;
    undo.0 = None;
    let info = Info {
        remote: transport.ends.remote,
        local: transport.ends.local,
        transport: transport.ends.transport,
        user: login.user,
        key_fingerprint,
        certificate,
        host_key_fingerprint: host_key.get().cloned().unwrap_or_default(),
        peer: core.peer_version().to_owned(),
        target: String::new(),
        session_id: session_id(&link.ours.lock(), &link.theirs.lock()),
        rules: Arc::default(),
    };
    let (handle, info, spares) = (Arc::new(handle), Arc::new(info), Arc::default());
    core.set_inbox(Inbox::Client(Arc::downgrade(&handle)));
    Ok(Session { core, handle, refusals, forwarded, info, spares })
}

/// A server that has no room for the session says so at once after it has accepted the key.
async fn stay(core: &Core, server: &str) -> Result<()> {
    if core.link().settle().await {
        return Ok(());
    }
    core.ended().await;
    Err(handshake_error(core, server, &russh::Error::Disconnect, Phase::Auth))
}

/// Returns the fingerprint of the key that logged in, and its certificate.
async fn log_in(
    handle: &mut client::Handle<Handler>,
    core: &Core,
    server: &str,
    login: &Login,
    agent: Option<BoxIo>,
) -> Result<(String, Option<CertificateInfo>)> {
    let Login { user, key, certificate, .. } = login;
    match (key, agent) {
        (Some(key), _) => {
            let shown = fingerprint(key.public_key());
            let (key, certificate) = (Arc::clone(key), certificate.clone());
            let who = Applicant { server, user, key, certificate };
            Ok((shown, authenticate(handle, core, who).await?))
        }
        (None, Some(agent)) => agent::authenticate(handle, core, server, user, agent).await,
        (None, None) => Err(Error::config("no identity was given")),
    }
}

pub(super) fn handshake_error(
    core: &Core,
    server: &str,
    error: &russh::Error,
    phase: Phase,
) -> Error {
    if let Some(known) = core.failure() {
        return known;
    }
    use russh::Error as E;
    match error {
        E::NoCommonAlgo { kind, theirs, .. } => {
            let message =
                format!("{server} offers no {kind:?} algorithm we accept, only {theirs:?}");
            Error::new(Code::Protocol, message).at(phase)
        }
        E::IO(_) | E::HUP | E::Disconnect | E::SendError => {
            if let Some(said) = core.link().theirs.lock().nonsense() {
                let message = format!("{server} does not speak SSH: it said \"{said}\"");
                return Error::new(Code::Protocol, message).at(phase);
            }
            let how = core.link().failure().map_or_else(|| "it hung up".into(), |k| k.to_string());
            let message = format!("{server} ended the connection during the handshake: {how}");
            Error::new(Code::System("ECONNRESET"), message).at(phase)
        }
        E::Version => Error::new(Code::Protocol, format!("{server} does not speak SSH")).at(phase),
        other => Error::new(Code::Protocol, format!("{server}: SSH handshake: {other}")).at(phase),
    }
}

/// Hears what russh says of a client's session. Never waits, but to pace a foreign peer.
pub(super) struct Handler {
    core: EndGuard,
    server: String,
    host_keys: HostKeys,
    host_key: Arc<OnceLock<String>>,
    refusals: Arc<Refusals>,
    forwarded: Arc<Forwarded>,
}

type Handled = Result<(), russh::Error>;
type Channel = russh::Channel<client::Msg>;

impl Handler {
    async fn pump(&self, id: ChannelId) -> Handled {
        self.core.0.pump(id).await;
        Ok(())
    }
}

impl client::Handler for Handler {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let verdict = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                self.host_keys.check(&self.server, key).await
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                self.host_keys.check_certificate(&self.server, certificate, auth::now())
            }
        };
        match verdict {
            Ok(fingerprint) => {
                tracing::debug!(%fingerprint, "the host key is the right one");
                // Asked once: later key exchanges are part of the session that this one protects.
                let _ = self.host_key.set(fingerprint);
                Ok(true)
            }
            Err(error) => {
                self.core.0.set_failure(error);
                Ok(false)
            }
        }
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        names: &russh::Names,
        session: &mut client::Session,
    ) -> Handled {
        if settings::is_open_to_terrapin(names) {
            let message = format!(
                "{} offers chacha20-poly1305 without strict key exchange, which lets bytes be taken out unseen (CVE-2023-48795)",
                self.server
            );
            self.core.0.set_failure(Error::new(Code::Protocol, message).at(Phase::Kex).hint(
                "the server must be renewed (OpenSSH: 9.6 or newer), or offer aes128-gcm@openssh.com",
            ));
            return Err(russh::Error::Disconnect);
        }
        self.core.0.identified(session.remote_sshid());
        let (kex, cipher) = (names.kex.as_ref(), names.cipher.as_ref());
        let (peer, host_key) = (self.core.0.peer_version(), names.key.as_str());
        tracing::debug!(peer, kex, host_key, cipher, "keys are exchanged");
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _id: ChannelId,
        reason: ChannelOpenFailure,
        text: &str,
        _language: &str,
        _session: &mut client::Session,
    ) -> Handled {
        self.refusals.add(reason.code(), text);
        Ok(())
    }

    // What a server may not do: open channels to its client, but for forwards that were asked for. russh's own answer would be yes.

    async fn server_channel_open_session(
        &mut self,
        _: Channel,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel,
        _path: &str,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        refuse(reply).await
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel,
        address: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        let origin = origin(originator, originator_port);
        self.forwarded.take(&self.core.0, (address, port), origin, channel, reply).await
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        self.forwarded.take(&self.core.0, (path, 0), None, channel, reply).await
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Handled {
        refuse(reply).await
    }

    async fn data(&mut self, id: ChannelId, _: &[u8], _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _: u32,
        _: &[u8],
        _: &mut client::Session,
    ) -> Handled {
        self.pump(id).await
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn channel_success(&mut self, id: ChannelId, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn channel_failure(&mut self, id: ChannelId, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn window_adjusted(&mut self, id: ChannelId, _: u32, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn xon_xoff(&mut self, id: ChannelId, _: bool, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn exit_status(&mut self, id: ChannelId, _: u32, _: &mut client::Session) -> Handled {
        self.pump(id).await
    }

    async fn exit_signal(
        &mut self,
        id: ChannelId,
        _: russh::Sig,
        _: bool,
        _: &str,
        _: &str,
        _: &mut client::Session,
    ) -> Handled {
        self.pump(id).await
    }

    async fn disconnected(&mut self, reason: client::DisconnectReason<russh::Error>) -> Handled {
        let error = match reason {
            client::DisconnectReason::ReceivedDisconnect(info) => {
                let text: String =
                    info.message.chars().filter(|c| !c.is_control()).take(128).collect();
                ended_by_server(info.reason_code, &text)
            }
            client::DisconnectReason::Error(error) => {
                self.core.0.set_failure(session_error(&self.core.0, &error));
                return Err(error);
            }
        };
        self.core.0.set_failure(error);
        Ok(())
    }
}
