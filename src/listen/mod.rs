//! Accepting: arrivals whose handshake is still to run, and the one loop that takes them.

mod serve;

use std::io;

use futures_util::future::BoxFuture;

pub(crate) use serve::serve;

use crate::error::Result;
use crate::io::{Connected, Ends};

/// Something arrived. Whoever takes it runs the transport's own handshake in a task of its own.
pub(crate) struct Incoming {
    pub(crate) ends: Ends,
    pub(crate) handshake: BoxFuture<'static, Result<Connected>>,
}

/// Yields arrivals. `accept` is cheap and cancel-safe.
pub(crate) trait Listener: Send + 'static {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>>;
}
