//! Forwards, written once: each request's target is dialled, the request answered, the two streams relayed. Knows dialers and
//! listeners, whatever they are.

mod http;
mod socks;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::dial::{Dialer, Early};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::{Connected, Io, Relays, relay};
use crate::listen::{Incoming, Listener, Request, serve};
use crate::scope::Scope;
use crate::target::Target;

pub(crate) use socks::{Login, Socks};

/// Longest handshake of an arrival with a listener, unless told otherwise (reference table: SOCKS5).
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Longest a refusal may take to be said.
const REFUSE_LIMIT: Duration = Duration::from_secs(2);

/// What a forward has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardMetrics {
    /// Bytes from those who connected to the target.
    pub bytes_up: u64,
    /// Bytes from the target to those who connected.
    pub bytes_down: u64,
    /// Connections now.
    pub active: usize,
    /// Connections ever.
    pub accepted: u64,
    /// Of these, refused: the target could not be reached, or there were too many.
    pub refused: u64,
    /// Of these, ended by a failure of one side: reset, or for UDP refused by the target's host.
    pub reset: u64,
    /// Datagrams of UDP that were lost here: their flow was not read fast enough or had failed, or there were too many flows.
    pub dropped: u64,
}

/// How the attempts to reach a target went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastDial {
    /// Whether the last one succeeded, once there was one.
    pub(crate) reached: Option<bool>,
    /// The last failure, and when it was.
    pub(crate) failure: Option<(SystemTime, Code)>,
}

/// What a forward is kept within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Longest dial of a target.
    pub(crate) dial: Duration,
    /// Longest handshake of an arrival.
    pub(crate) handshake: Duration,
    /// Connections at once.
    pub(crate) max: usize,
    /// Silence after which a connection is reset.
    pub(crate) idle: Option<Duration>,
}

/// A forward's dialer, its bounds and its counters. Requests of any number of listeners may go through one.
pub(crate) struct Forward {
    dialer: Arc<dyn Dialer>,
    dial_limit: Duration,
    handshake_limit: Duration,
    places: Semaphore,
    max: usize,
    relays: Relays,
    accepted: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    dropped: Arc<AtomicU64>,
    active: AtomicUsize,
    last: Mutex<LastDial>,
}

impl Forward {
    pub(crate) fn new(dialer: Arc<dyn Dialer>, dial_limit: Duration, max: usize) -> Arc<Self> {
        Self::limited(
            dialer,
            Bounds { dial: dial_limit, handshake: HANDSHAKE_LIMIT, max, idle: None },
        )
    }

    /// The same with other bounds.
    pub(crate) fn limited(dialer: Arc<dyn Dialer>, bounds: Bounds) -> Arc<Self> {
        let Bounds { dial: dial_limit, handshake: handshake_limit, max, idle } = bounds;
        Arc::new(Self {
            dialer,
            dial_limit,
            handshake_limit,
            places: Semaphore::new(max.max(1)),
            max: max.max(1),
            relays: Relays::new(idle),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reset: AtomicU64::new(0),
            dropped: Arc::default(),
            active: AtomicUsize::new(0),
            last: Mutex::default(),
        })
    }

    pub(crate) fn metrics(&self) -> ForwardMetrics {
        ForwardMetrics {
            bytes_up: self.relays.up.load(Ordering::Relaxed),
            bytes_down: self.relays.down.load(Ordering::Relaxed),
            active: self.active.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            reset: self.reset.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Where listeners of datagrams count those that they lose.
    pub(crate) fn dropped(&self) -> &Arc<AtomicU64> {
        &self.dropped
    }

    #[cfg(all(unix, feature = "cli"))]
    pub(crate) fn last_dial(&self) -> LastDial {
        *self.last.lock()
    }

    /// Opens a stream to `target` and drops it.
    #[cfg(all(unix, feature = "cli"))]
    pub(crate) async fn probe(&self, target: &Target) -> Result<()> {
        let deadline = Instant::now() + self.dial_limit;
        self.reach(target, None, None, deadline).await.map(drop)
    }

    /// Serves a listener until the scope ends. What goes wrong with one request ends that request alone.
    pub(crate) async fn run(self: Arc<Self>, listener: Box<dyn Listener<Request>>, scope: Scope) {
        let tasks = scope.clone();
        serve(listener, scope, move |incoming| {
            let (forward, scope) = (Arc::clone(&self), tasks.clone());
            async move {
                scope.until_cancelled(forward.take(incoming)).await;
            }
        })
        .await;
    }

    async fn take(&self, incoming: Incoming<Request>) {
        match tokio::time::timeout(self.handshake_limit, incoming.handshake).await {
            Ok(Ok(request)) => self.answer(request).await,
            Ok(Err(e)) => {
                tracing::debug!(code = e.code().as_str(), "no request came of an arrival")
            }
            Err(_) => tracing::info!("an arrival did not say what it wants in time"),
        }
    }

    /// Dials a request's target, answers, and relays to the end. Never fails: what happens is counted, and logged without the target.
    pub(crate) async fn answer(&self, request: Request) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let Request { target, origin, mut answer } = request;
        let deadline = Instant::now() + self.dial_limit;
        let dialled = match self.places.try_acquire() {
            Err(_) => Err(self.crowded()),
            Ok(place) => {
                let far = self.reach(&target, origin, answer.asker(), deadline).await;
                far.map(|far| (far, place))
            }
        };
        let (far, _place) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => {
                self.count_refused(&error);
                let _ = tokio::time::timeout(REFUSE_LIMIT, answer.refuse(error)).await;
                return;
            }
        };
        match answer.accept().await {
            Ok(near) => self.pass(near, far, deadline).await,
            Err(e) => tracing::debug!(code = e.code().as_str(), "the asker has gone"),
        }
    }

    /// Relays, also before the far end has answered; if it refuses then, both are reset.
    async fn pass(&self, near: Connected, far: Early, deadline: Instant) {
        let _active = Active::new(&self.active);
        let Early { stream, sent, answer } = far;
        self.relays.up.fetch_add(sent, Ordering::Relaxed);
        let mut relaying = pin!(relay(near.io, stream.io, &self.relays));
        let mut ended = None;
        if let Some(answer) = answer {
            let refused = tokio::select! {
                biased;
                answer = self.by(deadline, answer) => self.noted(answer).err(),
                done = &mut relaying => {
                    ended = Some(done);
                    None
                }
            };
            if let Some(error) = refused {
                return self.count_refused(&error);
            }
        }
        let ended = match ended {
            Some(ended) => ended,
            None => relaying.await,
        };
        if let Err(e) = ended {
            self.reset.fetch_add(1, Ordering::Relaxed);
            match e.kind() {
                std::io::ErrorKind::TimedOut => {
                    tracing::info!("a forwarded connection was silent for too long")
                }
                kind => tracing::debug!(%kind, "a forwarded connection was reset"),
            }
        }
    }

    /// Dials for an asker that hears no answer, or for one that does.
    async fn reach(
        &self,
        target: &Target,
        origin: Option<SocketAddr>,
        asker: Option<&mut dyn Io>,
        deadline: Instant,
    ) -> Result<Early> {
        match asker {
            None => {
                let dialled = self.by(deadline, self.dialer.dial(target, origin)).await;
                self.noted(dialled).map(Early::answered)
            }
            Some(asker) => {
                let dialled = self.dialer.dial_early(target, origin, asker);
                match self.by(deadline, dialled).await {
                    Ok(early) if early.answer.is_some() => Ok(early),
                    answered => self.noted(answered),
                }
            }
        }
    }

    async fn by<T>(&self, deadline: Instant, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout_at(deadline, answer).await.unwrap_or_else(|_| {
            let message = format!("nobody answered within {} ms", self.dial_limit.as_millis());
            Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Channel))
        })
    }

    /// Notes an answer.
    fn noted<T>(&self, answer: Result<T>) -> Result<T> {
        let mut last = self.last.lock();
        last.reached = Some(answer.is_ok());
        if let Err(e) = &answer {
            last.failure = Some((SystemTime::now(), e.code()));
        }
        answer
    }

    fn count_refused(&self, error: &Error) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::info!(code = error.code().as_str(), "a forwarded connection was refused");
    }

    fn crowded(&self) -> Error {
        let message = format!("there are {} connections already", self.max);
        Error::new(Code::ChannelRejected, message).refused(Refusal::ResourceShortage)
    }
}

/// Counts a connection while it lives.
struct Active<'a>(&'a AtomicUsize);

impl<'a> Active<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
