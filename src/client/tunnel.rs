//! A session with a container, supervised: it comes back by itself, and forwards go through it as through any other.

mod place;
mod route;
#[cfg(feature = "cli")]
mod ssh;
#[cfg(all(unix, feature = "cli"))]
mod terminal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

pub use place::TunnelOptions;
#[cfg(feature = "cli")]
pub(crate) use ssh::SshProxy;
#[cfg(all(unix, feature = "cli"))]
pub(crate) use terminal::terminal;

use self::place::Place;
use super::{Metrics, Reconnect};
use crate::backoff::Backoff;
use crate::error::{Code, Error, Phase, Result};
use crate::http::Socket;
use crate::scope::Scope;
use crate::ssh::{Events, Info, Observer, Stream};
use crate::tunnel::{Link, Traffic, open};

/// A session that was up for so long was a success: after it, attempts begin anew, at once (as for sessions over SSH).
const SUCCESS: Duration = Duration::from_secs(5);

/// How long the end of a session may take to be said.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long `close` waits.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// A supervised session with a container: any of its ports, by one connection to a host. Dropping it ends it.
///
/// The first attempt is made at once, and so is the first after a loss; further ones after 1, 2, 4, 8, 16 and then always 30 s, ± 20 %,
/// whatever the reason is, but for options that cannot be used. A refused token is shown again at the longest pause.
pub struct Tunnel {
    shared: Arc<Shared>,
}

/// What the supervisor and those who use the session share.
struct Shared {
    place: Place,
    reconnect: Reconnect,
    standing: watch::Sender<Standing>,
    observer: Mutex<Option<Arc<dyn Observer>>>,
    /// Why there was no session when there last was none.
    trouble: Mutex<Option<Error>>,
    scope: Scope,
    sessions: AtomicU64,
    failed_attempts: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    /// Of the sessions before the present one.
    past: Mutex<Traffic>,
}

/// Whether there is a session.
#[derive(Clone)]
pub(crate) enum Standing {
    Up(Arc<Link>),
    /// With why it was lost, or the last attempt failed.
    Down(Error),
    /// For good: by whom it belongs to, or why.
    Closed(Option<Error>),
}

impl Tunnel {
    /// Begins a session, or says why there is none; then keeps one up. Dropping the future ends the attempt.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`; `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, `ERR_ALKNET_TLS` for the host; `ERR_ALKNET_AUTH_REJECTED` for the token;
    /// `ERR_ALKNET_CHANNEL_REJECTED` with what the host or the runner said: no such task, no agent.
    pub async fn new(options: &TunnelOptions) -> Result<Self> {
        let reconnect = options.reconnect;
        let place = options.place().await?;
        let first = match place.begin().await {
            Ok(first) => Some(first),
            Err(why) if !may_mend(reconnect, &why) || !reconnect.from_the_start => return Err(why),
            Err(_) => None,
        };
        let down = Standing::Down(closed("no attempt has succeeded yet"));
        let shared = Arc::new(Shared {
            place,
            reconnect,
            standing: watch::Sender::new(down),
            observer: Mutex::default(),
            trouble: Mutex::default(),
            scope: Scope::new(),
            sessions: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(u64::from(first.is_none())),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            past: Mutex::default(),
        });
        let supervising = Arc::clone(&shared);
        let first = first.map(|(link, socket)| (shared.established(link), socket));
        shared.scope.spawn_to_end(async move { supervising.supervise(first).await });
        let tunnel = Self { shared };
        tunnel.first_session().await?;
        Ok(tunnel)
    }

    /// Opens a stream to a TCP port of the container. While there is no session it waits for one, [`Reconnect::wait`] and `limit` at most.
    /// Returns once the agent has connected. Dropping the future gives it up.
    ///
    /// # Errors
    /// `ECONNREFUSED` and others as the agent says it, `ERR_ALKNET_CHANNEL_REJECTED` for other refusals, `ETIMEDOUT` after `limit`;
    /// `ERR_ALKNET_RECONNECTING` when no session came in time; `ERR_ALKNET_SESSION_CLOSED` when there will be none.
    pub async fn open(&self, port: u16, limit: Duration) -> Result<Stream> {
        let opening = async {
            let link = self.shared.link().await?;
            open(&link, port).await
        };
        let opened = tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| {
            let message = format!("nobody answered within {} ms", limit.as_millis());
            Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Channel))
        });
        let counter = if opened.is_ok() { &self.shared.opened } else { &self.shared.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let target = format!("localhost:{port}");
        let info = Info { transport: "tunnel", target, ..Info::default() };
        Ok(Stream::of(opened?, info))
    }

    /// Follows whether there is a session.
    #[cfg(feature = "cli")]
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Why the last session was lost, or the last attempt failed.
    pub fn trouble(&self) -> Option<Error> {
        self.shared.trouble.lock().clone()
    }

    /// Whether it is over for good.
    pub fn is_closed(&self) -> bool {
        matches!(*self.shared.standing.borrow(), Standing::Closed(_))
    }

    /// Why it is over for good, when that was no [`Tunnel::close`].
    pub fn failure(&self) -> Option<Error> {
        match &*self.shared.standing.borrow() {
            Standing::Closed(why) => why.clone(),
            _ => None,
        }
    }

    /// Tells `observer` [`Events::READABLE`] of every coming and going of the session, and [`Events::CLOSED`] of its end.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        *self.shared.observer.lock() = Some(Arc::clone(&observer));
        if self.is_closed() {
            observer.notify(Events::CLOSED);
        }
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let past = shared.past.lock();
        let (up, (open_streams, now)) = match &*shared.standing.borrow() {
            Standing::Up(link) => (true, link.traffic()),
            _ => (false, (0, Traffic::default())),
        };
        Metrics {
            up,
            sessions: shared.sessions.load(Ordering::Relaxed),
            failed_attempts: shared.failed_attempts.load(Ordering::Relaxed),
            open_streams,
            opened: shared.opened.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            bytes_received: past.received + now.received,
            bytes_sent: past.sent + now.sent,
        }
    }

    /// Ends the session and its connections, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.shared.scope.cancel();
        self.shared.scope.join(CLOSE_LIMIT).await;
    }

    /// The same without waiting.
    pub fn close_soon(&self) {
        self.shared.scope.cancel();
    }

    async fn first_session(&self) -> Result<()> {
        let mut watch = self.shared.standing.subscribe();
        let standing = watch.wait_for(|standing| !matches!(standing, Standing::Down(_))).await;
        match standing.as_deref() {
            Ok(Standing::Up(_)) => Ok(()),
            Ok(Standing::Closed(Some(why))) => Err(why.clone()),
            _ => Err(closed("the tunnel was closed")),
        }
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.scope.cancel();
    }
}

impl Shared {
    async fn supervise(&self, mut first: Option<(Arc<Link>, Socket)>) {
        let mut backoff = Backoff::new(self.reconnect.longest_pause);
        if first.is_none() {
            backoff.pause(0.0);
        }
        loop {
            let (link, socket) = match first.take() {
                Some(begun) => begun,
                None => match self.scope.until_cancelled(self.another(&mut backoff)).await {
                    Some(Ok((link, socket))) => (self.established(link), socket),
                    Some(Err(why)) => return self.stand(Standing::Closed(Some(why))),
                    None => return self.stand(Standing::Closed(None)),
                },
            };
            let since = Instant::now();
            let why = self.run(&link, socket).await;
            self.note(&link);
            if self.scope.is_cancelled() {
                return self.stand(Standing::Closed(None));
            }
            if !self.reconnect.enabled {
                return self.stand(Standing::Closed(Some(why)));
            }
            if since.elapsed() >= SUCCESS {
                backoff.reset();
            }
            self.stand(Standing::Down(why));
        }
    }

    /// Carries a session to its end: why.
    async fn run(&self, link: &Arc<Link>, socket: Socket) -> Error {
        let driving = link.drive(socket);
        tokio::pin!(driving);
        tokio::select! {
            why = &mut driving => return why,
            () = self.scope.cancelled() => link.end(),
        }
        let over = closed("the tunnel was closed");
        tokio::time::timeout(FAREWELL, driving).await.unwrap_or(over)
    }

    /// Keeps the counts of a session that is over.
    fn note(&self, link: &Link) {
        let mut past = self.past.lock();
        let carried = link.take_traffic();
        past.received += carried.received;
        past.sent += carried.sent;
    }

    /// Tries until there is a session, or an error that further attempts would not mend.
    async fn another(&self, backoff: &mut Backoff) -> Result<(Arc<Link>, Socket)> {
        loop {
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
            match self.place.begin().await {
                Ok(begun) => return Ok(begun),
                Err(why) if !may_mend(self.reconnect, &why) => return Err(why),
                Err(why) => {
                    self.failed_attempts.fetch_add(1, Ordering::Relaxed);
                    if why.code() == Code::AuthRejected {
                        backoff.slow_down();
                    }
                    self.stand(Standing::Down(why));
                }
            }
        }
    }

    fn established(&self, link: Arc<Link>) -> Arc<Link> {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.stand(Standing::Up(Arc::clone(&link)));
        link
    }

    fn stand(&self, standing: Standing) {
        let last = matches!(standing, Standing::Closed(_));
        if let Standing::Down(why) | Standing::Closed(Some(why)) = &standing {
            *self.trouble.lock() = Some(why.clone());
        }
        self.standing.send_replace(standing);
        let observer = self.observer.lock().clone();
        if let Some(observer) = observer {
            observer.notify(if last { Events::CLOSED } else { Events::READABLE });
        }
    }

    /// The session of the moment, or the next.
    async fn link(&self) -> Result<Arc<Link>> {
        let mut watch = self.standing.subscribe();
        let there = watch.wait_for(|standing| !matches!(standing, Standing::Down(_)));
        let standing = match tokio::time::timeout(self.reconnect.wait, there).await {
            Ok(Ok(standing)) => standing.clone(),
            _ => self.standing.borrow().clone(),
        };
        match standing {
            Standing::Up(link) => Ok(link),
            Standing::Closed(Some(why)) => Err(why),
            Standing::Closed(None) => Err(closed("the tunnel was closed")),
            Standing::Down(why) => {
                let message = format!("there is no tunnel at the moment: {why}");
                Err(Error::new(Code::Reconnecting, message)
                    .at(Phase::Channel)
                    .hint("attempts go on; try again, or give the request more time"))
            }
        }
    }
}

fn may_mend(reconnect: Reconnect, why: &Error) -> bool {
    reconnect.enabled && !why.code().is_permanent()
}

fn closed(why: &str) -> Error {
    Error::new(Code::SessionClosed, why).at(Phase::Channel)
}
