//! The user's end of a session: from a WebSocket to a dialer of the container's ports.

use std::sync::Arc;

use super::agent::connected;
use super::connection::Connection;
use super::frame::{Proto, readable};
use super::host::{First, first};
use super::link::Link;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{Message, Socket};
use crate::io::Connected;
use crate::target::Target;

/// Waits until a session has begun.
///
/// # Errors
/// `ERR_ALKNET_CHANNEL_REJECTED` with what the host or the runner said, `ERR_ALKNET_HANDSHAKE_TIMEOUT`, `ERR_ALKNET_PROTOCOL`.
pub(crate) async fn begin(mut socket: Socket, extended: bool) -> Result<(Arc<Link>, Socket)> {
    match first(&mut socket).await {
        First::Said(Message::Text(text)) if text.as_str() == "CONNECTED" => {
            Ok((Link::opener(extended), socket))
        }
        First::Said(Message::Text(text)) => {
            let why = text.strip_prefix("Error:").unwrap_or(&text).trim();
            Err(Error::new(Code::ChannelRejected, readable(why)).at(Phase::Channel))
        }
        First::Said(_) => {
            Err(Error::new(Code::Protocol, "no tunnel is spoken there").at(Phase::Tcp))
        }
        First::Late => {
            let why = "the host did not begin the session in time";
            Err(Error::new(Code::HandshakeTimeout, why).at(Phase::Channel))
        }
        First::Gone => {
            let why = "the host has closed the session";
            Err(Error::new(Code::SessionClosed, why).at(Phase::Channel))
        }
    }
}

/// A link as a dialer: the host of a target does not matter, its port does.
pub(crate) async fn dial(link: &Arc<Link>, target: &Target) -> Result<Connected> {
    let (proto, port) = match target {
        Target::Tcp(at) => (Proto::Tcp, at.port),
        Target::Udp(at) => (Proto::Udp, at.port),
        _ => return Err(Error::config("a tunnel leads to TCP and UDP ports")),
    };
    Ok(connected(link.open(proto, port).await?, proto))
}

/// A connection to a TCP port.
pub(crate) async fn open(link: &Arc<Link>, port: u16) -> Result<Connection> {
    link.open(Proto::Tcp, port).await
}
