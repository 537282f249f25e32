//! Dialling: from a target to a byte stream. Knows sockets, not SSH.

mod direct;
mod guard;
mod sockets;

use std::net::SocketAddr;

use futures_util::future::BoxFuture;

pub(crate) use direct::Direct;
#[cfg(unix)]
pub(crate) use direct::socket_name;
pub(crate) use guard::{Guard, Guarded};
pub(crate) use sockets::prepare;

use crate::error::Result;
use crate::io::Connected;
use crate::target::Target;

/// Opens streams. A dial returns once the far end has confirmed, and never tries again; dropping the future cancels it.
pub(crate) trait Dialer: Send + Sync + 'static {
    /// Opens a stream to `target` for `origin`, the address of who asked for it.
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>>;
}
