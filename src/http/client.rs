//! A client's end: one request and its answer, or the upgrade to a WebSocket.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::serve::{MOST_HEAD, MOST_HEADERS, has_token, whole};
use super::socket::{Role, Socket, SocketLimits, socket};
use crate::error::{Code, Error, Phase, Result, posix_name};
use crate::io::BoxIo;

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    /// The `Host` header: a name, and the port unless it is that of the scheme.
    pub(crate) authority: String,
    /// With the query, if any: `/alknet`.
    pub(crate) path: String,
    /// The `Authorization` header, whole.
    pub(crate) authorization: Option<String>,
    /// The sub-protocol that is offered. A server need not know it.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) limits: SocketLimits,
}

/// Asks the server at the other end of `io` for a WebSocket, and tells whether it takes the sub-protocol. The caller limits the time.
/// Dropping the future closes the connection.
///
/// # Errors
/// `ERR_ALKNET_AUTH_REJECTED` when the server wants another `Authorization`, `ERR_ALKNET_PROTOCOL` when it does not open a WebSocket
/// for any other reason, with its answer; system codes.
pub(crate) async fn upgrade(io: BoxIo, wanted: &Upgrade) -> Result<(Socket, bool)> {
    let bad = || Error::config(format!("{}{}: no such address", wanted.authority, wanted.path));
    let key = generate_key();
    let request = asking(wanted, &key).ok_or_else(bad)?;
    let opened = talk(io, |mut sender| async move {
        let mut answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((answer, None));
        }
        let upgraded = hyper::upgrade::on(&mut answer).await?;
        Ok((answer, Some(upgraded)))
    });
    let (answer, upgraded) = opened.await.map_err(|e| broken(&wanted.authority, &e))?;
    let is_accepted = answer.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
        == Some(derive_accept_key(key.as_bytes()).as_bytes());
    let upgraded = match upgraded {
        Some(upgraded) if is_accepted && has_token(answer.headers(), &UPGRADE, "websocket") => {
            upgraded
        }
        _ => return Err(refused(&wanted.authority, answer.status())),
    };
    let chosen = answer.headers().get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
    if chosen.is_some() && chosen != wanted.protocol.map(str::as_bytes) {
        let message = format!("{} chose a sub-protocol that was not offered", wanted.authority);
        return Err(Error::new(Code::Protocol, message).at(Phase::Upgrade));
    }
    Ok((socket(whole(upgraded)?, Role::Client, &wanted.limits).await, chosen.is_some()))
}

/// Sends one request, whose URI is absolute, and reads the answer, `longest` bytes of body at most. The caller limits the time.
///
/// # Errors
/// `ERR_ALKNET_PROTOCOL` for what is no answer or too long; system codes.
pub(crate) async fn request<B>(
    io: BoxIo,
    mut request: Request<B>,
    longest: usize,
) -> Result<Response<Bytes>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bad = || Error::config("a request without a host");
    let authority = request.uri().authority().ok_or_else(bad)?.to_string();
    let host = HeaderValue::from_str(&authority).map_err(|_| bad())?;
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().cloned().ok_or_else(bad)?;
    *request.uri_mut() = path.into();
    let answered = talk(io, |mut sender| async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok((head, Limited::new(body, longest).collect().await))
    });
    let (head, body) = answered.await.map_err(|e| broken(&authority, &e))?;
    let body = body.map_err(|e| {
        Error::new(Code::Protocol, format!("{authority} gives an answer that cannot be used: {e}"))
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// Reads the page at `path`, `longest` bytes of it at most: its status, and what it says. The caller limits the time.
///
/// # Errors
/// Those of [`request`].
pub(crate) async fn get(
    io: BoxIo,
    authority: &str,
    path: &str,
    authorization: Option<&str>,
    longest: usize,
) -> Result<(u16, Bytes)> {
    let mut asked = Request::get(format!("http://{authority}{path}"));
    if let Some(secret) = authorization {
        asked = asked.header(AUTHORIZATION, secret);
    }
    let asked = asked.body(Full::<Bytes>::default());
    let asked = asked.map_err(|_| Error::config(format!("{authority}{path}: no such address")))?;
    let (head, body) = request(io, asked, longest).await?.into_parts();
    Ok((head.status.as_u16(), body))
}

fn asking(wanted: &Upgrade, key: &str) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(&wanted.path)
        .header(HOST, &wanted.authority)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key);
    if let Some(protocol) = wanted.protocol {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(secret) = &wanted.authorization {
        let mut value = HeaderValue::from_str(secret).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::default()).ok()
}

/// One conversation on `io`, driven until `ask` has what it wants.
async fn talk<T, B, F>(io: BoxIo, ask: impl FnOnce(SendRequest<B>) -> F) -> Result<T, hyper::Error>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Result<T, hyper::Error>>,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .title_case_headers(true)
        .handshake(TokioIo::new(io))
        .await?;
    let mut connection = pin!(connection.with_upgrades());
    let mut asking = pin!(ask(sender));
    tokio::select! {
        asked = &mut asking => asked,
        // It ends with the upgrade, or has told the other why it broke.
        _ = &mut connection => asking.await,
    }
}

fn refused(authority: &str, status: StatusCode) -> Error {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::AuthRejected,
        _ => Code::Protocol,
    };
    Error::new(code, format!("{authority} opens no WebSocket there: {status}"))
        .at(Phase::Upgrade)
        .hint("look at the path, and at what stands between: it must pass Upgrade on")
}

fn broken(authority: &str, error: &hyper::Error) -> Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(e) => Error::new(
            Code::System(posix_name(e)),
            format!("{authority} ended the HTTP conversation: {e}"),
        ),
        None => Error::new(Code::Protocol, format!("{authority} is no web server: {error}")),
    }
    .at(Phase::Upgrade)
}
