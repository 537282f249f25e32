//! From this machine. TCP: every address of the name, the next one started when the last has not answered in 250 ms (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};

use super::{Dialer, prepare, udp};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::target::{HostPort, Target};

/// Head start of each address over the next (RFC 8305 §5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// Dials from this machine.
pub(crate) struct Direct;

impl Direct {
    /// Resolves `at` and connects to the first address that answers. Dropping the future cancels.
    ///
    /// # Errors
    /// `ENOTFOUND` for the name, else the first address's failure under its own name (`ECONNREFUSED`, `EHOSTUNREACH`, …).
    pub(crate) async fn dial(&self, at: &HostPort) -> Result<Connected> {
        connect_any(at, &resolve(at).await?).await
    }
}

/// Connects to the first of `addresses` that answers, which are those of `at`.
pub(super) async fn connect_any(at: &HostPort, addresses: &[SocketAddr]) -> Result<Connected> {
    let socket = race(addresses).await.map_err(|e| {
        Error::system("connect", &at.to_string(), e).at(Phase::Tcp).address(&at.host, at.port)
    })?;
    prepare(&socket).map_err(|e| Error::system("setsockopt", &at.to_string(), e))?;
    let ends = Ends {
        remote: socket.peer_addr().ok(),
        local: socket.local_addr().ok(),
        transport: "tcp",
        ..Ends::default()
    };
    Ok(Connected { io: Box::new(socket), ends })
}

impl Dialer for Direct {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            match target {
                Target::Tcp(at) => self.dial(at).await,
                Target::Unix(path) => unix(path).await,
                Target::Udp(at) => udp::connect(at, &resolve(at).await?).await,
                Target::Reserved(_) => Err(unreachable_by_nature(target)),
            }
        }
        .boxed()
    }
}

/// What names no place on a network.
fn unreachable_by_nature(target: &Target) -> Error {
    Error::config(format!("target {target}: cannot be dialled from here"))
}

#[cfg(unix)]
pub(super) async fn unix(path: &str) -> Result<Connected> {
    let socket = UnixStream::connect(socket_name(path))
        .await
        .map_err(|e| Error::system("connect", path, e).at(Phase::Tcp))?;
    let ends = Ends { transport: "unix", ..Ends::default() };
    Ok(Connected { io: Box::new(socket), ends })
}

#[cfg(not(unix))]
pub(super) async fn unix(path: &str) -> Result<Connected> {
    Err(Error::config(format!("target {path}: this system has no Unix sockets")))
}

/// `@name` is Linux's abstract socket of that name, whose address begins with a zero byte.
#[cfg(unix)]
pub(crate) fn socket_name(path: &str) -> std::path::PathBuf {
    match path.strip_prefix('@') {
        Some(name) => format!("\0{name}").into(),
        None => path.into(),
    }
}

pub(super) async fn resolve(at: &HostPort) -> Result<Vec<SocketAddr>> {
    let unknown = |why: &str| {
        Error::new(Code::System("ENOTFOUND"), format!("getaddrinfo ENOTFOUND {} ({why})", at.host))
            .at(Phase::Dns)
            .by("getaddrinfo")
            .address(&at.host, at.port)
    };
    match lookup_host((at.host.as_str(), at.port)).await {
        Ok(found) => {
            let found: Vec<_> = found.collect();
            if found.is_empty() { Err(unknown("no address")) } else { Ok(interleave(found)) }
        }
        Err(e) => Err(unknown(&e.to_string())),
    }
}

/// Alternates the address families, in the order the resolver preferred (RFC 8305 §4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut all = Vec::new();
    for address in first {
        all.push(address);
        all.extend(second.next());
    }
    all.extend(second);
    all
}

async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut first_failure = None;
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            attempts.push(connect(*address));
        } else if attempts.is_empty() {
            return Err(first_failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        tokio::select! {
            Some(done) = attempts.next() => match done {
                Ok(socket) => return Ok(socket),
                Err(e) => { first_failure.get_or_insert(e); }
            },
            () = tokio::time::sleep(STAGGER), if next.is_some() => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that dials TCP")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}
