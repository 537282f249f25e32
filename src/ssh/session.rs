//! A client's session: opens streams, ends, and says why it ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::{Disconnect, client};

use super::client::Handler;
use super::core::Core;
use super::events::{Events, Observer};
use super::open::Opener;
use super::stream::Stream;
use crate::auth::{CertificateInfo, KeyRules};
use crate::error::{Error, Result};
use crate::target::Target;

/// How long the transport may take to send what is queued and close, after a session was told to end: with all else, a
/// close takes no more than 2 s.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

/// What the two ends of a stream know of each other.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Info {
    /// The other end's address, when the transport has addresses.
    pub remote: Option<SocketAddr>,
    /// This end's address.
    pub local: Option<SocketAddr>,
    /// The transport's name.
    pub transport: &'static str,
    /// Who logged in.
    pub user: String,
    /// `SHA256:…` of the key that logged in.
    pub key_fingerprint: String,
    /// What the certificate says that it logged in with, if it was one.
    pub certificate: Option<CertificateInfo>,
    /// `SHA256:…` of the server's host key.
    pub host_key_fingerprint: String,
    /// The peer's identification string.
    pub peer: String,
    /// What the stream was asked to lead to.
    pub target: String,
    /// Hex; the same for all streams of a session on this side.
    pub session_id: String,
    /// At a server: what the client's key may do.
    pub(crate) rules: Arc<KeyRules>,
}

/// What went over a session's streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) open_streams: usize,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Traffic {
    /// Adds what a session that is over has carried.
    pub(crate) fn add(&mut self, past: Self) {
        self.received += past.received;
        self.sent += past.sent;
    }
}

/// An SSH session that is logged in. Dropping it ends it.
pub struct Session {
    pub(super) core: Arc<Core>,
    pub(super) handle: Arc<client::Handle<Handler>>,
    pub(super) refusals: Arc<super::refusals::Refusals>,
    pub(super) forwarded: Arc<super::forwarded::Forwarded>,
    pub(super) info: Arc<Info>,
    pub(super) spares: Arc<super::spares::Spares>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Session {
    /// What the two ends know of each other; `target` is empty.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Opens a stream. Returns once the server has confirmed it; dropping the future closes a stream that is confirmed later.
    ///
    /// # Errors
    /// `ERR_ALKNET_CHANNEL_REJECTED`, or a system code such as `ECONNREFUSED` when the server could not reach the target;
    /// `ETIMEDOUT` after `limit`; why the session was lost.
    pub async fn open(&self, target: &Target, limit: Duration) -> Result<Stream> {
        self.opener().open(target, None, limit).await
    }

    /// The same, and the session ends with the stream.
    ///
    /// # Errors
    /// Those of [`Session::open`]; the session is ended then.
    pub async fn open_only(self, target: &Target, limit: Duration) -> Result<Stream> {
        let stream = self.open(target, limit).await?;
        Ok(stream.own(self))
    }

    /// Ends every stream and the session, then waits until the transport is closed, 2 s at most.
    pub async fn close(&self) {
        end(&self.core, &self.handle).await;
    }

    /// The same without waiting.
    pub fn close_soon(&self) {
        let (core, handle) = (Arc::clone(&self.core), Arc::clone(&self.handle));
        self.core.scope().spawn_to_end(async move { end(&core, &handle).await });
    }

    /// Ready once the session is over, with the reason when it was lost. Cancel-safe.
    pub async fn closed(&self) -> Option<Error> {
        self.core.ended().await;
        self.core.failure()
    }

    /// Tells `observer` [`Events::CLOSED`] once the session is over.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        let core = Arc::clone(&self.core);
        self.core.scope().spawn_to_end(async move {
            core.ended().await;
            observer.notify(Events::CLOSED);
        });
    }

    /// Why the session was lost, if it was.
    pub fn failure(&self) -> Option<Error> {
        self.core.failure()
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.core.is_ended()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.core.traffic()
    }

    /// Opens streams on this session, without keeping it open.
    pub(crate) fn opener(&self) -> Opener {
        Opener {
            core: Arc::clone(&self.core),
            handle: Arc::clone(&self.handle),
            refusals: Arc::clone(&self.refusals),
            info: Arc::clone(&self.info),
            spares: Arc::clone(&self.spares),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.core.is_ended() {
            self.close_soon();
        }
    }
}

async fn end(core: &Arc<Core>, handle: &client::Handle<Handler>) {
    if core.is_ended() {
        return;
    }
    core.set_closing();
    let ended = async {
        let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
        core.ended().await;
    };
    if tokio::time::timeout(CLOSE_LIMIT, ended).await.is_err() {
        core.link().kill();
        core.ended().await;
    }
}
