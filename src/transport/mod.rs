//! Transports: each turns a port into arrivals. Dialled legs come from `dial`.

pub(crate) mod tcp;
#[cfg(unix)]
pub(crate) mod unix;

use std::net::SocketAddr;

use crate::config::Bind;
use crate::error::Result;
use crate::listen::Listener;
use crate::target::HostPort;

/// What listens for a [`Bind`].
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
