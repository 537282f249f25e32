//! HTTP/1.1 on any byte stream, and WebSockets out of it: a server by paths, and a client's requests and upgrade.

mod client;
mod io;
mod path;
mod serve;
mod site;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use client::{Upgrade, get, request, upgrade};
pub(crate) use hyper::Request;
pub(crate) use hyper::header::HeaderValue;
pub(crate) use io::SocketIo;
pub(crate) use path::{decoded, query, segment};
pub(crate) use serve::{Served, Upgraded, asks_for_socket, serve};
pub(crate) use site::{Head, Page, Site, SocketRules, bearer, page};
pub(crate) use socket::{CloseCode, CloseFrame, Failure, Message, Socket, SocketLimits, Utf8Bytes};
