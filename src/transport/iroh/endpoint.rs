//! Endpoints: a server's own, and the one that all sessions of a process dial from.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use iroh::endpoint::{AckFrequencyConfig, Builder, NetReportConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, RelayMap, RelayMode, RelayUrl, SecretKey, Watcher};
use tokio::net::lookup_host;
use tokio::runtime::{Handle, Id};
use tokio::sync::Mutex;

use super::home::{Home, Plan};
use super::relay::Relay;
use super::{ALPN, Bridge, StartBridge};
use crate::dial::Proxy;
use crate::error::{Code, Error, Phase, Result};
use crate::scope::Scope;
use crate::target::HostPort;

/// How long the peers of an endpoint that goes may take to hear of it (reference table: iroh).
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Silence after which a peer is gone, whatever SSH's own keepalive says.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What one peer may send before it is read: of its stream, and in all (reference table: iroh).
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Attempts in a row after which an endpoint whose relay is not there is not dialled from any more: with the pauses between them about a
/// minute (reference table: iroh).
const MOST_FAILED: u32 = 3;

/// Packets that a peer may receive without acknowledging them at once; without this it is 1 (RFC 9000 §13.2.2). What SSH says goes back
/// and forth, and an acknowledgement that goes along costs no packet. Less than half of the window that a connection begins with, which
/// must not have to wait for the 25 ms that an acknowledgement may take.
const UNACKNOWLEDGED: u32 = 4;

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
    relay: Option<Relay>,
    proxy: Option<Proxy>,
}

/// An endpoint. Dropped, it is closed, and its peers are told.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    scope: Scope,
    bridge: Option<Bridge>,
    /// Streams there are.
    pub(super) streams: AtomicUsize,
    /// Attempts to dial from it that failed, since the last that did not.
    failed: AtomicU32,
}

/// An attempt to dial. Dropped before it is told to have succeeded, it has failed.
pub(super) struct Dial<'a>(Option<&'a Shared>);

impl Dial<'_> {
    pub(super) fn succeeded(mut self) {
        if let Some(shared) = self.0.take() {
            shared.failed.store(0, Relaxed);
        }
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.failed.fetch_add(1, Relaxed);
        }
    }
}

impl Shared {
    pub(super) fn dial(&self) -> Dial<'_> {
        Dial(Some(self))
    }

    /// Whether it has led nowhere for long: its relay is not there, nor any stream, and the last attempts have failed.
    fn is_stuck(&self) -> bool {
        self.failed.load(Relaxed) >= MOST_FAILED
            && self.streams.load(Relaxed) == 0
            && !self.endpoint.home_relay_status().get().iter().any(|relay| relay.is_connected())
    }

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
    relay: Option<&Relay>,
    proxy: Option<&(Proxy, StartBridge)>,
) -> Result<Arc<Shared>> {
    let through = proxy.map(|(proxy, _)| proxy.clone());
    let fit = Use { runtime: Handle::current().id(), relay: relay.cloned(), proxy: through };
    let mut known = DIALLING.lock().await;
    let found = known.iter().position(|dialling| dialling.fit == fit);
    // Others still dial from one that is stuck: with its key, the two would take the relay from each other.
    let found = found.map(|at| known.remove(at)).filter(|found| {
        found.shared.upgrade().is_none_or(|shared| relay.is_none() || !shared.is_stuck())
    });
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
    let mut builder = builder(key.clone(), relay, true)?;
    let bridge = match (proxy, relay) {
        (Some((proxy, start)), Some(relay)) => {
            // Nobody else on this machine is to use it: a fresh key is as good as any password.
            let password = SecretKey::generate().public().to_string();
            let bridge = start(proxy.clone(), relay.place()?, password).await?;
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
    relay: Option<Relay>,
    patience: Duration,
    scope: &Scope,
) -> Result<Home> {
    let found = lookup_host((at.host.as_str(), at.port)).await;
    let address: Option<SocketAddr> = found.ok().and_then(|mut all| all.next());
    let address = address.ok_or_else(|| {
        let message = format!("getaddrinfo ENOTFOUND {}", at.host);
        Error::new(Code::System("ENOTFOUND"), message).at(Phase::Listen).by("getaddrinfo")
    })?;
    let (key, scope) = (SecretKey::from_bytes(key), scope.clone());
    Home::new(Plan { address, key, relay, scope }, patience).await
}

/// With `quic` the relay is asked first thing which address it sees, if it can be.
pub(super) fn builder(key: SecretKey, relay: Option<&Relay>, quic: bool) -> Result<Builder> {
    let relays = relay
        .map_or(RelayMode::Disabled, |relay| RelayMode::Custom(RelayMap::from(relay.config(quic))));
    let mut reports = NetReportConfig::default();
    // Else the relay's host is asked for a page in the clear.
    reports.captive_portal_check = false;
    let streams = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(1_u32.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .ack_frequency_config(Some(acknowledge_seldom()))
        .max_idle_timeout(IDLE_LIMIT.try_into().ok())
        .build();
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(key)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(relays)
        .net_report_config(reports)
        .transport_config(streams);
    match relay {
        Some(relay) => relay.trusted(builder),
        None => Ok(builder),
    }
}

fn acknowledge_seldom() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(UNACKNOWLEDGED.into());
    config
}

/// Everything by the relay, and nothing past the proxy: no UDP, no look-up of the relay's name.
fn through_proxy(builder: Builder, relay: &Relay, proxy: RelayUrl) -> Builder {
    let relays = RelayMap::from(relay.config(false));
    builder.clear_ip_transports().relay_mode(RelayMode::Custom(relays)).proxy_url(proxy.into())
}

pub(super) async fn bind(
    builder: Builder,
    scope: &Scope,
    bridge: Option<Bridge>,
) -> Result<Arc<Shared>> {
    let endpoint = builder.bind().await.map_err(|e| {
        Error::new(Code::System("EADDRNOTAVAIL"), format!("cannot bind an endpoint: {e}"))
            .at(Phase::Tcp)
    })?;
    let (streams, failed) = (AtomicUsize::new(0), AtomicU32::new(0));
    Ok(Arc::new(Shared { endpoint, scope: scope.clone(), bridge, streams, failed }))
}
