//! Transports: each turns an address into a stream, and a port into arrivals. TCP legs come from a [`Dialer`], so that every
//! transport goes through proxies too.

mod ports;
pub(crate) mod tcp;
pub(crate) mod udp;
#[cfg(unix)]
pub(crate) mod unix;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::config::{Bind, Place, Transport};
use crate::dial::Dialer;
use crate::error::{Error, Phase, Result};
use crate::io::Connected;
use crate::listen::Listener;

/// Silence after which a flow of datagrams is over, unless asked otherwise (reference table: UDP idle).
pub(crate) const UDP_IDLE: Duration = Duration::from_secs(60);

/// A way to a server. Every dial is a new stream.
pub(crate) trait Way: Send + Sync + 'static {
    fn transport(&self) -> Transport;

    /// Returns once the far end has confirmed; dropping the future cancels. `phase` follows what is going on.
    fn dial<'a>(&'a self, phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>>;
}

/// The way to `place`, whose TCP legs are dialled by `leg`.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for a transport that this build does not have, or settings of it that cannot be used.
pub(crate) fn way(place: &Place, leg: &Arc<dyn Dialer>) -> Result<Arc<dyn Way>> {
    let (at, leg) = (place.at.clone(), Arc::clone(leg));
    match place.transport {
        Transport::Tcp => Ok(Arc::new(tcp::TcpWay { at, leg })),
    }
}

/// Listens for a server at `place`.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` and other system codes; `ERR_ALKNET_CONFIG` as for [`way`].
pub(crate) async fn listen(place: &Place) -> Result<Bound> {
    match place.transport {
        Transport::Tcp => {
            let (listener, address) = tcp::Tcp::bind(&place.at).await?;
            Ok(Bound { listeners: vec![Box::new(listener)], addresses: vec![address] })
        }
    }
}

/// What listens for a [`Bind`], or for a server.
pub(crate) struct Bound {
    pub(crate) listeners: Vec<Box<dyn Listener>>,
    /// With real ports; none for a Unix socket.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Listens where a user wants it. `replace` removes a Unix socket's file that nobody listens on.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` and other system codes.
pub(crate) async fn bind(listen: &Bind, replace: bool) -> Result<Bound> {
    let (host, port) = match listen {
        Bind::Port { host, port } => (host.as_deref(), *port),
        Bind::Unix(path) => return bind_unix(path, replace),
    };
    let sockets = ports::open_at(host, port, tcp::Tcp::open).await?;
    let addresses = sockets.iter().map(|(_, address)| *address).collect();
    let boxed = |(socket, _)| -> Box<dyn Listener> { Box::new(socket) };
    Ok(Bound { listeners: sockets.into_iter().map(boxed).collect(), addresses })
}

/// The same for UDP: each flow is an arrival, ended when it was silent for `idle`. Datagrams that are lost here are counted.
///
/// # Errors
/// Those of [`bind`]; `ERR_ALKNET_CONFIG` for a path.
pub(crate) async fn bind_udp(
    listen: &Bind,
    idle: Duration,
    dropped: &Arc<AtomicU64>,
) -> Result<Bound> {
    let Bind::Port { host, port } = listen else {
        return Err(Error::config("a UDP forward listens on a port, not on a socket path"));
    };
    let sockets = ports::open_at(host.as_deref(), *port, udp::open).await?;
    let addresses = sockets.iter().map(|(_, address)| *address).collect();
    let boxed = |(socket, _)| -> Box<dyn Listener> {
        Box::new(udp::Udp::new(socket, idle, Arc::clone(dropped)))
    };
    Ok(Bound { listeners: sockets.into_iter().map(boxed).collect(), addresses })
}

#[cfg(unix)]
fn bind_unix(path: &str, replace: bool) -> Result<Bound> {
    let listener = unix::Unix::bind(path, replace)?;
    Ok(Bound { listeners: vec![Box::new(listener)], addresses: Vec::new() })
}

#[cfg(not(unix))]
fn bind_unix(path: &str, _replace: bool) -> Result<Bound> {
    Err(Error::config(format!("listen {path:?}: this system has no Unix sockets")))
}
