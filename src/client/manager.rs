//! A supervised SSH session: when it is lost, another takes its place, for as long as its owner wants.
//!
//! One task supervises; everybody else looks at a `watch`. Streams belong to the session they were opened on and end with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::lanes::Lanes;
use super::{ConnectOptions, Metrics, Reconnect, RemoteForwarder, Standing};
use crate::backoff::Backoff;
use crate::dial::{Dialer, Early};
use crate::error::{Code, Error, Phase, Result};
use crate::io::Io;
use crate::scope::Scope;
use crate::ssh::{Events, Observer, Session, Stream, Traffic};
use crate::target::Target;

/// How long `close` waits for the supervisor, beyond what the session's own close takes.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A supervised SSH session, to one of the servers, by one key. Dropping it ends it.
///
/// The first attempt is made at once, and so is the first after a loss; further ones after 1, 2, 4, 8, 16 and then always 30 s,
/// ± 20 %, for ever. It stops by itself for what no attempt would mend: a host key that is not the one of the first session, an
/// option or key that cannot be used. A refused log-in is repeated at the longest pause.
pub struct ChannelManager {
    shared: Arc<Shared>,
    /// Remote forwards that were asked for through the manager itself, by address and real port.
    pub(super) requested: Mutex<HashMap<(String, u16), RemoteForwarder>>,
}

pub(super) struct Shared {
    /// What it takes to make a session, the key above all: given up once there will be none.
    pub(super) attempt: Mutex<Option<Attempt>>,
    pub(super) reconnect: Reconnect,
    pub(super) lanes: Lanes,
    /// The number of the server that there is a session with, or was last.
    pub(super) server: AtomicUsize,
    scope: Scope,
    standing: watch::Sender<Standing>,
    observer: Mutex<Option<Arc<dyn Observer>>>,
    /// Why there was no session when there last was none.
    trouble: Mutex<Option<Error>>,
    /// Traffic of the sessions before the present one.
    pub(super) past: Mutex<Traffic>,
    pub(super) sessions: AtomicU64,
    pub(super) failed_attempts: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
}

impl ChannelManager {
    /// Connects and logs in, then keeps a session up. Dropping the future ends the attempt.
    ///
    /// # Errors
    /// Those of [`crate::open_session`] when the first attempt fails; with [`Reconnect::from_the_start`] only those that further
    /// attempts would not mend.
    pub async fn new(options: &ConnectOptions, reconnect: Reconnect) -> Result<Self> {
        let shared = Arc::new(Shared {
            attempt: Mutex::new(Some(options.attempt().await?)),
            reconnect,
            lanes: Lanes::default(),
            server: AtomicUsize::new(0),
            scope: Scope::new(),
            standing: watch::Sender::new(Standing::Down(None)),
            observer: Mutex::default(),
            trouble: Mutex::default(),
            past: Mutex::default(),
            sessions: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let manager = Self { shared: Arc::clone(&shared), requested: Mutex::default() };
        let backoff = Backoff::new(reconnect.longest_pause);
        let first = match reconnect.enabled && reconnect.from_the_start {
            true => None,
            false => Some(shared.established(shared.connect().await?)),
        };
        let supervising = Arc::clone(&shared);
        shared.scope.spawn(async move { supervising.supervise(first, backoff).await });
        if reconnect.from_the_start {
            manager.first_session().await?;
        }
        Ok(manager)
    }

    /// Opens a stream on the session of the moment; without one it waits, [`Reconnect::wait`] and `limit` at most. Returns once
    /// the server has confirmed. Dropping the future closes a stream that is confirmed later.
    ///
    /// # Errors
    /// Those of [`Session::open`]; `ERR_ALKNET_RECONNECTING` when no session came in time; `ERR_ALKNET_SESSION_CLOSED`, or what
    /// stopped the supervision, when there will be none.
    pub async fn open(&self, target: &Target, limit: Duration) -> Result<Stream> {
        self.shared.open(target, None, limit).await
    }

    /// The session of the moment, if there is one.
    pub fn session(&self) -> Option<Arc<Session>> {
        match &*self.shared.standing.borrow() {
            Standing::Up(session) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    /// Why the last session was lost, or the last attempt failed.
    pub fn trouble(&self) -> Option<Error> {
        self.shared.trouble.lock().clone()
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }

    /// Ready when it stands otherwise than when this was last called, with where. Cancel-safe.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Tells `observer` [`Events::READABLE`] of every change of [`ChannelManager::standing`], and [`Events::CLOSED`] of the last.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let over = matches!(*self.shared.standing.borrow(), Standing::Closed(_));
        *self.shared.observer.lock() = Some(Arc::clone(&observer));
        if over {
            observer.notify(Events::CLOSED);
        }
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let session = self.session();
        let now = session.as_ref().map(|session| session.traffic()).unwrap_or_default();
        let (lanes, past) = (shared.lanes.traffic(), *shared.past.lock());
        Metrics {
            up: session.is_some(),
            sessions: shared.sessions.load(Ordering::Relaxed),
            failed_attempts: shared.failed_attempts.load(Ordering::Relaxed),
            open_streams: now.open_streams + lanes.open_streams,
            opened: shared.opened.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            bytes_received: past.received + lanes.received + now.received,
            bytes_sent: past.sent + lanes.sent + now.sent,
        }
    }

    /// Ends every stream and the session, and stops attempts. Ready when the transport is closed, 3 s at most. Idempotent.
    pub async fn close(&self) {
        let session = self.session();
        self.shared.scope.cancel();
        let main = async {
            if let Some(session) = session {
                session.close().await;
            }
        };
        tokio::join!(main, self.shared.lanes.close());
        self.shared.scope.join(CLOSE_LIMIT).await;
        self.shared.stand(Standing::Closed(None));
    }

    /// The same without waiting.
    pub fn close_soon(self: Arc<Self>) {
        let scope = self.shared.scope.clone();
        scope.spawn_to_end(async move {
            let session = self.session();
            self.shared.scope.cancel();
            self.shared.lanes.close_soon();
            if let Some(session) = session {
                session.close().await;
            }
            self.shared.stand(Standing::Closed(None));
        });
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    async fn first_session(&self) -> Result<()> {
        let mut watch = self.watch();
        loop {
            match &*watch.borrow_and_update() {
                Standing::Up(_) => return Ok(()),
                Standing::Closed(why) => return Err(why.clone().unwrap_or_else(closed)),
                Standing::Down(_) => {}
            }
            if watch.changed().await.is_err() {
                return Err(closed());
            }
        }
    }
}

impl std::fmt::Debug for ChannelManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelManager").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Drop for ChannelManager {
    fn drop(&mut self) {
        self.shared.scope.cancel();
        self.shared.lanes.close_soon();
        if let Standing::Up(session) = &*self.shared.standing.borrow() {
            session.close_soon();
        }
    }
}

impl Shared {
    pub(super) async fn open(
        &self,
        target: &Target,
        origin: Option<SocketAddr>,
        limit: Duration,
    ) -> Result<Stream> {
        let deadline = Instant::now() + limit;
        let opened = loop {
            let (session, left) = match self.chosen(deadline).await {
                Ok(chosen) => chosen,
                Err(e) => break Err(e),
            };
            match session.opener().open(target, origin, left).await {
                Err(_) if self.may_retry(&session) => {}
                done => break done,
            }
        };
        self.count(&opened);
        opened
    }

    /// The same for an asker that hears no answer. One that is still to come is not counted.
    pub(super) async fn open_early(
        &self,
        target: &Target,
        origin: Option<SocketAddr>,
        asker: &mut dyn Io,
        limit: Duration,
    ) -> Result<Early> {
        let deadline = Instant::now() + limit;
        let opened = loop {
            let (session, left) = match self.chosen(deadline).await {
                Ok(chosen) => chosen,
                Err(e) => break Err(e),
            };
            match session.opener().open_early(target, origin, asker, left).await {
                Err(_) if self.may_retry(&session) => {}
                done => break done,
            }
        };
        if !matches!(opened, Ok(Early { answer: Some(_), .. })) {
            self.count(&opened);
        }
        opened
    }

    /// Counts an answer.
    pub(super) fn count<T>(&self, answer: &Result<T>) {
        let counter = if answer.is_ok() { &self.opened } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The session for the next stream, and how long it may take to open.
    async fn chosen(&self, deadline: Instant) -> Result<(Arc<Session>, Duration)> {
        let session = self.session_by(deadline.min(Instant::now() + self.reconnect.wait)).await?;
        let session = if self.reconnect.enabled { self.lanes.choose(session) } else { session };
        Ok((session, deadline.saturating_duration_since(Instant::now())))
    }

    /// Lost under the request, before any byte of the stream was sent: the next session can have it.
    fn may_retry(&self, session: &Session) -> bool {
        session.is_over() && self.reconnect.enabled
    }

    /// Refuses what the session of the moment would not lead to.
    pub(super) fn check(&self, target: &Target) -> Result<()> {
        match &*self.standing.borrow() {
            Standing::Up(session) => session.opener().check(target),
            _ => Ok(()),
        }
    }

    /// The session of the moment, or the next.
    pub(super) async fn session_soon(&self) -> Result<Arc<Session>> {
        self.session_by(Instant::now() + self.reconnect.wait).await
    }

    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    async fn session_by(&self, deadline: Instant) -> Result<Arc<Session>> {
        let mut watch = self.standing.subscribe();
        let waiting = watch.wait_for(|standing| match standing {
            Standing::Up(session) => !session.is_over(),
            Standing::Down(_) => false,
            Standing::Closed(_) => true,
        });
        let standing = match tokio::time::timeout_at(deadline, waiting).await {
            Ok(Ok(standing)) => standing.clone(),
            Ok(Err(_)) => Standing::Closed(None),
            Err(_) => self.standing.borrow().clone(),
        };
        match standing {
            Standing::Up(session) if !session.is_over() => Ok(session),
            Standing::Closed(why) => Err(why.unwrap_or_else(closed)),
            Standing::Up(session) => Err(reconnecting(session.failure().as_ref())),
            Standing::Down(why) => Err(reconnecting(why.as_ref())),
        }
    }

    /// Changes the standing and tells. What is closed stays closed.
    pub(super) fn stand(&self, standing: Standing) {
        let last = matches!(standing, Standing::Closed(_));
        if let Standing::Down(Some(why)) | Standing::Closed(Some(why)) = &standing {
            *self.trouble.lock() = Some(why.clone());
        }
        if last {
            *self.attempt.lock() = None;
        }
        let changed = self.standing.send_if_modified(|now| {
            let open = !matches!(now, Standing::Closed(_));
            if open {
                *now = standing;
            }
            open
        });
        let observer = changed.then(|| self.observer.lock().clone()).flatten();
        if let Some(observer) = observer {
            observer.notify(if last { Events::CLOSED } else { Events::READABLE });
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(Code::SessionClosed, "the session is closed").at(Phase::Channel)
}

fn reconnecting(last: Option<&Error>) -> Error {
    let why = last.map_or_else(|| "no attempt has ended yet".into(), |error| error.to_string());
    Error::new(Code::Reconnecting, format!("there is no session at the moment: {why}"))
        .at(Phase::Channel)
        .hint("attempts go on; try again, or give the request more time")
}
