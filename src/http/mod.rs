//! HTTP/1.1 on any byte stream, and WebSockets out of it: a server by paths, and a client's upgrade.

mod client;
mod io;
pub(crate) mod raw;
mod serve;
mod site;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use client::{Upgrade, upgrade};
pub(crate) use hyper::header::HeaderValue;
pub(crate) use io::SocketIo;
pub(crate) use serve::{Served, Upgraded, serve};
pub(crate) use site::{Head, Page, Site, SocketRules, page};
pub(crate) use socket::{CloseCode, Message, Receiver, Sender, SocketLimits, WebSocket};
