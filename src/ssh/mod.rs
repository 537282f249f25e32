//! SSH sessions over any byte stream. The only room that sees russh's sessions; it opens no socket.

mod accept;
mod agent;
mod authenticate;
mod backlog;
mod channel;
mod client;
mod consumer;
mod core;
mod elastic;
mod events;
mod flush;
mod forwarded;
mod forwarding;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod greeting;
mod link;
mod login;
mod open;
mod opening;
mod prelude;
mod rate;
mod refusals;
mod requests;
mod server;
mod session;
mod settings;
mod silence;
mod state;
mod stream;
mod written;

pub(crate) use accept::accept;
pub(crate) use agent::count_keys;
pub(crate) use backlog::Backlog;
pub(crate) use client::{Login, handshake};
pub use events::{Events, Observer, Read};
pub(crate) use forwarded::Remote;
pub(crate) use forwarding::{Forwarding, Listening, Wanted};
pub(crate) use open::ANSWER_LIMIT;
pub(crate) use server::Policy;
pub(crate) use session::Traffic;
pub use session::{Info, Session};
pub use settings::Keepalive;
pub(crate) use settings::{DEFAULT_REKEY_BYTES, DEFAULT_WINDOW, ServerConfigs, SessionSettings};
pub use stream::Stream;
