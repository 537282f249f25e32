//! Composition, server side: options → listener, sessions, accepted streams.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::{AuthorizedKeys, Gate, HostKey, KeySource};
use crate::error::{Error, Result};
use crate::listen::{Incoming, serve as accept_loop};
use crate::scope::Scope;
use crate::ssh::{self, Backlog, DEFAULT_WINDOW, Keepalive, Observer, Policy, Stream, WINDOW};
use crate::target::HostPort;
use crate::transport::tcp::Tcp;

/// How long `close` waits for sessions to say good-bye.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Bounds of a server (reference table, secure defaults).
#[derive(Clone, Debug)]
pub struct Limits {
    /// From accept to logged in. Default 20 s.
    pub login_timeout: Duration,
    /// Log-in attempts per connection. Default 6.
    pub max_auth_attempts: u32,
    /// Connections not logged in yet. Default 256.
    pub max_unauthenticated: usize,
    /// Of these, from one source: an IPv4 address or an IPv6 /64. Default 10.
    pub max_unauthenticated_per_source: usize,
    /// Sessions logged in. Default 4 096.
    pub max_sessions: usize,
    /// Open streams per session. Default 1 024.
    pub max_channels_per_session: usize,
    /// Accepted streams that wait for the program. Default 128.
    pub max_pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_timeout: Duration::from_secs(20),
            max_auth_attempts: 6,
            max_unauthenticated: 256,
            max_unauthenticated_per_source: 10,
            max_sessions: 4096,
            max_channels_per_session: 1024,
            max_pending: 128,
        }
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address to listen on. Default `0.0.0.0:22`; port 0 takes a free one.
    pub listen: String,
    /// The host key; made afresh when missing.
    pub host_key: Option<KeySource>,
    /// Who may log in. Required.
    pub authorized_keys: Option<KeySource>,
    /// When silence means that a peer is gone.
    pub keepalive: Keepalive,
    /// Bytes a peer may send before they are consumed, per stream. Default 4 MiB.
    pub window: u32,
    /// Bounds.
    pub limits: Limits,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:22".into(),
            host_key: None,
            authorized_keys: None,
            keepalive: Keepalive::default(),
            window: DEFAULT_WINDOW,
            limits: Limits::default(),
        }
    }
}

/// A listening server. Dropping it ends it and every session at once.
pub struct Server {
    scope: Scope,
    addresses: Vec<SocketAddr>,
    host_key: String,
    host_key_fingerprint: String,
    backlog: Arc<Backlog>,
}

/// Starts listening.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`, `ERR_ALKNET_KEY_INVALID`; `EADDRINUSE`, `EACCES` and other system codes.
pub async fn serve(options: &ServeOptions) -> Result<Server> {
    if !WINDOW.contains(&options.window) {
        return Err(Error::config("window must be 256 KiB to 16 MiB"));
    }
    let listen = HostPort::parse(&options.listen, Some(22))?;
    let source = options.authorized_keys.as_ref().ok_or_else(|| {
        Error::config("nobody could log in: authorizedKeys is missing")
            .hint("give the path of an authorized_keys file, or its contents in a Buffer")
    })?;
    let keys = AuthorizedKeys::load(source)?;
    let key = HostKey::load_or_make(options.host_key.as_ref())?;
    let limits = &options.limits;
    let backlog = Backlog::new(limits.max_pending);
    let policy = Arc::new(Policy {
        config: ssh::server_config(
            key.private,
            options.window,
            options.keepalive,
            limits.max_auth_attempts,
        ),
        keys,
        host_key_fingerprint: key.fingerprint.clone(),
        window: options.window,
        login_timeout: limits.login_timeout,
        max_channels: limits.max_channels_per_session,
        sessions: Arc::new(Semaphore::new(limits.max_sessions)),
        backlog: Arc::clone(&backlog),
    });
    let (listener, address) = Tcp::bind(&listen).await?;
    let scope = Scope::new();
    let gate =
        Arc::new(Gate::new(limits.max_unauthenticated, limits.max_unauthenticated_per_source));
    let sessions = scope.clone();
    scope.spawn(accept_loop(Box::new(listener), scope.clone(), move |incoming| {
        admit(incoming, Arc::clone(&gate), Arc::clone(&policy), sessions.clone())
    }));
    Ok(Server {
        scope,
        addresses: vec![address],
        host_key: key.public,
        host_key_fingerprint: key.fingerprint,
        backlog,
    })
}

impl Server {
    /// The next stream that a client opened; `None` once the server is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Stream> {
        self.scope.until_cancelled(self.backlog.accept()).await
    }

    /// The next stream that waits. When there is none, the observer is told [`crate::Events::READABLE`] of the next.
    pub fn try_accept(&self) -> Option<Stream> {
        self.backlog.try_accept()
    }

    /// Sets who is told of arrivals.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.backlog.observe(observer);
    }

    /// The addresses listened on, with real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// `SHA256:…` of the host key.
    pub fn host_key_fingerprint(&self) -> &str {
        &self.host_key_fingerprint
    }

    /// The host's public key, `ssh-ed25519 AAAA…`.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Server and host key in one string, for [`crate::ConnectOptions::connection_string`]. A wildcard address is given as loopback.
    pub fn connection_string(&self) -> String {
        let at = self.addresses.first().map(|address| {
            let ip = match address.ip() {
                ip if !ip.is_unspecified() => ip,
                IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            SocketAddr::new(ip, address.port())
        });
        let key = self.host_key_fingerprint.replace('+', "-").replace('/', "_");
        format!("alknet://{}?host-key={key}", at.map(|at| at.to_string()).unwrap_or_default())
    }

    /// Stops listening, ends every session and waits until they are gone, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.scope.cancel();
        self.scope.join(CLOSE_LIMIT).await;
        self.backlog.clear();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

async fn admit(incoming: Incoming, gate: Arc<Gate>, policy: Arc<Policy>, scope: Scope) {
    let Some(tickets) = gate.enter(incoming.ends.remote) else {
        return tracing::info!("too many connections that have not logged in, one refused");
    };
    let handshake = tokio::time::timeout(policy.login_timeout, incoming.handshake);
    let Some(transport) = scope.until_cancelled(handshake).await else { return };
    match transport {
        Ok(Ok(link)) => ssh::accept(link, policy, tickets, scope).await,
        Ok(Err(e)) => tracing::debug!(error = %e, "transport handshake failed"),
        Err(_) => tracing::info!("transport handshake took too long"),
    }
}
