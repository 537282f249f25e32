//! Endpoints: a server's own, and the one that all sessions of a process dial from.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use iroh::endpoint::{Builder, NetReportConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, RelayConfig, RelayMap, RelayMode, RelayUrl, SecretKey};
use tokio::net::lookup_host;
use tokio::runtime::{Handle, Id};
use tokio::sync::Mutex;

use super::{ALPN, Bridge, StartBridge};
use crate::dial::Proxy;
use crate::error::{Code, Error, Phase, Result};
use crate::scope::Scope;
use crate::target::HostPort;

/// How long the peers of an endpoint that goes may take to hear of it (reference table: iroh).
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Silence after which a peer is gone, whatever SSH's own keepalive says.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What one peer may send before it is read: of its stream, and in all (reference table: iroh).
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Uses whose key is remembered: a process has one, or one for each relay that it goes by.
const MOST_KEPT: usize = 64;

/// What sessions dial from, of every runtime. The endpoint goes with the last of them, and its key stays: a server counts a client by it.
static DIALLING: Mutex<Vec<Dialling>> = Mutex::const_new(Vec::new());

struct Dialling {
    fit: Use,
    key: SecretKey,
    shared: Weak<Shared>,
}

/// What makes an endpoint fit for a dial.
#[derive(PartialEq, Eq)]
struct Use {
    runtime: Id,
    relay: Option<RelayUrl>,
    proxy: Option<Proxy>,
}

/// An endpoint. Dropped, it is closed, and its peers are told.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    scope: Scope,
    bridge: Option<Bridge>,
}

impl Shared {
    /// Ready when the proxy has failed to lead to the relay, `since` then.
    pub(super) async fn bridge_failure(&self, since: Instant) -> Error {
        let Some(mut failed) = self.bridge.as_ref().map(|bridge| bridge.failed.clone()) else {
            return std::future::pending().await;
        };
        loop {
            if let Some((at, error)) = &*failed.borrow_and_update()
                && *at >= since
            {
                return error.clone();
            }
            if failed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let endpoint = self.endpoint.clone();
        self.scope.spawn_to_end(async move {
            let _ = tokio::time::timeout(CLOSE_LIMIT, endpoint.close()).await;
        });
    }
}

/// The endpoint to dial from. Its key is the process's own: who logs in is proved by SSH.
pub(super) async fn dialling(
    relay: Option<&RelayUrl>,
    proxy: Option<&(Proxy, StartBridge)>,
) -> Result<Arc<Shared>> {
    let through = proxy.map(|(proxy, _)| proxy.clone());
    let fit = Use { runtime: Handle::current().id(), relay: relay.cloned(), proxy: through };
    let mut known = DIALLING.lock().await;
    let found = known.iter().position(|dialling| dialling.fit == fit);
    let found = found.map(|at| known.remove(at));
    if let Some(found) = found.as_ref().and_then(|found| found.shared.upgrade())
        && !found.endpoint.is_closed()
    {
        known.push(Dialling {
            fit,
            key: found.endpoint.secret_key().clone(),
            shared: Arc::downgrade(&found),
        });
        return Ok(found);
    }
    let key = found.map_or_else(SecretKey::generate, |found| found.key);
    let mut builder = builder(key.clone(), relay);
    let bridge = match (proxy, relay) {
        (Some((proxy, start)), Some(relay)) => {
            // Nobody else on this machine is to use it: a fresh key is as good as any password.
            let password = SecretKey::generate().public().to_string();
            let bridge = start(proxy.clone(), place_of(relay)?, password).await?;
            let url: RelayUrl =
                bridge.url.parse().map_err(|_| Error::config("the proxy has no URL"))?;
            builder = through_proxy(builder, relay, url);
            Some(bridge)
        }
        _ => None,
    };
    let bound = bind(builder, &Scope::new(), bridge).await;
    let shared = bound.as_ref().map(Arc::downgrade).unwrap_or_default();
    known.push(Dialling { fit, key, shared });
    // The one that was used last is at the end.
    let most = known.len().saturating_sub(MOST_KEPT);
    known.drain(..most);
    bound
}

/// A server's endpoint at the first address of `at`.
pub(super) async fn listening(
    at: &HostPort,
    key: &[u8; 32],
    relay: Option<&RelayUrl>,
    scope: &Scope,
) -> Result<Arc<Shared>> {
    let found = lookup_host((at.host.as_str(), at.port)).await;
    let address: Option<SocketAddr> = found.ok().and_then(|mut all| all.next());
    let address = address.ok_or_else(|| {
        let message = format!("getaddrinfo ENOTFOUND {}", at.host);
        Error::new(Code::System("ENOTFOUND"), message).at(Phase::Listen).by("getaddrinfo")
    })?;
    let failed = |e: &dyn std::fmt::Display| {
        Error::new(Code::System("EADDRINUSE"), format!("listen {at} for iroh: {e}"))
            .at(Phase::Listen)
            .by("listen")
            .address(&at.host, at.port)
    };
    let builder = builder(SecretKey::from_bytes(key), relay).clear_ip_transports();
    let builder = builder.bind_addr(address).map_err(|e| failed(&e))?;
    bind(builder, scope, None).await.map_err(|e| failed(&e))
}

fn builder(key: SecretKey, relay: Option<&RelayUrl>) -> Builder {
    let relays = relay.map_or(RelayMode::Disabled, |relay| {
        let mut config = RelayConfig::from(relay.clone());
        // Without TLS it has no QUIC either, and to look for that costs seconds before the relay is used.
        config.quic = config.quic.filter(|_| relay.scheme() == "https");
        RelayMode::Custom(RelayMap::from(config))
    });
    let mut reports = NetReportConfig::default();
    // Else the relay's host is asked for a page in the clear.
    reports.captive_portal_check = false;
    let quic = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .max_idle_timeout(IDLE_LIMIT.try_into().ok())
        .build();
    Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(relays)
        .net_report_config(reports)
        .transport_config(quic)
}

/// Everything by the relay, and nothing past the proxy: no UDP, no look-up of the relay's name.
fn through_proxy(builder: Builder, relay: &RelayUrl, proxy: RelayUrl) -> Builder {
    let relays = RelayMap::from(RelayConfig::new(relay.clone(), None));
    builder.clear_ip_transports().relay_mode(RelayMode::Custom(relays)).proxy_url(proxy.into())
}

/// Host and port of a relay, as its client asks a proxy for them.
fn place_of(relay: &RelayUrl) -> Result<HostPort> {
    let host = relay.host_str().unwrap_or_default();
    let port = relay.port_or_known_default().unwrap_or_default();
    HostPort::parse(&format!("{host}:{port}"), None)
}

async fn bind(builder: Builder, scope: &Scope, bridge: Option<Bridge>) -> Result<Arc<Shared>> {
    let endpoint = builder.bind().await.map_err(|e| {
        Error::new(Code::System("EADDRNOTAVAIL"), format!("cannot bind an endpoint: {e}"))
            .at(Phase::Tcp)
    })?;
    Ok(Arc::new(Shared { endpoint, scope: scope.clone(), bridge }))
}
