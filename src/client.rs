//! Composition, client side: options → key, dial, handshake, channel.

mod attempt;
#[cfg(feature = "iroh")]
mod bridge;
mod forward;
mod jump;
mod keys;
mod lanes;
mod manager;
mod remote;
mod requests;
mod route;
mod running;
mod socks;
mod standing;
mod supervise;
#[cfg(feature = "ws")]
mod tunnel;

use std::net::SocketAddr;
#[cfg(feature = "iroh")]
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::{HostKeys, KeySource, Locked, Papers, Passphrase, SharedKey, Trust, Use};
use crate::config::{Family, Place, TlsVersion, Transport};
use crate::error::{Error, Result};
use crate::scope::Scope;
use crate::ssh::{
    DEFAULT_REKEY_BYTES, DEFAULT_WINDOW, Keepalive, Login, Session, SessionSettings, Stream,
};
use crate::target::{HostPort, Target};
#[cfg(feature = "tls")]
use crate::transport::TlsTrust;
#[cfg(feature = "iroh")]
use crate::transport::iroh::{IrohWay, Relay, StartBridge};
use crate::transport::{Outward, way};

use attempt::{Attempt, Path};
#[cfg(feature = "iroh")]
use bridge::bridge;
use jump::Leg;

pub use crate::dial::Proxy;
pub use forward::{ForwardOptions, LocalForwarder};
pub use jump::Jump;
pub use keys::{count_agent_keys, inspect_key};
pub use manager::ChannelManager;
pub use remote::RemoteForwarder;
pub use route::Route;
pub use socks::{SocksForwarder, SocksLogin};
pub use standing::{Metrics, Reconnect, Standing};
#[cfg(all(unix, feature = "cli", feature = "ws"))]
pub(crate) use tunnel::terminal;
#[cfg(all(feature = "cli", feature = "ws"))]
pub(crate) use tunnel::{SshProxy, Standing as TunnelStanding};
#[cfg(feature = "ws")]
pub use tunnel::{Tunnel, TunnelOptions};

/// How to reach a server and who logs in.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `host:port`, `[v6]:port` or `host` (the port that belongs to the transport), also as `tcp://host:port`.
    pub server: String,
    /// Servers that are as good as that one, as texts like it: what cannot be had at the first is asked of the next, each for its share of
    /// the time. A supervised session goes round them: the one that it has just lost is asked last. Each has host keys of its own, which
    /// `host_keys` or `known_hosts` must name. Default: none.
    pub further_servers: Vec<String>,
    /// The endpoint id of a server that is reached by iroh: hex, base32 or z-base-32.
    pub peer: Option<String>,
    /// Where the peer is known to be, for iroh to try.
    pub iroh_addresses: Vec<SocketAddr>,
    /// The relay that the peer is at, as a URL. Default `None`: no relay.
    pub iroh_relay: Option<String>,
    /// Which addresses of the server's name, or of the first of those in `jump`, are taken. Not for iroh, nor with a proxy, which looks
    /// names up itself. Default all.
    pub family: Family,
    /// How bytes travel. Several are tried in this order, each for its share of the time; a server that refuses the log-in or shows a
    /// wrong host key is asked by no other. Empty, the default, is TCP.
    pub transport: Vec<Transport>,
    /// The private key that logs in. The file must be readable by its owner only. RSA: 2,048 bits at least.
    pub identity: Option<KeySource>,
    /// Without an identity: the socket of an ssh-agent (`SSH_AUTH_SOCK`), whose first 6 keys are tried in their order.
    pub agent: Option<String>,
    /// The key's OpenSSH certificate. Default: `IDENTITY-cert.pub` beside its file, if it is there, as for `ssh`; what cannot be used there
    /// is left out. A file is read anew for every attempt.
    pub certificate: Option<KeySource>,
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
    /// The name that the server is looked up by in `known_hosts`, whatever its address and port. Default: these.
    pub host_key_alias: Option<String>,
    /// Whether a server that is not in `known_hosts` is refused (default) or written to the first file.
    pub trust: Trust,
    /// With [`Trust::FirstUse`], the fingerprint (`SHA256:…`) of the one key that is accepted from an unknown server. Default: any.
    pub first_use_key: Option<String>,
    /// For TLS: certificates in PEM form to trust instead of the public roots.
    pub tls_ca: Option<KeySource>,
    /// For TLS: the name that is asked for and that the certificate must have. Default: the host in `server`.
    pub tls_server_name: Option<String>,
    /// For TLS: the oldest version that is spoken. Default 1.3.
    pub tls_min: TlsVersion,
    /// For TLS: takes any certificate. The SSH host key is checked all the same. Default false.
    pub insecure: bool,
    /// What the server is dialled through, or the first of those in `jump`. Its name is left to the proxy. Default `None`.
    pub proxy: Option<Proxy>,
    /// Servers to go through, in this order, `ssh -J`: each has a session of its own, on which the next is a stream. These end with the
    /// session that they are for, and every attempt makes them anew. Default: none.
    pub jump: Vec<Jump>,
    /// Limit for everything up to the log-in, and for `connect()` the channel. The first of so many servers has an equal share of it, the
    /// second twice that, and so on. Default 20 s.
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
            further_servers: Vec::new(),
            peer: None,
            iroh_addresses: Vec::new(),
            iroh_relay: None,
            family: Family::Any,
            transport: Vec::new(),
            identity: None,
            agent: None,
            certificate: None,
            passphrase: None,
            insecure_permissions: false,
            user: "alknet".into(),
            host_keys: Vec::new(),
            known_hosts: None,
            host_key_alias: None,
            trust: Trust::default(),
            first_use_key: None,
            tls_ca: None,
            tls_server_name: None,
            tls_min: TlsVersion::default(),
            insecure: false,
            proxy: None,
            jump: Vec::new(),
            timeout: Duration::from_secs(20),
            keepalive: Keepalive::default(),
            window: DEFAULT_WINDOW,
            rekey_bytes: DEFAULT_REKEY_BYTES,
        }
    }
}

impl ConnectOptions {
    /// Takes server and host key from a connection string, `alknet://host:port?host-key=SHA256:…` (docs/wire.md), and the transport
    /// too unless that is set already.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when it is not one.
    pub fn connection_string(mut self, text: &str) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("connection string: {why}"));
        let rest = text.trim().strip_prefix("alknet://").ok_or_else(|| {
            bad("must begin with alknet://")
                .hint("an address that is none goes into the option: server: 'host:port'")
        })?;
        let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
        let server = server.trim_end_matches('/');
        HostPort::parse(server.split('/').next().unwrap_or(server), Some(0))?;
        self.server = server.to_owned();
        let mut transport = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("host-key", key)) => self.host_keys.push(key.to_owned()),
                Some(("transport", name)) => transport.push(name.parse()?),
                Some(("address", at)) => self
                    .iroh_addresses
                    .push(at.parse().map_err(|_| bad("address=… must be an address and a port"))?),
                Some(("relay", url)) => self.iroh_relay = Some(url.to_owned()),
                _ => {
                    return Err(bad("host-key=, transport=, address= and relay= may follow the ?"));
                }
            }
        }
        if self.transport.is_empty() {
            self.transport = transport;
        }
        Place::all(std::slice::from_ref(&self.server), &self.transport)?;
        Ok(self)
    }

    /// Checks the options and reads the keys: what one attempt needs, and every further one.
    async fn attempt(&self) -> Result<Attempt> {
        let key = self.key().await?;
        let mut leg = Leg::by(self.proxy.as_ref(), self.family);
        let servers = u32::try_from(self.jump.len()).unwrap_or(u32::MAX).saturating_add(1);
        for (number, jump) in (1..).zip(&self.jump) {
            let options = jump.options(self)?;
            let name = options.name()?.to_string();
            let limit = self.timeout / servers * number;
            let attempt = async {
                let own = if jump.identity.is_some() { options.key().await? } else { key.clone() };
                options.attempt_over(&leg, own, limit).await
            };
            let attempt = attempt.await.map_err(|e| e.on_hop(&name))?;
            leg = Leg::over(name, attempt);
        }
        self.attempt_over(&leg, key, self.timeout).await
    }

    /// The same, on `leg` and by `key`.
    async fn attempt_over(
        &self,
        leg: &Leg,
        key: Option<SharedKey>,
        timeout: Duration,
    ) -> Result<Attempt> {
        if self.server.is_empty() && self.peer.is_none() {
            return Err(Error::config("no server was given")
                .hint("set server or peer, or the variable ALKNET_SERVER"));
        }
        let settings = SessionSettings {
            window: self.window,
            keepalive: self.keepalive,
            rekey_bytes: self.rekey_bytes,
        }
        .checked()?;
        let agent = match (&key, &self.agent) {
            (None, Some(path)) => Some(Target::from_path(path)?),
            (None, None) => {
                return Err(Error::config("no identity was given").hint(
                    "set identity, or the variable ALKNET_IDENTITY; or agent, for the keys of an ssh-agent",
                ));
            }
            _ => None,
        };
        let paths = self.paths(leg, &self.outward().await?)?;
        let login = Login { user: self.user.clone(), key, certificate: None, settings };
        let papers = Papers::of(self.certificate.as_ref(), self.identity.as_ref());
        Ok(Attempt { paths, papers, login, agent, timeout })
    }

    async fn key(&self) -> Result<Option<SharedKey>> {
        match &self.identity {
            Some(identity) => self.load(identity.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    async fn load(&self, source: KeySource) -> Result<SharedKey> {
        let passphrase = self.passphrase.clone();
        let insecure_permissions = self.insecure_permissions;
        let load = move || {
            let passphrase = passphrase.as_ref();
            Locked { source: &source, passphrase, insecure_permissions }.load(Use::User)
        };
        Scope::new().blocking(load).await?
    }

    /// The server's address, by the first of its transports.
    fn name(&self) -> Result<HostPort> {
        let first = self.places()?.into_iter().next().map(|place| place.at);
        first.ok_or_else(|| Error::config("no server was given"))
    }

    /// The ways to the servers, and what the host key is looked up by on each.
    fn paths(&self, leg: &Leg, settings: &Outward) -> Result<Vec<Path>> {
        let path = |(number, place): (usize, Place)| {
            // Many transports to one place, or to the peer, are one server.
            let server = if self.further_servers.is_empty() { 0 } else { number };
            if place.transport == Transport::Iroh && leg.is_hop {
                let message = "iroh finds its own way to a peer, and goes through no other server";
                return Err(Error::config(message).hint("leave jump out, or name the server"));
            }
            if place.transport == Transport::Iroh {
                return self.path_to_peer(leg, server, &place.at.host, settings);
            }
            if place.at.port == 0 {
                return Err(Error::config("the server's port must be 1 to 65535"));
            }
            let host_keys = self.host_keys_of(&place.at)?;
            let way = way(&place, &leg.dialer, settings)?;
            Ok(Path { way, server, name: place.at, host_keys, through: leg.told.clone() })
        };
        self.places()?.into_iter().enumerate().map(path).collect()
    }

    /// What decides about the key of the server at `at`.
    fn host_keys_of(&self, at: &HostPort) -> Result<HostKeys> {
        // As for ssh, an alias has no port.
        let alias = self.host_key_alias.clone().map(|host| HostPort { host, port: 22 });
        let name = alias.as_ref().unwrap_or(at);
        HostKeys::new(&self.host_keys, self.known_hosts.as_deref(), self.trust, name)
            .map(|host_keys| host_keys.first_use_of(self.first_use_key.clone()))
    }

    /// Where to go by each transport: to the peer by iroh, and to the servers by all others.
    fn places(&self) -> Result<Vec<Place>> {
        let Some(peer) = &self.peer else {
            let servers = std::iter::once(&self.server).chain(&self.further_servers);
            return Place::all(&servers.cloned().collect::<Vec<_>>(), &self.transport);
        };
        if !self.further_servers.is_empty() {
            return Err(Error::config("a peer has no further servers: it is one, wherever it is"));
        }
        let peer = Place::parse(peer, Transport::Iroh)?;
        match self.transport.as_slice() {
            [] if self.server.is_empty() => Ok(vec![peer]),
            [] => Err(Error::config(
                "both server and peer were given: say by transport which is tried first",
            )),
            list if !list.contains(&Transport::Iroh) => {
                Err(Error::config("a peer is reached by transport iroh, which is not in the list"))
            }
            list => list
                .iter()
                .map(|transport| match transport {
                    Transport::Iroh => Ok(peer.clone()),
                    other => Place::parse(&self.server, *other),
                })
                .collect(),
        }
    }

    /// By iroh. Its host key is known by the endpoint id.
    #[cfg(feature = "iroh")]
    fn path_to_peer(
        &self,
        leg: &Leg,
        server: usize,
        peer: &str,
        settings: &Outward,
    ) -> Result<Path> {
        let relay = self.iroh_relay.as_deref().map(|url| Relay::new(url, settings.ca()));
        let relay = relay.transpose()?;
        let by = self.proxy.clone().map(|proxy| (proxy, bridge as StartBridge));
        let way = IrohWay::new(peer, &self.iroh_addresses, relay, by)?;
        let name = HostPort { host: way.id(), port: 22 };
        let host_keys = self.host_keys_of(&name)?;
        Ok(Path { way: Arc::new(way), server, name, host_keys, through: leg.told.clone() })
    }

    #[cfg(not(feature = "iroh"))]
    fn path_to_peer(&self, _: &Leg, _: usize, _: &str, _: &Outward) -> Result<Path> {
        Err(crate::transport::no_iroh())
    }

    #[cfg(feature = "tls")]
    async fn outward(&self) -> Result<Outward> {
        let ca = self.tls_ca.clone();
        let read = move || ca.map(|source| source.contents(false)).transpose();
        let ca = Scope::new().blocking(read).await??.map(|pem| pem.to_vec());
        let (name, insecure) = (self.tls_server_name.clone(), self.insecure);
        Ok(Outward { trust: TlsTrust { ca, name, insecure, least: self.tls_min } })
    }

    #[cfg(not(feature = "tls"))]
    async fn outward(&self) -> Result<Outward> {
        Ok(Outward::default())
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
