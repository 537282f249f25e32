//! One connection of an HTTP server, to its end or to its WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::site::{Head, Page, Parts, Site, SocketRules, Then, page};
use super::socket::{Role, Socket, socket};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{BoxIo, Prefixed};

/// For a request's head, from its first byte or from the end of the last request (reference table: WS upgrade).
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Longest head of a request or an answer, in bytes: as much as nginx and Apache take.
pub(super) const MOST_HEAD: usize = 16 * 1024;

/// Most headers of either, as Apache has it.
pub(super) const MOST_HEADERS: usize = 100;

/// Longest request body, in bytes: no page of ours wants more than a small JSON document.
const MOST_BODY: usize = 64 * 1024;

/// Told to who calls a server by a name that wants to be called by none.
const BY_NAME: &str =
    "Call this server by its address, or as localhost: it lets in whoever asks.\n";

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
    /// What stands for each `{}` of the route's pattern.
    pub(crate) parts: Parts,
    pub(crate) head: Arc<Head>,
    /// The sub-protocol that both ends speak, one of [`SocketRules::protocols`].
    pub(crate) protocol: Option<&'static str>,
    pub(crate) socket: Socket,
}

/// An upgrade that was promised to the client.
struct Promised {
    rules: Arc<SocketRules>,
    parts: Parts,
    head: Head,
    protocol: Option<&'static str>,
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
    let Promised { rules, parts, head, protocol, upgrade } = promised;
    let io = whole(upgrade.await.map_err(|e| broken(&e))?)?;
    let socket = socket(io, Role::Server, &rules.limits).await;
    let (name, head) = (rules.name, Arc::new(head));
    Ok(Served::Upgraded(Box::new(Upgraded { name, parts, head, protocol, socket })))
}

/// The connection again that was upgraded, with what came along.
pub(super) fn whole(upgraded: hyper::upgrade::Upgraded) -> Result<BoxIo> {
    let parts = upgraded
        .downcast::<TokioIo<BoxIo>>()
        .map_err(|_| Error::new(Code::Protocol, "the connection is not the one that was served"))?;
    Ok(match parts.read_buf.is_empty() {
        true => parts.io.into_inner(),
        false => Box::new(Prefixed::new(parts.read_buf, parts.io.into_inner())),
    })
}

fn broken(error: &hyper::Error) -> Error {
    Error::new(Code::Protocol, format!("no HTTP conversation: {error}")).at(Phase::Upgrade)
}

async fn answer(
    request: Request<Incoming>,
    site: &Site,
    promised: &Mutex<Option<Promised>>,
) -> Page {
    if !site.welcomes(request.headers()) {
        return page(403, "text/plain; charset=utf-8", BY_NAME);
    }
    let (then, parts) = site.find(request.uri().path());
    match then {
        Then::Socket(rules) => match unfit(&request, &rules) {
            None => promise(request, rules, parts, promised),
            Some(_) if rules.is_hidden => show(site.nowhere(), request, Parts::new()).await,
            Some(page) => page,
        },
        then => show(then, request, parts).await,
    }
}

async fn show(then: Then, request: Request<Incoming>, parts: Parts) -> Page {
    let Then::Page(answer) = then else { return plain(404) };
    let (head, body) = request.into_parts();
    match Limited::new(body, MOST_BODY).collect().await {
        Ok(body) => answer(head, parts, body.to_bytes()).await,
        Err(_) => plain(413),
    }
}

/// What is answered to a request that asks for no WebSocket (RFC 6455 §4.2.1), or may not; `None` when it may.
fn unfit(request: &Request<Incoming>, rules: &SocketRules) -> Option<Page> {
    let headers = request.headers();
    let is_13 = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let is_one = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && asks_for_socket(headers);
    if is_one && is_13 && headers.contains_key(SEC_WEBSOCKET_KEY) {
        return (!rules.fit(headers)).then(|| plain(403));
    }
    let mut page = plain(426);
    page.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    page.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Some(page)
}

/// Promises a WebSocket to who is admitted.
fn promise(
    mut request: Request<Incoming>,
    rules: Arc<SocketRules>,
    parts: Parts,
    promised: &Mutex<Option<Promised>>,
) -> Page {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    if let Some(Err(page)) = rules.admit.as_ref().map(|admit| admit(&head, &parts)) {
        return *page;
    }
    let key = head.headers.get(SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    let Ok(accept) = HeaderValue::try_from(derive_accept_key(key)) else { return plain(400) };
    let spoken = |name: &&&str| has_token(&head.headers, &SEC_WEBSOCKET_PROTOCOL, name);
    let protocol = rules.protocols.iter().find(spoken).copied();
    *promised.lock() = Some(Promised { rules, parts, head, protocol, upgrade });
    let mut page = Response::new(Full::new(Bytes::new()));
    *page.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = page.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    page
}

/// Whether a request wants to become a WebSocket.
pub(crate) fn asks_for_socket(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

/// A page that says its status and no more.
fn plain(status: u16) -> Page {
    page(status, "text/plain; charset=utf-8", format!("{status}\n"))
}
