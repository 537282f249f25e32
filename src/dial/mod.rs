//! Dialling: from a target to a byte stream. Knows sockets, not SSH.

mod direct;
mod guard;
#[cfg(all(feature = "cli", feature = "ws"))]
mod loopback;
mod proxy;
mod sockets;
pub(crate) mod socks5;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(crate) use direct::Direct;
use direct::Only;
#[cfg(unix)]
pub(crate) use direct::socket_name;
pub(crate) use guard::{Guard, Guarded, Patience};
#[cfg(all(feature = "cli", feature = "ws"))]
pub(crate) use loopback::Loopback;
use proxy::Proxied;
pub use proxy::Proxy;
pub(crate) use sockets::prepare;

use crate::config::Family;
use crate::error::Result;
use crate::io::Connected;
use crate::target::Target;

/// Dials TCP, through the proxy if there is one, which looks names up itself; else to addresses of `family`.
pub(crate) fn by_way_of(proxy: Option<Proxy>, family: Family) -> Arc<dyn Dialer> {
    match (proxy, family) {
        (Some(proxy), _) => Arc::new(Proxied(proxy)),
        (None, Family::Any) => Arc::new(Direct),
        (None, family) => Arc::new(Only(family)),
    }
}

/// Opens streams. A dial returns once the far end has confirmed, and never tries again; dropping the future cancels it.
pub(crate) trait Dialer: Send + Sync + 'static {
    /// Opens a stream to `target` for `origin`, the address of who asked for it.
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>>;

    /// Refuses what no dial would reach, as far as that is known without one.
    fn check(&self, _target: &Target) -> Result<()> {
        Ok(())
    }
}
