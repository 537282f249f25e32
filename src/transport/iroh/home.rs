//! A server's endpoint at its relay: told of, and built anew when it has had neither the relay nor a peer for long.
//!
//! The iroh crate dials a lost relay again by itself, but an endpoint has been seen to wait for its relay for hours while a fresh one
//! got there at once. Everything goes on in [`Home::arrival`], which is always being polled and may be dropped at any point.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Fuse};
use iroh::endpoint::{Incoming, RelayStatus as Seen};
use iroh::{RelayConfig, SecretKey, Watcher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::endpoint::{CLOSE_LIMIT, Shared, bind, builder};
use super::relay::Relay;
use crate::config::RelayStatus;
use crate::error::{Code, Error, Phase, Result};
use crate::scope::Scope;

/// An endpoint that has no relay is looked at so often before [`crate::Limits::relay_timeout`] is over: every 5 s of 60.
const LOOKS: u32 = 12;

/// Whatever the limit: least and most between two looks.
const LOOK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(600));

/// For what an endpoint is asked to do at a look, which it would never do if it were stuck itself.
const NUDGE_LIMIT: Duration = Duration::from_secs(1);

/// Endpoints that did not help either are given at most so much longer, that a relay which is down for good does not fill the log.
const MOST_PATIENCE: u32 = 10;

/// First and longest pause between attempts to bind the port again, which the system frees a moment after the close.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));

/// Pauses from here on mean that somebody else has the port.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// What a server's endpoint is made of, each time.
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) key: SecretKey,
    pub(super) relay: Option<Relay>,
    pub(super) scope: Scope,
}

impl Plan {
    async fn build(&self) -> Result<Arc<Shared>> {
        let failed = |e: &dyn std::fmt::Display| {
            let message = format!("listen {} for iroh: {e}", self.address);
            Error::new(Code::System("EADDRINUSE"), message)
                .at(Phase::Listen)
                .by("listen")
                .address(self.address.ip().to_string(), self.address.port())
        };
        let builder = builder(self.key.clone(), self.relay.as_ref(), false)?.clear_ip_transports();
        let builder = builder.bind_addr(self.address).map_err(|e| failed(&e))?;
        bind(builder, &self.scope, None).await.map_err(|e| failed(&e))
    }

    async fn build_again(&self) -> Arc<Shared> {
        let mut pause = PAUSE.0;
        loop {
            match self.build().await {
                Ok(shared) => return shared,
                Err(error) if pause >= LONG_PAUSE => {
                    tracing::error!(%error, "the endpoint is closed, and cannot be built anew yet");
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

/// See the module.
pub(super) struct Home {
    plan: Plan,
    /// `None` while it is being built.
    shared: Option<Arc<Shared>>,
    /// Of the relay, if there is one.
    watch: Option<Watch>,
}

impl Home {
    /// Builds the first one. `patience` is [`crate::Limits::relay_timeout`].
    pub(super) async fn new(mut plan: Plan, patience: Duration) -> Result<Self> {
        let shared = plan.build().await?;
        // The next one listens where this one does.
        plan.address = shared.endpoint.bound_sockets().first().copied().unwrap_or(plan.address);
        let watch = plan.relay.clone().map(|relay| Watch::new(relay, &shared, patience));
        Ok(Self { plan, shared: Some(shared), watch })
    }

    /// The endpoint that peers arrive at; `None` for the moment in which there is none.
    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    pub(super) fn status(&self) -> Option<watch::Receiver<RelayStatus>> {
        self.watch.as_ref().map(|watch| watch.told.subscribe())
    }

    /// The next peer, if there is `room` for one. `idle` says that no handshake is under way. Cancel-safe.
    pub(super) async fn arrival(&mut self, room: bool, idle: bool) -> Incoming {
        loop {
            let Some(shared) = &self.shared else {
                let built = self.plan.build_again().await;
                if let Some(watch) = &mut self.watch {
                    watch.rebuilt(&built);
                }
                self.shared = Some(built);
                continue;
            };
            tokio::select! {
                arrived = shared.endpoint.accept(), if room => {
                    if let Some(arrived) = arrived {
                        return arrived;
                    }
                }
                () = dead(self.watch.as_mut(), shared, idle) => {}
            }
            let _ = tokio::time::timeout(CLOSE_LIMIT, shared.endpoint.close()).await;
            self.shared = None;
        }
    }
}

async fn dead(watch: Option<&mut Watch>, shared: &Arc<Shared>, idle: bool) {
    match watch {
        Some(watch) => watch.dead(shared, idle).await,
        None => std::future::pending().await,
    }
}

struct Watch {
    relay: Relay,
    told: watch::Sender<RelayStatus>,
    changes: Fuse<BoxStream<'static, Vec<Seen>>>,
    limit: Duration,
    /// `limit`, or longer when building anew has not helped.
    patience: Duration,
    /// Since when there has been neither the relay nor a peer. `None` while there is the relay.
    alone: Option<Instant>,
    next_look: Instant,
    /// Whether the relay was asked by QUIC for the address that it sees.
    asked_address: bool,
}

impl Watch {
    fn new(relay: Relay, shared: &Arc<Shared>, limit: Duration) -> Self {
        let url = relay.given.clone();
        let status = RelayStatus { url, connected: false, rebuilt: 0, error: None };
        let now = Instant::now();
        Self {
            relay,
            told: watch::Sender::new(status),
            changes: changes(shared),
            limit,
            patience: limit,
            alone: Some(now),
            next_look: now + pause(limit),
            asked_address: false,
        }
    }

    fn rebuilt(&mut self, shared: &Arc<Shared>) {
        self.changes = changes(shared);
        self.alone = Some(Instant::now());
        self.asked_address = false;
        tracing::warn!("endpoint rebuilt: it had neither its relay nor a peer");
        self.told.send_modify(|status| status.rebuilt = status.rebuilt.saturating_add(1));
    }

    /// Ready when the endpoint has been of no use for long. Cancel-safe.
    async fn dead(&mut self, shared: &Arc<Shared>, idle: bool) {
        loop {
            // Not earlier, for where UDP leads nowhere that takes 3 s, and the relay is not used before.
            let wants_address = self.alone.is_none() && !self.asked_address;
            tokio::select! {
                Some(seen) = self.changes.next() => self.hear(&seen),
                () = ask(&self.relay, shared, true), if wants_address => self.asked_address = true,
                () = sleep_until(self.next_look), if self.alone.is_some() => {
                    // Streams and handshakes hold it as well.
                    if !idle || Arc::strong_count(shared) > 1 {
                        self.alone = Some(Instant::now());
                    }
                    if self.is_over() {
                        return;
                    }
                    self.next_look = Instant::now() + pause(self.limit);
                    let _ = tokio::time::timeout(NUDGE_LIMIT, self.nudge(shared)).await;
                }
                else => std::future::pending().await,
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let over = self.alone.is_some_and(|since| since.elapsed() >= self.patience);
        if over {
            let longest = self.limit.saturating_mul(MOST_PATIENCE);
            self.patience = self.patience.saturating_mul(2).min(longest);
        }
        over
    }

    fn hear(&mut self, seen: &[Seen]) {
        let connected = seen.iter().any(Seen::is_connected);
        let error = seen.iter().find_map(Seen::last_error).map(|e| unreachable(&format!("{e:#}")));
        let was = self.told.borrow().connected;
        match (was, connected) {
            (false, true) => {
                tracing::info!("relay connected");
                (self.alone, self.patience) = (None, self.limit);
            }
            (true, false) => {
                tracing::warn!("relay lost");
                self.alone = Some(Instant::now());
                self.next_look = Instant::now() + pause(self.limit);
            }
            _ => {}
        }
        self.told.send_if_modified(|status| {
            let tells = was != connected || error.is_some();
            status.connected = connected;
            match (connected, error) {
                (true, _) => status.error = None,
                (false, Some(error)) => status.error = Some(error),
                // It is being dialled: the reason of the last time holds.
                (false, None) => {}
            }
            tells
        });
    }

    /// What may bring the relay back without a new endpoint: another look at the network, and at a relay that did not answer the last one.
    async fn nudge(&mut self, shared: &Arc<Shared>) {
        shared.endpoint.network_change().await;
        if shared.endpoint.home_relay_status().get().is_empty() {
            self.told.send_if_modified(|status| {
                let first = status.error.is_none();
                status.error.get_or_insert_with(|| unreachable("it does not answer").hint(HINT));
                first
            });
            ask(&self.relay, shared, false).await;
        }
    }
}

/// Has the endpoint look at the relay now, by QUIC too if `quic` and it may have that.
async fn ask(relay: &Relay, shared: &Shared, quic: bool) {
    let config: RelayConfig = relay.config(quic);
    shared.endpoint.insert_relay(config.url.clone(), Arc::new(config)).await;
}

/// Between two looks.
fn pause(limit: Duration) -> Duration {
    (limit / LOOKS).clamp(LOOK.0, LOOK.1)
}

const HINT: &str = "is it running, and is its certificate of a public authority or in tlsCa?";

fn unreachable(why: &str) -> Error {
    let message = format!("the relay cannot be reached: {why}");
    Error::new(Code::System("EHOSTUNREACH"), message).at(Phase::Listen)
}

fn changes(shared: &Shared) -> Fuse<BoxStream<'static, Vec<Seen>>> {
    shared.endpoint.home_relay_status().stream().boxed().fuse()
}
