//! What the channels, the handler and the owner of one SSH session share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use russh::{ChannelId, Disconnect};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::link::Link;
use super::session::Traffic;
use super::written::Inbox;
use crate::error::{Code, Error, Phase};
use crate::scope::Scope;

/// Bytes held for a peer that sends no credits, over all channels of a session.
const FOREIGN_SESSION_LIMIT: isize = 64 * 1024 * 1024;

/// A consumer that takes nothing for so long while a foreign peer is held up for it loses its channel.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// Identification of peers that speak credits: `SSH-2.0-alknet_<major>` (docs/wire.md).
const ALKNET_IDENT: &str = "SSH-2.0-alknet_";

/// See the module.
pub(crate) struct Core {
    scope: Scope,
    link: Arc<Link>,
    /// `None` before the session runs and once it is over: a program may hold its streams for long after.
    inbox: Mutex<Option<Inbox>>,
    window: u64,
    peer_version: OnceLock<String>,
    peer_is_alknet: OnceLock<bool>,
    channels: Mutex<HashMap<ChannelId, Weak<Channel>>>,
    open: AtomicUsize,
    /// There has been a channel.
    used: AtomicBool,
    /// What the channels hold of bounds beyond the session.
    permits: Mutex<HashMap<ChannelId, OwnedSemaphorePermit>>,
    /// Bytes received and not read, over all channels.
    held: AtomicIsize,
    received: AtomicU64,
    sent: AtomicU64,
    consumed: Notify,
    failure: Mutex<Option<Error>>,
    /// We end the session ourselves: what follows is no failure.
    closing: AtomicBool,
    ended: CancellationToken,
}

impl Core {
    pub(super) fn new(scope: Scope, link: Arc<Link>, window: u32) -> Arc<Self> {
        Arc::new(Self {
            scope,
            link,
            inbox: Mutex::default(),
            window: u64::from(window),
            peer_version: OnceLock::new(),
            peer_is_alknet: OnceLock::new(),
            channels: Mutex::default(),
            open: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            permits: Mutex::default(),
            held: AtomicIsize::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            consumed: Notify::new(),
            failure: Mutex::default(),
            closing: AtomicBool::new(false),
            ended: CancellationToken::new(),
        })
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Where the session takes messages, once it runs.
    pub(super) fn inbox(&self) -> Option<Inbox> {
        self.inbox.lock().clone()
    }

    pub(super) fn set_inbox(&self, inbox: Inbox) {
        *self.inbox.lock() = Some(inbox);
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Records the peer's identification string.
    pub(super) fn identified(&self, ident: &[u8]) {
        let ident = String::from_utf8_lossy(ident);
        let ident: String =
            ident.trim_end().chars().filter(|c| !c.is_control()).take(255).collect();
        let _ = self.peer_is_alknet.set(ident.starts_with(ALKNET_IDENT));
        let _ = self.peer_version.set(ident);
    }

    pub(super) fn peer_version(&self) -> &str {
        self.peer_version.get().map_or("", String::as_str)
    }

    pub(super) fn peer_is_alknet(&self) -> bool {
        self.peer_is_alknet.get().copied().unwrap_or(false)
    }
}

/// Its channels.
impl Core {
    pub(super) fn register(&self, channel: &Arc<Channel>) {
        self.channels.lock().insert(channel.id, Arc::downgrade(channel));
    }

    /// One more of the channels is an open stream.
    pub(super) fn count_stream(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// Keeps `permit` until the channel is forgotten.
    pub(super) fn keep(&self, id: ChannelId, permit: OwnedSemaphorePermit) {
        self.permits.lock().insert(id, permit);
    }

    /// The channel is over. `was_stream`: it was counted as one.
    pub(super) fn forget(&self, id: ChannelId, was_stream: bool) {
        if self.channels.lock().remove(&id).is_some() && was_stream {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
        self.permits.lock().remove(&id);
        self.consumed.notify_waiters();
    }

    /// True for the first who asks.
    pub(super) fn is_first(&self) -> bool {
        !self.used.swap(true, Ordering::AcqRel)
    }

    pub(super) fn open_channels(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn channel(&self, id: ChannelId) -> Option<Arc<Channel>> {
        self.channels.lock().get(&id).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Takes what russh has for a channel. Called by every handler callback that concerns one.
    pub(super) async fn pump(&self, id: ChannelId) {
        let Some(channel) = self.channel(id) else { return };
        let crowded = channel.pump();
        if crowded || (!self.peer_is_alknet() && self.is_full()) {
            self.pace(&channel).await;
        }
    }

    /// Counts bytes into and out of the channels' buffers.
    pub(super) fn buffered(&self, change: isize) {
        if change == 0 {
            return;
        }
        self.held.fetch_add(change, Ordering::AcqRel);
        if change < 0 && !self.peer_is_alknet() {
            self.consumed.notify_waiters();
        }
    }

    /// Counts bytes that came for a stream.
    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that a stream sent.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What went over the streams so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            open_streams: self.open_channels(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Acquire) > FOREIGN_SESSION_LIMIT
    }

    /// Holds the session's loop, and with it a foreign peer, until there is room again. A channel whose consumer makes no
    /// progress meanwhile is given up: the others must not wait for it for ever.
    async fn pace(&self, channel: &Arc<Channel>) {
        loop {
            let consumed = self.consumed.notified();
            self.link.tell_now();
            let fullest = self.fullest(channel);
            let (held, before) = fullest.progress();
            if !(fullest.pump() || self.is_full()) || self.ended.is_cancelled() {
                return;
            }
            let waited = tokio::time::timeout(STALL_LIMIT, consumed).await;
            if waited.is_err() && fullest.progress().1 == before {
                tracing::warn!(held, "a stream was not read, closing it");
                let message = format!("the stream was not read for 10 s while {held} bytes waited");
                fullest
                    .abandon(&Error::new(Code::System("ECONNABORTED"), message).at(Phase::Stream));
            }
        }
    }

    fn fullest(&self, channel: &Arc<Channel>) -> Arc<Channel> {
        match self.is_full() {
            true => self.all().into_iter().max_by_key(|c| c.progress().0),
            false => None,
        }
        .unwrap_or_else(|| Arc::clone(channel))
    }
}

/// Its end.
impl Core {
    /// The peer broke our rules: the session ends at once.
    pub(super) fn violated(&self, what: &str) {
        self.set_failure(Error::new(Code::Protocol, what).at(Phase::Stream));
        self.link.kill();
    }

    /// Keeps the first reason why the session ended.
    pub(super) fn set_failure(&self, error: Error) {
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        self.failure.lock().get_or_insert(error);
    }

    /// Says that the end to come is wanted.
    pub(super) fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    /// The session is over: every stream on it fails. Idempotent.
    pub(super) fn end(&self) {
        let closed = Error::new(Code::SessionClosed, "the session is closed").at(Phase::Stream);
        let error = self.failure().unwrap_or(closed);
        self.link.kill();
        self.link.tell_now();
        for channel in self.all() {
            match self.closing.load(Ordering::Acquire) {
                true => channel.end_by_choice(),
                false => channel.fail(&error),
            }
        }
        self.ended.cancel();
        let inbox = self.inbox.lock().take();
        drop(inbox);
    }

    /// Ready once [`Core::end`] has been called. Cancel-safe.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

/// Held by a session's handler: when the handler goes, however that happened, the session is over.
pub(super) struct EndGuard(pub(super) Arc<Core>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a russh error means for the streams of a running session.
pub(super) fn session_error(core: &Core, error: &russh::Error) -> Error {
    use russh::Error as E;
    let lost = |message: String| Error::new(Code::SessionClosed, message).at(Phase::Stream);
    let is_silent = core.link().failure() == Some(std::io::ErrorKind::TimedOut);
    match error {
        E::KeepaliveTimeout | E::InactivityTimeout => lost("the peer stopped answering".into()),
        E::IO(_) if is_silent => lost("the peer stopped answering".into()),
        E::IO(_) | E::HUP | E::Disconnect => {
            let how =
                core.link().failure().map_or_else(|| "the peer hung up".into(), |k| k.to_string());
            lost(format!("the connection was lost: {how}"))
        }
        other => Error::new(Code::Protocol, format!("SSH: {other}")).at(Phase::Stream),
    }
}

/// What a server's last words mean for a client's session.
pub(super) fn ended_by_server(reason: Disconnect, text: &str) -> Error {
    match reason {
        Disconnect::TooManyConnections => {
            Error::new(Code::TooManySessions, format!("the server takes no more sessions: {text}"))
                .at(Phase::Auth)
                .hint("close one, or raise limits.maxSessions or maxSessionsPerKey at the server")
        }
        _ => Error::new(Code::SessionClosed, format!("the server ended the session: {text}"))
            .at(Phase::Stream),
    }
}
