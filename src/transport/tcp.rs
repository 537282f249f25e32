//! Plain TCP.

use std::io;
use std::net::SocketAddr;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, lookup_host};

use crate::dial::prepare;
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::listen::{Incoming, Listener};
use crate::target::HostPort;

/// A bound TCP port.
pub(crate) struct Tcp {
    listener: TcpListener,
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
        let addresses: Vec<_> = match lookup_host((at.host.as_str(), at.port)).await {
            Ok(found) => found.collect(),
            Err(e) => {
                let message = format!("getaddrinfo ENOTFOUND {} ({e})", at.host);
                let error = Error::new(Code::System("ENOTFOUND"), message);
                return Err(error.at(Phase::Listen).by("getaddrinfo"));
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that binds TCP")]
        let listener = TcpListener::bind(&addresses[..]).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((Self { listener }, address))
    }
}

impl Listener for Tcp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            let (socket, remote) = self.listener.accept().await?;
            prepare(&socket)?;
            let local = socket.local_addr().ok();
            let ends = Ends { remote: Some(remote), local, transport: "tcp" };
            let link = Connected { io: Box::new(socket), ends: ends.clone() };
            Ok(Incoming { ends, handshake: std::future::ready(Ok(link)).boxed() })
        }
        .boxed()
    }
}
