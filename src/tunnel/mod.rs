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
mod socket;
mod stead;
mod stream;
mod token;
mod user;

pub(crate) use agent::Asks;
pub(crate) use host::{First, first, pass, refuse, welcome};
pub(crate) use leases::{Lease, Leases};
pub(crate) use link::{Link, Traffic};
pub(crate) use reach::{Manner, is_loopback, reach};
pub(crate) use registry::{Place, Registry, SshPlace, status_of_agent};
pub(crate) use runner::Runner;
pub(crate) use socket::{Url, rules, token};
pub(crate) use token::Tokens;
pub(crate) use user::{begin, dial, open};
