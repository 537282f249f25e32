//! The client's side of HTTP CONNECT (RFC 9110 §9.3.6): one request, the head of one response, then bytes.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use base64ct::{Base64, Encoding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Denial, Host, Login};
use crate::io::BoxIo;

/// Longest head of a response, and most header fields in it: what common proxies send is far below.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// Of what a proxy says of a status, how much is repeated.
const MAX_REASON: usize = 80;

/// Has the proxy at the other end of `io` connect to `host`. Gives what came behind its answer, which is the target's.
pub(super) async fn ask(
    io: &mut BoxIo,
    host: &Host<'_>,
    port: u16,
    login: Option<&Login>,
) -> Result<Vec<u8>, Denial> {
    io.write_all(&request(host, port, login)).await?;
    io.flush().await?;
    let mut head = Vec::new();
    loop {
        match parse(&head)? {
            // An interim response; another follows.
            Some((100..200, _, end)) => drop(head.drain(..end)),
            Some((200..300, _, end)) => return Ok(head.split_off(end)),
            Some((status, reason, _)) => return Err(denial(status, &reason, login.is_some())),
            None if head.len() < MAX_HEAD => {
                let room = MAX_HEAD - head.len();
                if io.take(room as u64).read_buf(&mut head).await? == 0 {
                    return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
                }
            }
            None => return Err(Denial::new("answered with too long a head")),
        }
    }
}

fn request(host: &Host<'_>, port: u16, login: Option<&Login>) -> Zeroizing<Vec<u8>> {
    let authority = match host {
        Host::Address(IpAddr::V6(v6)) => format!("[{v6}]:{port}"),
        Host::Address(IpAddr::V4(v4)) => format!("{v4}:{port}"),
        Host::Name(name) => format!("{name}:{port}"),
    };
    let mut request = Zeroizing::new(Vec::with_capacity(2048));
    request.extend(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").bytes());
    if let Some(login) = login {
        let plain = Zeroizing::new(format!("{}:{}", login.user, login.password.as_str()));
        let coded = Zeroizing::new(Base64::encode_string(plain.as_bytes()));
        request.extend(b"Proxy-Authorization: Basic ");
        request.extend(coded.bytes());
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    request
}

/// Status, reason and where the head ends; `None` while it is not whole.
fn parse(head: &[u8]) -> Result<Option<(u16, String, usize)>, Denial> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head).map_err(|_| Denial::new("does not answer in HTTP"))?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    let reason = response.reason.unwrap_or_default();
    let printable = |c: &char| c.is_ascii_graphic() || *c == ' ';
    let reason = reason.chars().filter(printable).take(MAX_REASON).collect();
    Ok(Some((response.code.unwrap_or_default(), reason, end)))
}

fn denial(status: u16, reason: &str, logged_in: bool) -> Denial {
    match (status, logged_in) {
        (407, true) => Denial::new("does not accept this user and password (407)"),
        (407, false) => Denial::new("wants a log-in, and none was given (407)"),
        _ => {
            let what = format!("answered {status} {reason}");
            match status {
                403 => Denial::prohibited(what.trim_end()),
                504 => Denial::of_target(what.trim_end(), ErrorKind::TimedOut),
                _ => Denial::new(what.trim_end()),
            }
        }
    }
}
