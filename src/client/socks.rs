//! Composition of a dynamic forward: a SOCKS5 and HTTP CONNECT proxy × where its connections go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::running::Running;
use super::{ForwardOptions, Route};
use crate::config::Bind;
use crate::error::{Error, Result};
use crate::forward::{Forward, ForwardMetrics, Login, Socks};
use crate::transport::bind;

/// Who may use a proxy: RFC 1929 for SOCKS5, `Proxy-Authorization: Basic` for HTTP.
#[derive(Clone)]
pub struct SocksLogin {
    /// 1 to 255 bytes, without a colon.
    pub user: String,
    /// 1 to 255 bytes.
    pub password: String,
}

impl std::fmt::Debug for SocksLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocksLogin").finish_non_exhaustive()
    }
}

/// A dynamic forward, `ssh -D`: a SOCKS5 proxy (CONNECT alone), and an HTTP CONNECT proxy on the same port. Dropping it ends it and
/// its connections at once.
///
/// Names go to the far end unresolved. A client has 10 s to say what it wants, and hears why it does not get it. What is neither
/// SOCKS5 nor HTTP is closed without an answer.
pub struct SocksForwarder {
    running: Running,
    addresses: Vec<SocketAddr>,
}

impl SocksForwarder {
    /// Listens. Returns once connections can come.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` for the address to listen on; `ERR_ALKNET_CONFIG` for the login.
    pub async fn start(
        listen: &Bind,
        login: Option<&SocksLogin>,
        route: impl Into<Route>,
        options: &ForwardOptions,
    ) -> Result<Self> {
        let login = login.map(check).transpose()?.map(Arc::new);
        let dialer = route.into().dialer();
        let bound = bind(listen, options.replace_stale_socket, options.family).await?;
        let running = Running::new(Forward::limited(dialer, options.bounds()));
        for inner in bound.listeners {
            running.serve(Box::new(Socks { inner, login: login.clone() }));
        }
        Ok(Self { running, addresses: bound.addresses })
    }

    /// The addresses listened on, with real ports; none for a Unix socket.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has done so far.
    pub fn metrics(&self) -> ForwardMetrics {
        self.running.forward.metrics()
    }

    /// Stops listening, and lets the connections go on.
    pub async fn stop_listening(&self) {
        self.running.stop_listening().await;
    }

    /// Waits until there is no connection, `limit` at most. For after [`Self::stop_listening`].
    pub async fn drain(&self, limit: Duration) {
        self.running.drain(limit).await;
    }

    /// Stops listening, resets the connections and waits until they are gone, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.running.close().await;
    }
}

fn check(login: &SocksLogin) -> Result<Login> {
    let SocksLogin { user, password } = login;
    let fits = |text: &str| (1..=255).contains(&text.len());
    if !fits(user) || !fits(password) || user.contains(':') {
        return Err(Error::config(
            "a proxy's user and password have 1 to 255 bytes, and the user no colon",
        ));
    }
    Ok(Login { user: user.clone(), password: password.clone() })
}

impl std::fmt::Debug for SocksForwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocksForwarder").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
