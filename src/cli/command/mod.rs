//! The commands, each a composition of the library's calls.

mod bus;
mod completion;
mod connect;
mod doctor;
mod keys;
mod passphrase;
mod peer;
mod ready;
mod serve;
mod stdio;
#[cfg(feature = "ws")]
mod tunnel;
mod wishes;

pub(super) use bus::bus;
pub(super) use completion::completion;
pub(super) use connect::connect;
pub(super) use doctor::doctor;
pub(super) use keys::{fingerprint, keygen};
pub(super) use serve::serve;
#[cfg(feature = "ws")]
pub(super) use tunnel::tunnel;
