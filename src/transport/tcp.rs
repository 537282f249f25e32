//! Plain TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::Way;
use crate::config::Transport;
use crate::dial::{Dialer, prepare};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::listen::{Incoming, Listener};
use crate::target::{HostPort, Target};

/// Connections that wait to be accepted; the system cuts this to its own limit.
const BACKLOG: u32 = 1024;

/// Free ports tried until one is free in both address families.
const TRIES: usize = 16;

/// Arrivals closed in one go when there is no descriptor left for them: about a listen backlog.
const MOST_SHED: usize = 128;

/// A server's TCP port.
pub(super) struct TcpWay {
    pub(super) at: HostPort,
    pub(super) leg: Arc<dyn Dialer>,
}

impl Way for TcpWay {
    fn transport(&self) -> Transport {
        Transport::Tcp
    }

    fn dial<'a>(&'a self, _phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>> {
        let at = Target::Tcp(self.at.clone());
        async move { self.leg.dial(&at, None).await }.boxed()
    }
}

/// A bound TCP port.
pub(crate) struct Tcp {
    listener: TcpListener,
    /// A descriptor to do without when there is no other: who arrives then is told so at once, and does not wait for nothing.
    spare: Option<Socket>,
}

impl Tcp {
    /// Binds the first address of `at` that can be bound.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND`.
    pub(crate) async fn bind(at: &HostPort) -> Result<(Self, SocketAddr)> {
        let failed = |e| {
            Error::system("listen", &at.to_string(), e).at(Phase::Listen).address(&at.host, at.port)
        };
        let addresses = look_up(at).await?;
        #[expect(clippy::disallowed_methods, reason = "the one place that binds TCP")]
        let listener = TcpListener::bind(&addresses[..]).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((Self { listener, spare: spare() }, address))
    }

    /// Binds every address of `at`, all on one port.
    ///
    /// # Errors
    /// Those of [`Tcp::bind`], for the first address that fails.
    pub(crate) async fn bind_every(at: &HostPort) -> Result<Vec<(Self, SocketAddr)>> {
        let ips: Vec<_> = look_up(at).await?.iter().map(SocketAddr::ip).collect();
        bind_together(&ips, at.port, &[])
    }

    /// Binds the loopback addresses on one port; that of IPv6 only where there is one.
    ///
    /// # Errors
    /// Those of [`Tcp::bind`].
    pub(crate) fn bind_loopback(port: u16) -> Result<Vec<(Self, SocketAddr)>> {
        bind_together(&[Ipv4Addr::LOCALHOST.into()], port, &[Ipv6Addr::LOCALHOST.into()])
    }

    /// Binds every address of this machine on one port; those of IPv6 only where there are any.
    ///
    /// # Errors
    /// Those of [`Tcp::bind`].
    pub(crate) fn bind_all(port: u16) -> Result<Vec<(Self, SocketAddr)>> {
        bind_together(&[Ipv4Addr::UNSPECIFIED.into()], port, &[Ipv6Addr::UNSPECIFIED.into()])
    }
}

async fn look_up(at: &HostPort) -> Result<Vec<SocketAddr>> {
    match lookup_host((at.host.as_str(), at.port)).await {
        Ok(found) => Ok(found.collect()),
        Err(e) => {
            let message = format!("getaddrinfo ENOTFOUND {} ({e})", at.host);
            let error = Error::new(Code::System("ENOTFOUND"), message);
            Err(error.at(Phase::Listen).by("getaddrinfo"))
        }
    }
}

/// Binds all of `needed`, and those of `wanted` whose address this machine has, on one port.
fn bind_together(
    needed: &[IpAddr],
    port: u16,
    wanted: &[IpAddr],
) -> Result<Vec<(Tcp, SocketAddr)>> {
    let mut tries = if port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_at(needed, port, wanted) {
            // The port that was free for the first address is taken for another.
            Err(e) if tries > 0 && e.code() == Code::System("EADDRINUSE") => {}
            done => return done,
        }
    }
}

fn bind_at(needed: &[IpAddr], mut port: u16, wanted: &[IpAddr]) -> Result<Vec<(Tcp, SocketAddr)>> {
    let mut bound = Vec::new();
    let ips = needed.iter().map(|ip| (ip, true)).chain(wanted.iter().map(|ip| (ip, false)));
    for (ip, needed) in ips {
        let at = SocketAddr::new(*ip, port);
        let opened = open(at).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((Tcp { listener, spare: spare() }, address))
        });
        match opened {
            Ok((listener, address)) => {
                port = address.port();
                bound.push((listener, address));
            }
            Err(e) if !needed && is_absent(&e) => tracing::debug!("no such address family here"),
            Err(e) => {
                let failed = Error::system("listen", &at.to_string(), e).at(Phase::Listen);
                return Err(failed.address(ip.to_string(), port));
            }
        }
    }
    Ok(bound)
}

/// The machine has no such address: `EADDRNOTAVAIL`, or `EAFNOSUPPORT`, which std names `Uncategorized` (97 on Linux, 47 on BSD, 10047).
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(97 | 47 | 10_047))
}

/// One family alone, so that `0.0.0.0` and `::` can be had together.
fn open(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            SockRef::from(&socket).set_only_v6(true)?;
            socket
        }
    };
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

impl Listener for Tcp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            let (socket, remote) = match self.listener.accept().await {
                Err(e) if is_out_of_descriptors(&e) => {
                    self.shed();
                    return Err(e);
                }
                accepted => accepted?,
            };
            // One that cannot be prepared has gone already.
            prepare(&socket).map_err(|_| io::ErrorKind::ConnectionAborted)?;
            let local = socket.local_addr().ok();
            let ends = Ends { remote: Some(remote), local, transport: "tcp", ..Ends::default() };
            let link = Connected { io: Box::new(socket), ends: ends.clone() };
            Ok(Incoming { ends, handshake: std::future::ready(Ok(link)).boxed() })
        }
        .boxed()
    }
}

impl Tcp {
    /// Closes who waits to be accepted.
    fn shed(&mut self) {
        let mut closed = 0;
        while closed < MOST_SHED {
            self.spare = None;
            let Some(Ok(arrival)) = self.listener.accept().now_or_never() else { break };
            drop(arrival);
            closed += 1;
        }
        self.spare = spare();
        tracing::warn!(closed, "out of file descriptors");
    }
}

/// Any descriptor will do.
fn spare() -> Option<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, None).ok()
}

/// EMFILE and ENFILE of accept(2), WSAEMFILE of Windows.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}
