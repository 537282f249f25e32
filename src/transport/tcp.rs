//! Plain TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket};

use super::Way;
use super::ports::look_up;
use crate::config::Transport;
use crate::dial::{Dialer, prepare};
use crate::error::{Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::listen::{Incoming, Listener};
use crate::target::{HostPort, Target};

/// Connections that wait to be accepted; the system cuts this to its own limit.
const BACKLOG: u32 = 1024;

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

    /// Binds `at`, and says which port that became.
    pub(super) fn open(at: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = open(at)?;
        let address = listener.local_addr()?;
        Ok((Self { listener, spare: spare() }, address))
    }
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
