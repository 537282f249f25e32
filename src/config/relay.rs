//! How the relay of a server that listens by iroh stands.

use crate::error::Error;

/// How the relay of [`crate::ServeOptions::iroh_relay`] stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The relay, as it was given.
    pub url: String,
    /// Whether the server is connected to it, so that peers find it there.
    pub connected: bool,
    /// How often the server's endpoint was built anew because it had neither the relay nor a peer, see [`crate::Limits::relay_timeout`].
    pub rebuilt: u32,
    /// Why it is not connected, as far as that is known: `EHOSTUNREACH`. `None` while it is.
    pub error: Option<Error>,
}
