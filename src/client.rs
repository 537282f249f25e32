//! Composition, client side: options → key, dial, handshake, channel.

mod forward;
mod lanes;
mod manager;
mod remote;
mod route;
mod socks;
mod standing;
mod supervise;

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::auth::{HostKeys, KeyInfo, KeySource, Locked, Passphrase, Trust, Use};
use crate::dial::Direct;
use crate::error::{Code, Error, Phase, Result};
use crate::scope::Scope;
use crate::ssh::{
    self, DEFAULT_REKEY_BYTES, DEFAULT_WINDOW, Keepalive, Login, Session, SessionSettings, Stream,
};
use crate::target::{HostPort, Target};

pub use forward::{ForwardOptions, LocalForwarder};
pub use manager::ChannelManager;
pub use remote::RemoteForwarder;
pub use route::Route;
pub use socks::{SocksForwarder, SocksLogin};
pub use standing::{Metrics, Reconnect, Standing};

/// The default port of a server address (RFC 4253 §4.1).
const SSH_PORT: u16 = 22;

/// How to reach a server and who logs in.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `host:port`, `[v6]:port` or `host` (port 22).
    pub server: String,
    /// The private key that logs in. The file must be readable by its owner only. RSA: 2,048 bits at least.
    pub identity: Option<KeySource>,
    /// The key's passphrase, if it has one.
    pub passphrase: Option<Passphrase>,
    /// Takes a key file whatever its owner and mode: for containers whose mounts cannot have others. Default false.
    pub insecure_permissions: bool,
    /// The user name. Default `alknet`.
    pub user: String,
    /// Expected host keys, `SHA256:…` or `ssh-ed25519 AAAA…`. When there are any, they alone decide.
    pub host_keys: Vec<String>,
    /// `known_hosts` files to look the server up in, under the name in `server`. Default: `~/.ssh/known_hosts` and
    /// `/etc/ssh/ssh_known_hosts` (and `known_hosts2`), as ssh; with `host_keys`: none, and if given, only for `@revoked`.
    pub known_hosts: Option<Vec<KeySource>>,
    /// Whether a server that is not in `known_hosts` is refused (default) or written to the first file.
    pub trust: Trust,
    /// Limit for everything up to the log-in, and for `connect()` the channel. Default 20 s.
    pub timeout: Duration,
    /// When silence means that the peer is gone.
    pub keepalive: Keepalive,
    /// Bytes the peer may send before they are consumed, per stream. Default 4 MiB.
    pub window: u32,
    /// Bytes of one direction after which keys are exchanged anew, 1 MiB to 1 GiB. Default 1 GiB.
    pub rekey_bytes: u32,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            server: String::new(),
            identity: None,
            passphrase: None,
            insecure_permissions: false,
            user: "alknet".into(),
            host_keys: Vec::new(),
            known_hosts: None,
            trust: Trust::default(),
            timeout: Duration::from_secs(20),
            keepalive: Keepalive::default(),
            window: DEFAULT_WINDOW,
            rekey_bytes: DEFAULT_REKEY_BYTES,
        }
    }
}

impl ConnectOptions {
    /// Takes server and host key from a connection string, `alknet://host:port?host-key=SHA256:…` (docs/wire.md).
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when it is not one.
    pub fn connection_string(mut self, text: &str) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("connection string: {why}"));
        let rest = text
            .trim()
            .strip_prefix("alknet://")
            .ok_or_else(|| bad("must begin with alknet://"))?;
        let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
        let server = server.strip_suffix('/').unwrap_or(server);
        HostPort::parse(server, Some(SSH_PORT))?;
        self.server = server.to_owned();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("host-key", key)) => self.host_keys.push(key.to_owned()),
                _ => return Err(bad("only host-key=SHA256:… may follow the ?")),
            }
        }
        Ok(self)
    }

    /// Checks the options and reads the key: what one attempt needs, and every further one.
    async fn attempt(&self) -> Result<Attempt> {
        if self.server.is_empty() {
            return Err(Error::config("no server was given")
                .hint("set server, or the variable ALKNET_SERVER"));
        }
        let settings = SessionSettings {
            window: self.window,
            keepalive: self.keepalive,
            rekey_bytes: self.rekey_bytes,
        }
        .checked()?;
        let server = HostPort::parse(&self.server, Some(SSH_PORT))?;
        if server.port == 0 {
            return Err(Error::config("the server's port must be 1 to 65535"));
        }
        let identity = self.identity.as_ref().ok_or_else(|| {
            Error::config("no identity was given")
                .hint("set identity, or the variable ALKNET_IDENTITY")
        })?;
        let host_keys =
            HostKeys::new(&self.host_keys, self.known_hosts.as_deref(), self.trust, &server)?;
        let (source, passphrase) = (identity.clone(), self.passphrase.clone());
        let insecure_permissions = self.insecure_permissions;
        let load = move || {
            let passphrase = passphrase.as_ref();
            Locked { source: &source, passphrase, insecure_permissions }.load(Use::User)
        };
        let login = Login {
            server: server.to_string(),
            user: self.user.clone(),
            key: Scope::new().blocking(load).await??,
            host_keys,
            settings,
        };
        Ok(Attempt { server, login, timeout: self.timeout })
    }
}

/// All that it takes to make a session, as often as needed.
#[derive(Clone)]
struct Attempt {
    server: HostPort,
    login: Login,
    timeout: Duration,
}

impl Attempt {
    /// Makes one attempt: a new transport, a new SSH session. Dropping the future ends it.
    async fn run(self) -> Result<Session> {
        let Self { server, mut login, timeout } = self;
        let scope = Scope::new();
        let phase = Mutex::new(Phase::Tcp);
        let attempt = async {
            login.host_keys.load().await?;
            let link = Direct.dial(&server).await?;
            ssh::handshake(link, login, &scope, &phase).await
        };
        within(timeout, &server, &phase, attempt).await
    }

    /// Accepts from now on no other host key than this one.
    fn demand(&mut self, fingerprint: &str) {
        self.login.host_keys.demand(fingerprint);
    }
}

/// Opens a session. Dropping the future ends the attempt.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`, `_KEY_INVALID`, `_HOST_KEY_UNKNOWN`, `_HOST_KEY_CHANGED`, `_HOST_KEY_REVOKED`,
/// `_AUTH_REJECTED`, `_HANDSHAKE_TIMEOUT`, `_PROTOCOL`; `ENOTFOUND`, `ECONNREFUSED`, `ETIMEDOUT` and other system codes.
pub async fn open_session(options: &ConnectOptions) -> Result<Session> {
    options.attempt().await?.run().await
}

/// Opens a session with one stream on it, which ends with the stream. Dropping the future ends the attempt.
///
/// # Errors
/// Those of [`open_session`], and those of [`Session::open`].
pub async fn connect(options: &ConnectOptions, target: &Target) -> Result<Stream> {
    let started = Instant::now();
    let session = open_session(options).await?;
    let left = options.timeout.saturating_sub(started.elapsed());
    session.open_only(target, left).await
}

/// What a private key says of itself without its passphrase: whether it needs one, above all. Dropping the future is safe.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID`, or the file's own failure.
pub async fn inspect_key(source: &KeySource, insecure_permissions: bool) -> Result<KeyInfo> {
    let source = source.clone();
    let look = move || Locked { source: &source, passphrase: None, insecure_permissions }.inspect();
    Scope::new().blocking(look).await?
}

/// Limits an attempt, and says in which phase the time ran out.
async fn within<T>(
    limit: Duration,
    server: &HostPort,
    phase: &Mutex<Phase>,
    attempt: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, attempt).await {
        Ok(done) => done,
        Err(_) => {
            let phase = *phase.lock();
            let (code, what) = match phase {
                Phase::Kex => (Code::HandshakeTimeout, "did not finish the SSH key exchange"),
                Phase::Auth => (Code::HandshakeTimeout, "did not finish the log-in"),
                _ => (Code::System("ETIMEDOUT"), "did not answer"),
            };
            let message = format!("{server} {what} within {} ms", limit.as_millis());
            Err(Error::new(code, message).at(phase).address(&server.host, server.port))
        }
    }
}
