//! Accepting: arrivals whose handshake is still to run, and the one loop that takes them.

mod fixed;
mod serve;

use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;

pub(crate) use fixed::Fixed;
pub(crate) use serve::serve;

use crate::error::{Error, Result};
use crate::io::{Connected, Ends, Io};
use crate::target::Target;

/// Something arrived. Whoever takes it runs the handshake in a task of its own; then it is a `T`.
pub(crate) struct Incoming<T = Connected> {
    pub(crate) ends: Ends,
    pub(crate) handshake: BoxFuture<'static, Result<T>>,
}

/// Yields arrivals: streams, or requests for streams. `accept` is cheap and cancel-safe.
pub(crate) trait Listener<T = Connected>: Send + 'static {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<T>>>;
}

/// Somebody wants to reach `target` and waits for an answer.
pub(crate) struct Request {
    pub(crate) target: Target,
    /// Who asks, when that has an address.
    pub(crate) origin: Option<SocketAddr>,
    pub(crate) answer: Box<dyn Answer>,
}

/// How a request is answered, once it is known whether the target can be reached. Dropped, it refuses.
pub(crate) trait Answer: Send + 'static {
    /// Says yes, and gives the asker's stream.
    fn accept(self: Box<Self>) -> BoxFuture<'static, Result<Connected>>;

    /// The asker's stream, when it hears no yes: what it says may be read before there is one.
    fn asker(&mut self) -> Option<&mut dyn Io> {
        None
    }

    /// Says no, and why.
    fn refuse(self: Box<Self>, why: Error) -> BoxFuture<'static, ()>;
}
