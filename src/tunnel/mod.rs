//! The tunnel into containers: user → host → runner → agent → service, in the 8-byte protocol of docs/wire.md.
//!
//! `frame`, `flow` and `mux` are pure: no sockets, no clock, no tasks. A `Link` is a multiplexer on a WebSocket, at the two ends; in
//! between runner and host pass messages on.

mod agent;
mod carry;
mod connection;
mod face;
mod flow;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod host;
#[cfg(feature = "cli")]
mod inside;
#[cfg(feature = "nats")]
mod leases;
#[cfg(not(feature = "nats"))]
#[path = "no_leases.rs"]
mod leases;
mod link;
mod mux;
mod outbox;
#[cfg(test)]
mod pair;
mod reach;
mod registry;
mod routes;
mod runner;
mod session;
mod socket;
mod stead;
mod stream;
#[cfg(feature = "cli")]
mod terminal;
mod token;
mod user;

pub(crate) use agent::{Asks, TERMINAL};
pub(crate) use host::{First, first, pass, pass_terminal, refuse, welcome};
pub(crate) use leases::{Lease, Leases};
pub(crate) use link::{Link, Traffic};
pub(crate) use reach::{Manner, fetch, is_loopback, reach};
pub(crate) use registry::{Place, Registry, RunnerPlace, SshPlace, status_of_agent, task_of};
pub(crate) use runner::Runner;
pub(crate) use socket::{Url, rules, terminal_rules, token};
#[cfg(all(unix, feature = "cli"))]
pub(crate) use terminal::{Key, Near, Size, Utf8, shell, usual_shell};
#[cfg(feature = "cli")]
pub(crate) use terminal::{fault, screen};
pub(crate) use token::Tokens;
pub(crate) use user::{begin, dial, open};
