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

use futures_util::FutureExt;
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
use crate::io::{Connected, Io};
use crate::target::Target;

/// Dials TCP, through the proxy if there is one, which looks names up itself; else to addresses of `family`.
pub(crate) fn by_way_of(proxy: Option<Proxy>, family: Family) -> Arc<dyn Dialer> {
    match (proxy, family) {
        (Some(proxy), _) => Arc::new(Proxied(proxy)),
        (None, Family::Any) => Arc::new(Direct),
        (None, family) => Arc::new(Only(family)),
    }
}

/// A stream whose far end may not have confirmed.
pub(crate) struct Early {
    pub(crate) stream: Connected,
    /// Bytes of the asker's that were sent.
    pub(crate) sent: u64,
    /// The answer, when that is still to come. After a refusal the stream has failed.
    pub(crate) answer: Option<BoxFuture<'static, Result<()>>>,
}

impl Early {
    /// The far end has confirmed.
    pub(crate) fn answered(stream: Connected) -> Self {
        Self { stream, sent: 0, answer: None }
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

    /// The same for an asker that hears no answer. May send what it says first along, and return before the far end has confirmed.
    /// Dropping the future then loses what was sent.
    fn dial_early<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
        _asker: &'a mut dyn Io,
    ) -> BoxFuture<'a, Result<Early>> {
        async move { Ok(Early::answered(self.dial(target, origin).await?)) }.boxed()
    }

    /// Refuses what no dial would reach, as far as that is known without one.
    fn check(&self, _target: &Target) -> Result<()> {
        Ok(())
    }
}
