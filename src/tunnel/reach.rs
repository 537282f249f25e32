//! From a URL to a WebSocket.

use std::net::IpAddr;
use std::time::Duration;

use super::socket::{Url, ask};
use crate::dial::Direct;
use crate::error::{Code, Error, Phase, Result};
use crate::http::Socket;

/// Longest connect, over all addresses (reference table: outbound).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Opens `path` below a URL. Also says whether that end knows what is ours.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for what would go over a network in the clear, unless `insecure`; those of a dial; those of [`ask`].
pub(crate) async fn reach(
    url: &Url,
    path: &str,
    token: Option<&str>,
    insecure: bool,
) -> Result<(Socket, bool)> {
    if url.secure {
        return Err(Error::config("a tunnel cannot be reached by wss yet"));
    }
    if !insecure && !is_loopback(&url.at.host) {
        return Err(Error::config(format!(
            "ws://{}: nobody may read along but on this machine",
            url.at
        ))
        .hint("use wss, or --insecure on a network that is yours"));
    }
    let dialled = tokio::time::timeout(CONNECT_LIMIT, Direct.dial(&url.at)).await;
    let stream = dialled.unwrap_or_else(|_| {
        let late = format!("nobody answered at {} in time", url.at);
        Err(Error::new(Code::System("ETIMEDOUT"), late).at(Phase::Tcp))
    })?;
    ask(stream.io, &url.at, &format!("{}{path}", url.path), token).await
}

/// Whether a name or address cannot lead anywhere else.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
