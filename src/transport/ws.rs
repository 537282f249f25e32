//! SSH in the binary messages of a WebSocket, over TCP or TLS: what passes proxies that know nothing but the web.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::Way;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::config::Transport;
use crate::dial::Dialer;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{SocketIo, SocketLimits, Upgrade, upgrade};
use crate::io::Connected;
use crate::target::{HostPort, Target};

/// For the upgrade, on the client's end (reference table: log-in deadline).
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// A path of a web server.
pub(super) struct WsWay {
    pub(super) at: HostPort,
    pub(super) path: String,
    pub(super) leg: Arc<dyn Dialer>,
    /// `None`: without TLS.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

impl WsWay {
    #[cfg(feature = "tls")]
    fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn is_secure(&self) -> bool {
        false
    }

    #[cfg(feature = "tls")]
    async fn wrapped(&self, leg: Connected, phase: &Mutex<Phase>) -> Result<Connected> {
        let Some(tls) = &self.tls else { return Ok(leg) };
        *phase.lock() = Phase::Tls;
        tls.connect(leg, &self.at).await
    }

    #[cfg(not(feature = "tls"))]
    async fn wrapped(&self, leg: Connected, _phase: &Mutex<Phase>) -> Result<Connected> {
        Ok(leg)
    }

    /// As a browser writes it: without the port that belongs to the scheme.
    fn authority(&self) -> String {
        let HostPort { host, .. } = &self.at;
        match (self.at.port == self.transport().default_port(), host.contains(':')) {
            (true, true) => format!("[{host}]"),
            (true, false) => host.clone(),
            (false, _) => self.at.to_string(),
        }
    }
}

impl Way for WsWay {
    fn transport(&self) -> Transport {
        if self.is_secure() { Transport::Wss } else { Transport::Ws }
    }

    fn dial<'a>(&'a self, phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let leg = self.leg.dial(&Target::Tcp(self.at.clone()), None).await?;
            let Connected { io, mut ends } = self.wrapped(leg, phase).await?;
            *phase.lock() = Phase::Upgrade;
            let wanted = Upgrade {
                authority: self.authority(),
                path: self.path.clone(),
                authorization: None,
                protocol: None,
                limits: SocketLimits::default(),
            };
            let late = |_| {
                let message = format!("{} did not answer the WebSocket request in time", self.at);
                Error::new(Code::HandshakeTimeout, message).at(Phase::Upgrade)
            };
            let opened = tokio::time::timeout(UPGRADE_LIMIT, upgrade(io, &wanted)).await;
            let (socket, _) = opened
                .map_err(late)
                .flatten()
                .map_err(|e| e.address(&self.at.host, self.at.port))?;
            ends.transport = self.transport().as_str();
            Ok(Connected { io: Box::new(SocketIo::new(socket)), ends })
        }
        .boxed()
    }
}
