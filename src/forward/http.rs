//! HTTP CONNECT (RFC 9110 §9.3.6): the head of one request, then bytes.

use base64ct::{Base64, Encoding};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socks::{Login, gone, is_name, say};
use crate::error::{Code, Error, Refusal, Result};
use crate::io::{BoxIo, Connected, Prefixed};
use crate::listen::{Answer, Request};
use crate::target::{HostPort, Target};

/// Longest head of a request, and most header fields in it: what common servers take.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// What a head asks for.
struct Wanted {
    target: Option<Target>,
    is_connect: bool,
    is_welcome: bool,
    /// Where what comes after the head begins.
    end: usize,
}

/// Reads a request that begins with `first`, and answers it unless it is a CONNECT.
pub(super) async fn connect(
    mut stream: Connected,
    first: u8,
    login: Option<&Login>,
) -> Result<Request> {
    let mut head = vec![first];
    let wanted = loop {
        match parse(&head, login) {
            Ok(Some(wanted)) => break wanted,
            Ok(None) if head.len() < MAX_HEAD => {}
            _ => return Err(deny(stream.io, "400 Bad Request", "").await),
        }
        let room = MAX_HEAD - head.len();
        let read = (&mut stream.io).take(room as u64).read_buf(&mut head).await.map_err(gone)?;
        if read == 0 {
            return Err(gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
    };
    if !wanted.is_connect {
        return Err(deny(stream.io, "405 Method Not Allowed", "Allow: CONNECT\r\n").await);
    }
    if !wanted.is_welcome {
        let how = "Proxy-Authenticate: Basic realm=\"alknet\"\r\n";
        return Err(deny(stream.io, "407 Proxy Authentication Required", how).await);
    }
    let Some(target) = wanted.target else {
        return Err(deny(stream.io, "400 Bad Request", "").await);
    };
    let origin = stream.ends.remote;
    // Bytes that came along with the head belong to the target.
    let io = Prefixed::new(head.split_off(wanted.end), stream.io);
    let stream = Connected { io: Box::new(io), ends: stream.ends };
    Ok(Request { target, origin, answer: Box::new(Http(stream)) })
}

/// `None` while the head is not whole.
fn parse(head: &[u8], login: Option<&Login>) -> Result<Option<Wanted>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let bad = |_| Error::new(Code::Protocol, "no HTTP request");
    let httparse::Status::Complete(end) = request.parse(head).map_err(bad)? else {
        return Ok(None);
    };
    let is_connect = request.method == Some("CONNECT");
    let target = request.path.and_then(authority);
    let shown = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case("proxy-authorization"));
    let is_welcome =
        login.is_none_or(|login| shown.is_some_and(|field| is_login(field.value, login)));
    Ok(Some(Wanted { target, is_connect, is_welcome, end }))
}

/// The target of a CONNECT: a host, in brackets if it is an IPv6 address, and a port.
fn authority(text: &str) -> Option<Target> {
    let at = HostPort::parse(text, None).ok()?;
    match Target::from_open(&at.host, u32::from(at.port)).ok()? {
        target @ Target::Tcp(_) if is_name(&at.host) => Some(target),
        _ => None,
    }
}

/// `Basic` and the base64 of `user:password` (RFC 7617).
fn is_login(value: &[u8], login: &Login) -> bool {
    let Some(space) = value.iter().position(|byte| *byte == b' ') else { return false };
    let coded = value[space..].trim_ascii();
    let Ok(plain) = Base64::decode_vec(str::from_utf8(coded).unwrap_or_default()) else {
        return false;
    };
    let Some(colon) = plain.iter().position(|byte| *byte == b':') else { return false };
    let is_basic = value[..space].eq_ignore_ascii_case(b"basic");
    is_basic & login.is(&plain[..colon], &plain[colon + 1..])
}

async fn deny(mut io: BoxIo, status: &str, field: &str) -> Error {
    let response =
        format!("HTTP/1.1 {status}\r\n{field}Connection: close\r\nContent-Length: 0\r\n\r\n");
    match say(&mut io, response.as_bytes()).await {
        Ok(()) => {
            let _ = io.shutdown().await;
            Error::new(Code::Protocol, format!("an HTTP request was answered {status}"))
        }
        Err(e) => e,
    }
}

struct Http(Connected);

impl Answer for Http {
    fn accept(mut self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        async move {
            say(&mut self.0.io, b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            Ok(self.0)
        }
        .boxed()
    }

    fn refuse(self: Box<Self>, why: Error) -> BoxFuture<'static, ()> {
        let status = match (why.code(), why.refusal()) {
            (Code::System("ETIMEDOUT") | Code::Reconnecting, _) => "504 Gateway Timeout",
            (_, Some(Refusal::Prohibited)) => "403 Forbidden",
            (_, Some(Refusal::ResourceShortage)) => "503 Service Unavailable",
            _ => "502 Bad Gateway",
        };
        async move { drop(deny(self.0.io, status, "").await) }.boxed()
    }
}
