//! Which container, through which host.

use std::sync::Arc;

use crate::auth::KeySource;
use crate::client::Reconnect;
use crate::error::{Error, Result};
use crate::http::{Socket, segment};
use crate::scope::off_thread;
use crate::tunnel::{Link, Manner, Url, begin, reach};

/// What [`super::Tunnel::new`] needs. Only `host` and `task` have no default that works.
#[derive(Clone, Default)]
pub struct TunnelOptions {
    /// The host: a name or address, `host:port` (default port 8000), or a URL, `ws://` or `wss://`.
    pub host: String,
    /// The task's number.
    pub task: String,
    /// What the host wants to be shown. Default: none.
    pub token: Option<String>,
    /// Goes over a network without TLS. Default false: `ERR_ALKNET_CONFIG` for `ws://` beyond loopback.
    pub insecure: bool,
    /// For `wss://`: certificates in PEM form to trust instead of the public roots.
    pub tls_ca: Option<KeySource>,
    /// For `wss://`: the name that the certificate must have. Default: that in `host`.
    pub tls_server_name: Option<String>,
    /// How the session comes back.
    pub reconnect: Reconnect,
    /// The port that the session is asked for at the host, who does not mind: connections name their own. Default 0: none in particular.
    pub port: u16,
    /// Whether the session is announced as one for UDP; what runs in it does not depend on it. Default false.
    pub udp: bool,
}

impl std::fmt::Debug for TunnelOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.token.is_some();
        f.debug_struct("TunnelOptions").field("token", &shown).finish_non_exhaustive()
    }
}

impl TunnelOptions {
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(super) async fn place(&self) -> Result<Place> {
        let task = self.task.parse::<i64>();
        let task = task.map_err(|_| Error::config("a task's id is a number"))?;
        let proto = if self.udp { "udp" } else { "tcp" };
        let path = format!(
            "/ws/forward/{}/{}?proto={proto}",
            segment(&task.to_string()),
            self.port.max(1)
        );
        let host = Url::of_host(&self.host)?;
        let ca = match self.tls_ca.clone() {
            Some(source) => Some(off_thread(move || source.contents(false)).await??.to_vec()),
            None => None,
        };
        let manner = Manner { insecure: self.insecure, ca, name: self.tls_server_name.clone() };
        Ok(Place { host, path, token: self.token.clone(), manner })
    }
}

/// The same, looked at.
pub(super) struct Place {
    host: Url,
    path: String,
    token: Option<String>,
    manner: Manner,
}

impl Place {
    /// One attempt at a session.
    ///
    /// # Errors
    /// Those of [`super::Tunnel::new`].
    pub(super) async fn begin(&self) -> Result<(Arc<Link>, Socket)> {
        let token = self.token.as_deref();
        let (socket, extended) = reach(&self.host, &self.path, token, self.manner.clone()).await?;
        begin(socket, extended).await
    }
}
