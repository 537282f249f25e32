//! One connection of an HTTP server, to its end or to its WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::site::{Head, Page, Site, SocketRules, Then, page};
use super::socket::{Role, WebSocket};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{BoxIo, Prefixed};

/// For a request's head, from its first byte or from the end of the last request (reference table: WS upgrade).
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Longest request head, in bytes: as much as nginx and Apache take.
const MOST_HEAD: usize = 16 * 1024;

/// Most headers of a request, as Apache has it.
const MOST_HEADERS: usize = 100;

/// Longest request body, in bytes: no page of ours wants more than a small JSON document.
const MOST_BODY: usize = 64 * 1024;

/// How a connection ended.
pub(crate) enum Served {
    /// With its last answer.
    Closed,
    /// By becoming a WebSocket.
    Upgraded(Box<Upgraded>),
}

/// A WebSocket that a client opened.
pub(crate) struct Upgraded {
    /// [`SocketRules::name`] of its route.
    pub(crate) name: &'static str,
    /// What the `{}` of the route's pattern stands for.
    pub(crate) parameter: Option<String>,
    pub(crate) head: Head,
    pub(crate) socket: WebSocket,
}

/// An upgrade that was promised to the client.
struct Promised {
    rules: Arc<SocketRules>,
    parameter: Option<String>,
    head: Head,
    upgrade: OnUpgrade,
}

/// Answers the requests of one connection. The caller limits the time of all of it; a head that is not there in 10 s ends it.
/// Dropping the future closes the connection.
///
/// # Errors
/// `ERR_ALKNET_PROTOCOL` when the client does not speak HTTP/1.1, was too slow or went away.
pub(crate) async fn serve(io: BoxIo, site: &Arc<Site>) -> Result<Served> {
    let promised: Arc<Mutex<Option<Promised>>> = Arc::default();
    let service = service_fn(|request| {
        let (site, promised) = (Arc::clone(site), Arc::clone(&promised));
        async move { Ok::<_, Infallible>(answer(request, &site, &promised).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    connection.await.map_err(|e| broken(&e))?;
    let Some(promised) = promised.lock().take() else { return Ok(Served::Closed) };
    let Promised { rules, parameter, head, upgrade } = promised;
    let upgraded = upgrade.await.map_err(|e| broken(&e))?;
    let parts = upgraded
        .downcast::<TokioIo<BoxIo>>()
        .map_err(|_| Error::new(Code::Protocol, "the connection is not the one that was served"))?;
    let io: BoxIo = match parts.read_buf.is_empty() {
        true => parts.io.into_inner(),
        false => Box::new(Prefixed::new(parts.read_buf, parts.io.into_inner())),
    };
    let socket = WebSocket::new(io, Role::Server, &rules.limits).await;
    Ok(Served::Upgraded(Box::new(Upgraded { name: rules.name, parameter, head, socket })))
}

fn broken(error: &hyper::Error) -> Error {
    Error::new(Code::Protocol, format!("no HTTP conversation: {error}")).at(Phase::Upgrade)
}

async fn answer(
    request: Request<Incoming>,
    site: &Site,
    promised: &Mutex<Option<Promised>>,
) -> Page {
    let (then, parameter) = site.find(request.uri().path());
    match then {
        Then::Nothing => plain(404),
        Then::Socket(rules) => open(request, rules, parameter, promised),
        Then::Page(answer) => {
            let (head, body) = request.into_parts();
            match Limited::new(body, MOST_BODY).collect().await {
                Ok(body) => answer(head, parameter, body.to_bytes()).await,
                Err(_) => plain(413),
            }
        }
    }
}

/// Promises a WebSocket (RFC 6455 §4.2.2), or says why not.
fn open(
    mut request: Request<Incoming>,
    rules: Arc<SocketRules>,
    parameter: Option<String>,
    promised: &Mutex<Option<Promised>>,
) -> Page {
    let headers = request.headers();
    let asks = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket");
    let accept = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let accept = accept.and_then(|accept| HeaderValue::try_from(accept).ok());
    let is_13 = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let Some(accept) = accept.filter(|_| asks && is_13) else {
        let mut page = plain(426);
        page.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        page.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return page;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    if let Err(status) = rules.check(&head, parameter.as_deref()) {
        return plain(status);
    }
    *promised.lock() = Some(Promised { rules, parameter, head, upgrade });
    let mut page = Response::new(Full::new(Bytes::new()));
    *page.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = page.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    page
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// A page that says its status and no more.
fn plain(status: u16) -> Page {
    page(status, "text/plain; charset=utf-8", format!("{status}\n"))
}
