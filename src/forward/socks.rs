//! SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110 §9.3.6) as listeners of requests, both on one port.
//!
//! The first byte tells them apart. Names are handed on as they came: none is looked up here. Anything else, SOCKS4 too, is closed
//! without an answer, so that a page in a browser cannot make this port talk.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http;
use crate::dial::socks5::{
    CONNECT, IPV4, IPV6, NAME, NO_LOGIN, NONE_ACCEPTED, PASSWORD, PASSWORD_VERSION, Reply, VERSION,
};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::{BoxIo, Connected};
use crate::listen::{Answer, Incoming, Listener, Request};
use crate::target::Target;

/// Longest name (RFC 1035 §2.3.4, as text).
const MAX_NAME: usize = 253;

/// Who may use a proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Login {
    /// Compares in a time that tells nothing of where two differ.
    pub(super) fn is(&self, user: &[u8], password: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| {
            let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
            (differ == 0) & (a.len() == b.len())
        };
        same(self.user.as_bytes(), user) & same(self.password.as_bytes(), password)
    }
}

/// See the module.
pub(crate) struct Socks {
    pub(crate) inner: Box<dyn Listener>,
    pub(crate) login: Option<Arc<Login>>,
}

impl Listener<Request> for Socks {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Request>>> {
        async {
            let Incoming { ends, handshake } = self.inner.accept().await?;
            let login = self.login.clone();
            let request = async move { greet(handshake.await?, login.as_deref()).await };
            Ok(Incoming { ends, handshake: request.boxed() })
        }
        .boxed()
    }
}

async fn greet(mut stream: Connected, login: Option<&Login>) -> Result<Request> {
    let first = stream.io.read_u8().await.map_err(gone)?;
    match first {
        VERSION => socks(stream, login).await,
        b'A'..=b'Z' => http::connect(stream, first, login).await,
        _ => Err(Error::new(Code::Protocol, "neither SOCKS5 nor HTTP")),
    }
}

pub(super) fn gone(error: io::Error) -> Error {
    Error::system("read", "from a proxy's client", error).at(Phase::Stream)
}

async fn socks(mut stream: Connected, login: Option<&Login>) -> Result<Request> {
    log_in(&mut stream.io, login).await?;
    let mut head = [0; 4];
    stream.io.read_exact(&mut head).await.map_err(gone)?;
    let [version, command, _, kind] = head;
    if version != VERSION {
        return Err(Error::new(Code::Protocol, "a SOCKS request of another version"));
    }
    let host = match host(&mut stream.io, kind).await? {
        Some(host) => host,
        None => return Err(deny(stream.io, Reply::AddressType).await),
    };
    let port = stream.io.read_u16().await.map_err(gone)?;
    if command != CONNECT {
        return Err(deny(stream.io, Reply::Command).await);
    }
    let target = match Target::from_open(&host, u32::from(port)) {
        Ok(target @ Target::Tcp(_)) if host.len() <= MAX_NAME => target,
        // A name of ours is no name of a host, whatever else is wrong with it.
        Ok(_) => return Err(deny(stream.io, Reply::NotAllowed).await),
        Err(_) => return Err(deny(stream.io, Reply::Failure).await),
    };
    let origin = stream.ends.remote;
    Ok(Request { target, origin, answer: Box::new(Socks5(stream)) })
}

async fn log_in(io: &mut BoxIo, login: Option<&Login>) -> Result<()> {
    let count = io.read_u8().await.map_err(gone)?;
    let mut methods = vec![0; usize::from(count)];
    io.read_exact(&mut methods).await.map_err(gone)?;
    let method = if login.is_some() { PASSWORD } else { NO_LOGIN };
    if !methods.contains(&method) {
        say(io, &[VERSION, NONE_ACCEPTED]).await?;
        return Err(Error::new(Code::Protocol, "no way to log in that both ends know"));
    }
    say(io, &[VERSION, method]).await?;
    let Some(login) = login else { return Ok(()) };
    let version = io.read_u8().await.map_err(gone)?;
    let (user, password) = (text(io).await?, text(io).await?);
    let accepted = version == PASSWORD_VERSION && login.is(&user, &password);
    say(io, &[PASSWORD_VERSION, u8::from(!accepted)]).await?;
    match accepted {
        true => Ok(()),
        false => Err(Error::new(Code::AuthRejected, "a wrong name or password for the proxy")),
    }
}

async fn text(io: &mut BoxIo) -> Result<Vec<u8>> {
    let len = io.read_u8().await.map_err(gone)?;
    let mut text = vec![0; usize::from(len)];
    io.read_exact(&mut text).await.map_err(gone)?;
    Ok(text)
}

/// The host of a request, `None` for an address type that there is not. A name that is none gives an empty one.
async fn host(io: &mut BoxIo, kind: u8) -> Result<Option<String>> {
    Ok(Some(match kind {
        IPV4 => {
            let mut octets = [0; 4];
            io.read_exact(&mut octets).await.map_err(gone)?;
            std::net::Ipv4Addr::from(octets).to_string()
        }
        NAME => {
            let name = text(io).await?;
            String::from_utf8(name).ok().filter(|name| is_name(name)).unwrap_or_default()
        }
        IPV6 => {
            let mut octets = [0; 16];
            io.read_exact(&mut octets).await.map_err(gone)?;
            std::net::Ipv6Addr::from(octets).to_string()
        }
        _ => return Ok(None),
    }))
}

/// What can be a host's name, or an address as text, or one of alknet's own names.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_control() && !c.is_whitespace() && !"[]/@\\".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(allowed)
}

/// One whole reply in one write: some clients read once.
pub(super) async fn say(io: &mut BoxIo, bytes: &[u8]) -> Result<()> {
    let sent = async {
        io.write_all(bytes).await?;
        io.flush().await
    };
    sent.await.map_err(|e| Error::system("write", "to a proxy's client", e).at(Phase::Stream))
}

fn reply(why: &Error) -> Reply {
    match (why.code(), why.refusal()) {
        (Code::System("ECONNREFUSED"), _) => Reply::Refused,
        (Code::System("ENETUNREACH"), _) => Reply::NetworkUnreachable,
        (Code::System("EHOSTUNREACH" | "ENOTFOUND" | "ETIMEDOUT"), _) => Reply::HostUnreachable,
        (_, Some(Refusal::Prohibited)) => Reply::NotAllowed,
        (_, Some(Refusal::ConnectFailed)) => Reply::Refused,
        (_, Some(Refusal::UnknownType)) => Reply::Command,
        _ => Reply::Failure,
    }
}

/// The address of the far end's socket is not known here: zero, as RFC 1928 has it.
fn bytes(reply: Reply) -> [u8; 10] {
    [VERSION, reply as u8, 0, IPV4, 0, 0, 0, 0, 0, 0]
}

async fn deny(mut io: BoxIo, reply: Reply) -> Error {
    match say(&mut io, &bytes(reply)).await {
        Ok(()) => {
            let _ = io.shutdown().await;
            Error::new(Code::Protocol, format!("a SOCKS request was refused: {reply:?}"))
        }
        Err(e) => e,
    }
}

struct Socks5(Connected);

impl Answer for Socks5 {
    fn accept(mut self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        async move {
            say(&mut self.0.io, &bytes(Reply::Success)).await?;
            Ok(self.0)
        }
        .boxed()
    }

    fn refuse(self: Box<Self>, why: Error) -> BoxFuture<'static, ()> {
        async move { drop(deny(self.0.io, reply(&why)).await) }.boxed()
    }
}
