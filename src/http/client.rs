//! A client's upgrade to a WebSocket.

use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as Failure;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};

use super::socket::{SocketLimits, WebSocket};
use crate::error::{Code, Error, Phase, Result};
use crate::io::BoxIo;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    /// Whether the stream is encrypted, which servers behind proxies want to know.
    pub(crate) secure: bool,
    /// The `Host` header: a name, and the port unless it is that of the scheme.
    pub(crate) authority: String,
    /// With the query, if any: `/alknet`.
    pub(crate) path: String,
    /// The `Authorization` header, whole.
    pub(crate) authorization: Option<String>,
    pub(crate) limits: SocketLimits,
}

/// Asks the server at the other end of `io` for a WebSocket. The caller limits the time. Dropping the future closes the connection.
///
/// # Errors
/// `ERR_ALKNET_PROTOCOL` when the server does not open one, with its answer; system codes.
pub(crate) async fn upgrade(io: BoxIo, wanted: &Upgrade) -> Result<WebSocket> {
    let scheme = if wanted.secure { "wss" } else { "ws" };
    let bad = || Error::config(format!("{}{}: no such address", wanted.authority, wanted.path));
    let url = format!("{scheme}://{}{}", wanted.authority, wanted.path);
    let mut request = url.as_str().into_client_request().map_err(|_| bad())?;
    if let Some(secret) = &wanted.authorization {
        let mut value = HeaderValue::from_str(secret).map_err(|_| bad())?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    match client_async_with_config(request, io, Some(wanted.limits.config())).await {
        Ok((inner, _)) => Ok(WebSocket::from_inner(inner)),
        Err(e) => Err(refused(&wanted.authority, &e)),
    }
}

fn refused(authority: &str, error: &Failure) -> Error {
    match error {
        Failure::Http(answer) => {
            let status = answer.status();
            Error::new(Code::Protocol, format!("{authority} opens no WebSocket there: {status}"))
                .at(Phase::Upgrade)
                .hint("look at the path, and at what stands between: it must pass Upgrade on")
        }
        Failure::Io(e) => {
            let code = Code::System(crate::error::posix_name(e));
            Error::new(code, format!("{authority} ended the WebSocket handshake: {e}"))
                .at(Phase::Upgrade)
        }
        other => Error::new(Code::Protocol, format!("{authority} is no WebSocket server: {other}"))
            .at(Phase::Upgrade),
    }
}
