//! Composition, server side: options → listener, sessions, accepted streams.

mod admit;
mod bus;
mod forward;
mod front;
mod listening;
mod metrics;
mod options;
#[cfg(all(feature = "cli", feature = "ws"))]
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::auth::{Gate, HostKey, KeyLists, KeyRing, Locked, Papers, wipe_stack};
use crate::config::{AcmeStatus, RelayStatus, Transport};
use crate::error::{Error, Result};
use crate::event::BusMetrics;
use crate::scope::Scope;
use crate::ssh::{Backlog, Events, Observer, Policy, ServerConfigs, SessionSettings, Stream};

use admit::accept_all;
use bus::Bus;
pub use bus::{Authorize, BusOptions, EventBus};
pub use forward::ForwardPolicy;
use forward::offer;
use front::Front;
use listening::Bindings;
pub use options::ServeOptions;
#[cfg(all(feature = "cli", feature = "ws"))]
pub(crate) use tunnel::{
    AgentEvent, AgentOptions, HostOptions, RunnerOptions, TunnelOptions, TunnelServer, run_agent,
};

/// How long `close` waits for sessions to say good-bye.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// How long `serve` waits for its relay: so long may relays take to answer when the iroh crate looks which there are.
const RELAY_LIMIT: Duration = Duration::from_secs(3);

/// How often the file of authorised keys is looked at. With the 2 s that a session may take to close, a key that is taken out
/// is out after 5 s (reference table).
const RECHECK: Duration = Duration::from_secs(3);

/// A listening server. Dropping it ends it and every session at once.
pub struct Server {
    scope: Scope,
    /// Of the accept loops alone.
    accepting: Scope,
    /// A permit for each stream that there may be, of all sessions.
    channels: Arc<Semaphore>,
    most_channels: usize,
    bindings: Bindings,
    addresses: Vec<SocketAddr>,
    host_key: String,
    host_key_fingerprint: String,
    keys: Arc<KeyRing>,
    front: Front,
    backlog: Arc<Backlog>,
    bus: Option<Bus>,
    metrics: Option<SocketAddr>,
}

/// Starts listening. With a relay, peers find the server there as soon as this is done; a relay that does not answer holds it up for 3 s, and is
/// tried further, see [`Server::relay`].
///
/// # Errors
/// `ERR_ALKNET_CONFIG`, `ERR_ALKNET_KEY_INVALID`; `EADDRINUSE`, `EACCES` and other system codes.
pub async fn serve(options: &ServeOptions) -> Result<Server> {
    let settings = session_settings(options)?;
    options.limits.check()?;
    let scope = Scope::new();
    let (key, keys) = load_keys(options, &scope).await?;
    let front = Front::open(options, &scope).await?;
    // The future of an endpoint is deep, and compilers give up on one that is within too many.
    let (listeners, bindings) = Box::pin(front.listen(options, &scope)).await?;
    let addresses: Vec<_> = bindings.listening.iter().map(|(_, address)| *address).collect();
    let forwarding = options
        .forwarding
        .as_ref()
        .map(|policy| offer(policy, &addresses, options.proxy.as_ref(), &scope))
        .transpose()?;
    let limits = &options.limits;
    let backlog = Backlog::new(limits.max_pending);
    let bus = Bus::start(options.bus.as_ref(), &backlog, &scope).await?;
    let most_channels = limits.max_channels.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let channels = Arc::new(Semaphore::new(most_channels));
    let policy = Arc::new(Policy {
        configs: ServerConfigs::new(
            &key.private,
            key.certificate.as_ref(),
            settings,
            limits.max_auth_attempts,
        ),
        keys: Arc::clone(&keys),
        host_key_fingerprint: key.fingerprint.clone(),
        window: options.window,
        limits: limits.clone(),
        channels: Arc::clone(&channels),
        backlog: Arc::clone(&backlog),
        control: options.control || bus.is_some(),
        forwarding,
    });
    wipe_stack();
    scope.spawn(watch_keys(Arc::clone(&keys), scope.clone()));
    let gate = Gate::new(limits)?;
    let metrics = metrics::answer(options.metrics.as_deref(), bus.as_ref(), &scope).await?;
    let accepting = accept_all(listeners, &gate, &policy, &scope);
    front.begin(&scope);
    let server = Server {
        scope,
        accepting,
        channels,
        most_channels,
        bindings,
        addresses,
        host_key: key.public,
        host_key_fingerprint: key.fingerprint,
        keys,
        front,
        backlog,
        bus,
        metrics,
    };
    server.meet_relay().await;
    Ok(server)
}

fn session_settings(options: &ServeOptions) -> Result<SessionSettings> {
    let ServeOptions { window, keepalive, rekey_bytes, .. } = *options;
    SessionSettings { window, keepalive, rekey_bytes }.checked()
}

/// Files and key derivation block, so not here.
async fn load_keys(options: &ServeOptions, scope: &Scope) -> Result<(HostKey, Arc<KeyRing>)> {
    let lists = KeyLists {
        keys: options.authorized_keys.clone(),
        authorities: options.cert_authority.clone(),
        revoked: options.revoked_keys.clone(),
        insecure_permissions: options.insecure_permissions,
    };
    if lists.keys.is_none() && lists.authorities.is_none() {
        return Err(Error::config("nobody could log in: authorizedKeys is missing").hint(
            "give the path of an authorized_keys file, or its contents in a Buffer; or certAuthority",
        ));
    }
    let (host_key, passphrase) = (options.host_key.clone(), options.host_key_passphrase.clone());
    let papers = Papers::of(options.host_certificate.as_ref(), None);
    let insecure_permissions = options.insecure_permissions;
    let work = move || {
        let ring = KeyRing::open(lists)?;
        let locked = host_key.as_ref().map(|source| Locked {
            source,
            passphrase: passphrase.as_ref(),
            insecure_permissions,
        });
        let key = HostKey::load_or_make(locked)?.certified(&papers)?;
        Ok((key, Arc::new(ring)))
    };
    scope.blocking(work).await?
}

/// Looks at the file of keys while there are sessions, which end with their key. Log-ins look for themselves.
async fn watch_keys(keys: Arc<KeyRing>, scope: Scope) {
    while keys.may_change() {
        tokio::time::sleep(RECHECK).await;
        if keys.is_watched() {
            let keys = Arc::clone(&keys);
            let _ = scope.blocking(move || keys.refresh()).await;
        }
    }
}

impl Server {
    /// The next stream that a client opened; `None` once the server is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Stream> {
        if self.bus.is_some() {
            self.scope.cancelled().await;
            return None;
        }
        self.scope.until_cancelled(self.backlog.accept()).await
    }

    /// The next stream that waits. When there is none, the observer is told [`crate::Events::READABLE`] of the next.
    pub fn try_accept(&self) -> Option<Stream> {
        // They are the bus's.
        if self.bus.is_some() {
            return None;
        }
        self.backlog.try_accept()
    }

    /// How the certificate of [`ServeOptions::acme`] stands; `None` without it.
    pub fn acme(&self) -> Option<AcmeStatus> {
        self.front.acme()
    }

    /// How the relay of [`ServeOptions::iroh_relay`] stands; `None` without it, and for a server that does not listen by iroh.
    pub fn relay(&self) -> Option<RelayStatus> {
        self.bindings.status.as_ref().map(|status| status.borrow().clone())
    }

    /// Told of every change of [`Server::relay`] from now on.
    pub(crate) fn relay_changes(&self) -> Option<watch::Receiver<RelayStatus>> {
        let mut status = self.bindings.status.clone();
        status.iter_mut().for_each(watch::Receiver::mark_unchanged);
        status
    }

    /// Waits for the relay, so long as may be.
    async fn meet_relay(&self) {
        let Some(mut status) = self.relay_changes() else { return };
        let connected = status.wait_for(|status| status.connected);
        if tokio::time::timeout(RELAY_LIMIT, connected).await.is_err() {
            tracing::warn!("the relay does not answer yet; it is tried further");
        }
    }

    /// Sets who is told of arrivals, by [`Events::FINISHED`] of every change of [`Server::acme`], and by [`Events::CHANGED`] of those of
    /// [`Server::relay`].
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.front.observe(&observer);
        if let Some(mut status) = self.relay_changes() {
            let observer = Arc::clone(&observer);
            self.scope.spawn(async move {
                while status.changed().await.is_ok() {
                    observer.notify(Events::CHANGED);
                }
            });
        }
        self.backlog.observe(observer);
    }

    /// A stream to the server's bus, for the program itself: its events carry no sender. `None` without a bus.
    pub fn bus(&self) -> Option<Stream> {
        self.bus.as_ref().map(|bus| bus.join(&self.scope))
    }

    /// What the server's bus has done so far. `None` without a bus.
    pub fn bus_metrics(&self) -> Option<BusMetrics> {
        self.bus.as_ref().map(Bus::metrics)
    }

    /// Where counters are served, with the real port.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The addresses listened on, with real ports, each with what listens there.
    pub fn listening(&self) -> &[(Transport, SocketAddr)] {
        &self.bindings.listening
    }

    /// The endpoint id of a server that listens by iroh: 64 hex digits.
    pub fn endpoint_id(&self) -> Option<String> {
        self.bindings.endpoint.map(|id| id.to_string())
    }

    /// The addresses listened on, with real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads the authorised keys, authorities and revoked keys again, and the TLS certificate, and nothing else. Sessions whose key may no longer log in (it is gone, it has expired, or it
    /// is not for their address) are told so and closed, within 2 s.
    ///
    /// A list without any line lets nobody in. Keys given in memory cannot change, but may have expired.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID`, `ERR_ALKNET_CONFIG` when no line is usable, the file's own failure: the old keys stay.
    pub async fn reload(&self) -> Result<()> {
        let keys = Arc::clone(&self.keys);
        let front = self.front.clone();
        self.scope.blocking(move || keys.reload().and(front.reload())).await?
    }

    /// Lines of the authorised keys that are not used, and why: `authorized_keys line 3: option 1 is not known`.
    pub fn warnings(&self) -> Vec<String> {
        self.keys.list().warnings().to_vec()
    }

    /// `SHA256:…` of the host key.
    pub fn host_key_fingerprint(&self) -> &str {
        &self.host_key_fingerprint
    }

    /// The host's public key, `ssh-ed25519 AAAA…`.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Server and host key in one string, for [`crate::ConnectOptions::connection_string`]: the first address that is listened on,
    /// and its transport unless that is TCP. A wildcard address is given as loopback.
    pub fn connection_string(&self) -> String {
        let key = self.host_key_fingerprint.replace('+', "-").replace('/', "_");
        self.bindings.connection_string(&key, &self.front.path)
    }

    /// Stops listening and opening streams, waits until there are none, `limit` at most, and closes. Streams of a bus are ended once each
    /// has what was published before.
    pub async fn drain(&self, limit: Duration) {
        self.accepting.cancel();
        // To have all permits is to know that no stream is open, and to keep others from being opened.
        let idle =
            self.channels.acquire_many(u32::try_from(self.most_channels).unwrap_or(u32::MAX));
        let bus = async {
            if let Some(bus) = &self.bus {
                bus.drain().await;
            }
        };
        let _idle = tokio::time::timeout(limit, async { tokio::join!(idle, bus).0 }).await;
        self.close().await;
    }

    /// Stops listening, ends every session and waits until they are gone, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.accepting.cancel();
        self.scope.cancel();
        self.accepting.join(CLOSE_LIMIT).await;
        self.scope.join(CLOSE_LIMIT).await;
        self.backlog.clear();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.cancel();
        self.scope.cancel();
    }
}
