//! Transports: each turns an address into a stream, and a port into arrivals. TCP legs come from a [`Dialer`], so that every
//! transport goes through proxies too.

pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::config::{Bind, Place, Transport};
use crate::dial::Dialer;
use crate::error::{Phase, Result};
use crate::io::Connected;
use crate::listen::Listener;
use crate::target::HostPort;

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
    let sockets = match host {
        None => tcp::Tcp::bind_loopback(port)?,
        Some(host) if host.eq_ignore_ascii_case("localhost") => tcp::Tcp::bind_loopback(port)?,
        Some("" | "*") => tcp::Tcp::bind_all(port)?,
        Some(host) => tcp::Tcp::bind_every(&HostPort { host: host.to_owned(), port }).await?,
    };
    let addresses = sockets.iter().map(|(_, address)| *address).collect();
    let boxed = |(socket, _)| -> Box<dyn Listener> { Box::new(socket) };
    Ok(Bound { listeners: sockets.into_iter().map(boxed).collect(), addresses })
}

#[cfg(unix)]
fn bind_unix(path: &str, replace: bool) -> Result<Bound> {
    let listener = unix::Unix::bind(path, replace)?;
    Ok(Bound { listeners: vec![Box::new(listener)], addresses: Vec::new() })
}

#[cfg(not(unix))]
fn bind_unix(path: &str, _replace: bool) -> Result<Bound> {
    Err(crate::error::Error::config(format!("listen {path:?}: this system has no Unix sockets")))
}
