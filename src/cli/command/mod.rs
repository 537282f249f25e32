//! The commands, each a composition of the library's calls.

#[cfg(unix)]
mod background;
mod bus;
mod completion;
mod config;
mod connect;
mod doctor;
mod first_use;
#[cfg(unix)]
mod forward;
mod keys;
mod passphrase;
mod peer;
mod ready;
mod serve;
mod ssh_config;
mod stdio;
#[cfg(feature = "ws")]
mod tunnel;
mod unwished;
mod up;
mod wishes;

pub(super) use bus::bus;
pub(super) use completion::completion;
pub(super) use config::config;
pub(super) use connect::connect;
pub(super) use doctor::doctor;
#[cfg(unix)]
pub(super) use forward::{forward, outcome};
pub(super) use keys::{fingerprint, keygen};
pub(super) use serve::serve;
#[cfg(feature = "ws")]
#[cfg(feature = "ws")]
pub(super) use tunnel::agent;
pub(super) use tunnel::tunnel;
pub(super) use up::up;

use super::args::Command;
use super::parse::Parsed;
use crate::runtime::Work;

/// What a command will carry.
pub(super) fn work(parsed: &Parsed) -> Work {
    match &parsed.arguments.command {
        #[cfg(unix)]
        Command::Forward(options) => forward::work(options),
        Command::Up(options) => up::work(options, &parsed.layers),
        _ => Work::Sessions,
    }
}
