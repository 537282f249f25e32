//! Composition of a local forward: a spec → its listeners × where their connections go.

use std::net::SocketAddr;
use std::time::Duration;

use super::Route;
use super::running::Running;
use crate::config::{Family, PortForwardSpec};
use crate::error::Result;
use crate::forward::{Bounds, Forward, ForwardMetrics, HANDSHAKE_LIMIT};
use crate::listen::Fixed;
use crate::target::Target;
use crate::transport::{UDP_IDLE, bind, bind_udp};

/// Bounds of a forward.
#[derive(Clone, Debug)]
pub struct ForwardOptions {
    /// Connections at once; more are refused. Default 1 024.
    pub max_connections: usize,
    /// Limit for reaching the target of one connection. Default 20 s.
    pub dial_timeout: Duration,
    /// For a proxy: limit for what its client says before a target is dialled. Default 10 s.
    pub handshake_timeout: Duration,
    /// Removes a socket file that nobody listens on (OpenSSH: StreamLocalBindUnlink). Default false.
    pub replace_stale_socket: bool,
    /// Silence after which a flow of UDP datagrams is over, where it comes in. Default 60 s.
    pub udp_idle: Duration,
    /// Silence after which a connection is reset, both sides open or not; `None` waits for ever while both are. At least a few
    /// seconds make sense. Default `None`, as in OpenSSH.
    pub idle_timeout: Option<Duration>,
    /// Which addresses of the place to listen on are taken. Default all.
    pub family: Family,
}

impl Default for ForwardOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            dial_timeout: Duration::from_secs(20),
            handshake_timeout: HANDSHAKE_LIMIT,
            replace_stale_socket: false,
            udp_idle: UDP_IDLE,
            idle_timeout: None,
            family: Family::Any,
        }
    }
}

impl ForwardOptions {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            dial: self.dial_timeout,
            handshake: self.handshake_timeout,
            max: self.max_connections,
            idle: self.idle_timeout,
        }
    }
}

/// A local forward, `ssh -L`: listens here, and each connection goes to the target. Dropping it ends it and its connections at once.
///
/// A target that refuses or does not answer costs the connection that wanted it and no other: that one is reset. Of UDP, what comes
/// from one address is a connection.
pub struct LocalForwarder {
    spec: PortForwardSpec,
    running: Running,
    addresses: Vec<SocketAddr>,
}

impl LocalForwarder {
    /// Listens and forwards. Returns once connections can come.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` for the address to listen on; `ERR_ALKNET_CHANNEL_REJECTED` for UDP to a
    /// server that is known not to be an alknet.
    pub async fn start(
        spec: &PortForwardSpec,
        route: impl Into<Route>,
        options: &ForwardOptions,
    ) -> Result<Self> {
        let dialer = route.into().dialer();
        dialer.check(spec.target())?;
        let forward = Forward::limited(dialer, options.bounds());
        let bound = match spec.target() {
            Target::Udp(_) => {
                bind_udp(spec.listen(), options.family, options.udp_idle, forward.dropped()).await?
            }
            _ => bind(spec.listen(), options.replace_stale_socket, options.family).await?,
        };
        let running = Running::new(forward);
        for inner in bound.listeners {
            running.serve(Box::new(Fixed { inner, target: spec.target().clone() }));
        }
        Ok(Self { spec: spec.clone(), running, addresses: bound.addresses })
    }

    /// What was asked for.
    pub fn spec(&self) -> &PortForwardSpec {
        &self.spec
    }

    /// The addresses listened on, with real ports; none for a Unix socket.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has done so far.
    pub fn metrics(&self) -> ForwardMetrics {
        self.running.forward.metrics()
    }

    /// Where its connections went last.
    #[cfg(all(unix, feature = "cli"))]
    pub(crate) fn last_dial(&self) -> crate::forward::LastDial {
        self.running.forward.last_dial()
    }

    /// Opens a stream to the target and closes it again: whether that can be had now.
    ///
    /// # Errors
    /// Why not.
    #[cfg(all(unix, feature = "cli"))]
    pub(crate) async fn probe(&self) -> Result<()> {
        self.running.forward.probe(self.spec.target()).await
    }

    /// Stops listening, and lets the connections go on.
    pub async fn stop_listening(&self) {
        self.running.stop_listening().await;
    }

    /// Waits until there is no connection, `limit` at most. For after [`Self::stop_listening`].
    pub async fn drain(&self, limit: Duration) {
        self.running.drain(limit).await;
    }

    /// Stops listening, resets the connections and waits until they are gone, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.running.close().await;
    }
}

/// `-L spec`
impl std::fmt::Display for LocalForwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "-L {}", self.spec)
    }
}

impl std::fmt::Debug for LocalForwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalForwarder").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
