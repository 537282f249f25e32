//! From this machine. TCP: every address of the name, the next one started when the last has not answered in 250 ms (RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::{Dialer, prepare, udp};
use crate::config::Family;
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::scope::off_thread;
use crate::target::{HostPort, Target};

/// Names that are looked up at once, for everybody of this process. The system takes a thread for each until it has an answer or gives
/// up, whoever still waits for it, and log-ins need such threads too: a quarter of tokio's 512.
const MOST_LOOKUPS: usize = 128;

static LOOKUPS: Semaphore = Semaphore::const_new(MOST_LOOKUPS);

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

/// Dials from this machine, of TCP to addresses of one family alone.
pub(super) struct Only(pub(super) Family);

impl Dialer for Only {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        let Target::Tcp(at) = target else { return Dialer::dial(&Direct, target, origin) };
        async move {
            let mut addresses = resolve(at).await?;
            addresses.retain(|address| self.0.has(address.ip()));
            if addresses.is_empty() {
                return Err(unknown(at, &format!("no {} address", self.0)));
            }
            connect_any(at, &addresses).await
        }
        .boxed()
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
                Target::Udp(at) => udp::connect(at, &resolve(at).await?),
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
    if let Ok(ip) = at.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, at.port)]);
    }
    let turn = LOOKUPS.acquire().await.map_err(|e| unknown(at, &e.to_string()))?;
    let (host, port) = (at.host.clone(), at.port);
    let asking = off_thread(move || {
        // As long as the thread is taken.
        let _turn = turn;
        (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    });
    match asking.await? {
        Ok(found) if found.is_empty() => Err(unknown(at, "no address")),
        Ok(found) => Ok(interleave(found)),
        Err(e) => Err(unknown(at, &e.to_string())),
    }
}

fn unknown(at: &HostPort, why: &str) -> Error {
    Error::new(Code::System("ENOTFOUND"), format!("getaddrinfo ENOTFOUND {} ({why})", at.host))
        .at(Phase::Dns)
        .by("getaddrinfo")
        .address(&at.host, at.port)
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
        if let Some(address) = waiting.next() {
            attempts.push(connect(*address));
        } else if attempts.is_empty() {
            return Err(first_failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        tokio::select! {
            Some(done) = attempts.next() => match done {
                Ok(socket) => return Ok(socket),
                Err(e) => { first_failure.get_or_insert(e); }
            },
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that dials TCP")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A port where a connection neither succeeds nor fails, as behind a firewall that drops: its queue is full.
    #[cfg(target_os = "linux")]
    pub(in crate::dial) fn black_hole() -> (Vec<socket2::Socket>, SocketAddr) {
        let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = new().expect("a socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("a free port");
        listener.listen(0).expect("a listener");
        let at = listener.local_addr().ok().and_then(|at| at.as_socket()).expect("its address");
        let mut kept = vec![listener];
        for _ in 0..4 {
            let waiting = new().expect("a socket");
            waiting.set_nonblocking(true).expect("a socket that does not wait");
            let _ = waiting.connect(&at.into());
            kept.push(waiting);
        }
        (kept, at)
    }

    fn named(port: u16) -> HostPort {
        HostPort { host: "db.internal".into(), port }
    }

    /// Where nobody listens, and somebody does.
    #[expect(clippy::disallowed_methods, reason = "a peer of the test")]
    fn ports() -> (SocketAddr, std::net::TcpListener) {
        let any = ("127.0.0.1", 0);
        let gone = std::net::TcpListener::bind(any).expect("a free port");
        let there = std::net::TcpListener::bind(any).expect("another");
        (gone.local_addr().expect("its address"), there)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn every_answer_of_the_resolver_is_tried() {
        let (_full, silent) = black_hole();
        let (refusing, there) = ports();
        let there = there.local_addr().expect("its address");
        let reached = connect_any(&named(1), &[refusing, silent, there]).await.expect("the third");
        assert_eq!(reached.ends.remote, Some(there));
    }

    #[tokio::test]
    async fn when_none_answers_the_first_failure_is_told() {
        let (refusing, _there) = ports();
        let nowhere: SocketAddr = ([255, 255, 255, 255], 1).into();
        let error = connect_any(&named(5432), &[refusing, nowhere]).await.err().expect("nobody");
        assert_eq!(error.code().as_str(), "ECONNREFUSED");
        assert!(error.to_string().contains("db.internal:5432"), "{error}");
    }

    #[test]
    fn the_families_take_turns() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let [a, b, c] = ["[::1]:1", "[::2]:1", "127.0.0.1:1"].map(at);
        assert_eq!(interleave(vec![a, b, c]), [a, c, b]);
        assert_eq!(interleave(vec![c, a, b]), [c, a, b]);
    }
}
