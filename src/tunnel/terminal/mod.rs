//! Terminals: JSON texts between a user and a runner, records on a stream between a runner and whoever has the shell (docs/wire.md).

mod message;
mod near;
#[cfg(unix)]
mod pty;
mod record;
mod screen;
mod text;

pub(crate) use message::{Size, fault};
pub(crate) use near::{Key, Near};
#[cfg(unix)]
pub(crate) use pty::{shell, usual_shell};
pub(crate) use screen::screen;
pub(crate) use text::Utf8;
