//! Dialling: from a host and a port to a byte stream. Knows sockets, not SSH.

mod direct;

use std::net::SocketAddr;

pub(crate) use direct::{Direct, prepare};

use crate::io::BoxIo;

/// A stream that a dial or an accept gave, and who is at its ends.
pub(crate) struct Link {
    pub(crate) io: BoxIo,
    pub(crate) ends: Ends,
}

/// The addresses at the two ends of a transport.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The other end, when the transport has addresses.
    pub(crate) remote: Option<SocketAddr>,
    /// This end.
    pub(crate) local: Option<SocketAddr>,
    /// The transport's name: `tcp`.
    pub(crate) transport: &'static str,
}
