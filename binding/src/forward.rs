//! Forwards of a session, and what a server offers of them.

use std::net::SocketAddr;
use std::sync::Arc;

use alknet::{
    Bind, ChannelManager, Events, ForwardOptions, ForwardPolicy, LocalForwarder, PortForwardSpec,
    RemoteForwarder, Route, SocksForwarder, SocksLogin,
};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Bell;
use crate::options::millis;
use crate::runtime::runtime;

/// What a forward is made from.
#[napi(object)]
#[derive(Default)]
pub struct NativeForwardOptions {
    /// `local`, `remote` or `socks5`.
    pub kind: String,
    /// `port`, `host:port` or a socket path.
    pub listen: String,
    /// Where connections lead; a proxy has none.
    pub target: Option<String>,
    /// For a proxy, with `password`.
    pub username: Option<String>,
    pub password: Option<String>,
    pub max_connections: Option<u32>,
    pub replace_stale_socket: Option<bool>,
    /// Milliseconds.
    pub udp_idle_timeout: Option<u32>,
}

impl NativeForwardOptions {
    fn bounds(&self) -> ForwardOptions {
        let default = ForwardOptions::default();
        ForwardOptions {
            max_connections: self.max_connections.map_or(default.max_connections, |n| n as usize),
            replace_stale_socket: self.replace_stale_socket.unwrap_or_default(),
            udp_idle: millis(self.udp_idle_timeout, default.udp_idle),
            ..default
        }
    }
}

/// As `AlknetForwardPolicy`; what is absent has its default.
#[napi(object)]
#[derive(Default)]
pub struct NativeForwardPolicy {
    pub tcp: Option<bool>,
    pub udp: Option<bool>,
    pub unix: Option<bool>,
    pub link_local: Option<bool>,
    pub public_only: Option<bool>,
    pub remote: Option<bool>,
    pub gateway_ports: Option<bool>,
}

impl From<NativeForwardPolicy> for ForwardPolicy {
    fn from(given: NativeForwardPolicy) -> Self {
        let default = Self::default();
        Self {
            tcp: given.tcp.unwrap_or(default.tcp),
            udp: given.udp.unwrap_or(default.udp),
            unix: given.unix.unwrap_or(default.unix),
            link_local: given.link_local.unwrap_or(default.link_local),
            public_only: given.public_only.unwrap_or(default.public_only),
            remote: given.remote.unwrap_or(default.remote),
            gateway_ports: given.gateway_ports.unwrap_or(default.gateway_ports),
        }
    }
}

/// Counters.
#[napi(object)]
pub struct NativeForwardMetrics {
    pub bytes_up: f64,
    pub bytes_down: f64,
    pub active: f64,
    pub accepted: f64,
    pub refused: f64,
    pub reset: f64,
    pub dropped: f64,
}

/// A forward of any kind.
pub(crate) enum Forwarder {
    Local(LocalForwarder),
    Remote(RemoteForwarder),
    Socks(SocksForwarder),
}

impl Forwarder {
    pub(crate) async fn start(
        manager: &ChannelManager,
        given: NativeForwardOptions,
    ) -> alknet::Result<Self> {
        let options = given.bounds();
        let listen: Bind = given.listen.parse()?;
        let Some(target) = given.target else {
            let login = given.username.zip(given.password);
            let login = login.map(|(user, password)| SocksLogin { user, password });
            let socks = SocksForwarder::start(&listen, login.as_ref(), manager, &options).await?;
            return Ok(Self::Socks(socks));
        };
        let spec = PortForwardSpec::new(listen, target.parse()?)?;
        Ok(match given.kind.as_str() {
            "remote" => Self::Remote(
                RemoteForwarder::keep(&spec, manager, Route::direct(), &options).await?,
            ),
            _ => Self::Local(LocalForwarder::start(&spec, manager, &options).await?),
        })
    }

    /// A local forward on any way.
    pub(crate) async fn local(
        route: impl Into<Route>,
        given: NativeForwardOptions,
    ) -> alknet::Result<Self> {
        let target = given.target.as_deref().unwrap_or_default().parse()?;
        let spec = PortForwardSpec::new(given.listen.parse()?, target)?;
        Ok(Self::Local(LocalForwarder::start(&spec, route, &given.bounds()).await?))
    }

    /// `host:port` with real ports; at a server's end, what was asked of it.
    fn addresses(&self) -> Vec<String> {
        let print = |list: &[SocketAddr]| list.iter().map(ToString::to_string).collect();
        match self {
            Self::Local(local) => print(local.addresses()),
            Self::Socks(socks) => print(socks.addresses()),
            Self::Remote(remote) => match (remote.spec().listen(), remote.port()) {
                (Bind::Port { host, .. }, Some(port)) => {
                    let host = host.clone().or_else(|| Some("localhost".into()));
                    vec![Bind::Port { host, port }.to_string()]
                }
                _ => Vec::new(),
            },
        }
    }

    async fn close(&self) {
        match self {
            Self::Local(local) => local.close().await,
            Self::Remote(remote) => remote.close().await,
            Self::Socks(socks) => socks.close().await,
        }
    }
}

/// A forward. Dropped, it is closed.
#[napi]
pub struct NativeForward {
    id: u32,
    bell: Arc<Bell>,
    forward: Arc<Forwarder>,
}

#[napi]
impl NativeForward {
    pub(crate) fn new(bell: &Arc<Bell>, forward: Forwarder) -> Self {
        Self { id: bell.next_id(), bell: Arc::clone(bell), forward: Arc::new(forward) }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi]
    pub fn addresses(&self) -> Vec<String> {
        self.forward.addresses()
    }

    #[napi]
    pub fn metrics(&self) -> NativeForwardMetrics {
        let metrics = match &*self.forward {
            Forwarder::Local(local) => local.metrics(),
            Forwarder::Remote(remote) => remote.metrics(),
            Forwarder::Socks(socks) => socks.metrics(),
        };
        NativeForwardMetrics {
            bytes_up: metrics.bytes_up as f64,
            bytes_down: metrics.bytes_down as f64,
            active: metrics.active as f64,
            accepted: metrics.accepted as f64,
            refused: metrics.refused as f64,
            reset: metrics.reset as f64,
            dropped: metrics.dropped as f64,
        }
    }

    /// Begins to close; the bell rings when all is gone.
    #[napi]
    pub fn close(&self) -> Result<()> {
        let (forward, bell, id) = (Arc::clone(&self.forward), Arc::clone(&self.bell), self.id);
        runtime()?.spawn(async move {
            forward.close().await;
            bell.ring(id, Events::CLOSED.bits());
        });
        Ok(())
    }
}
