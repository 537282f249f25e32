//! A client's session: opens streams, ends, and says why it ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::{ChannelOpenFailure, Disconnect, client};
use tokio::sync::oneshot;

use super::channel::Channel;
use super::client::Handler;
use super::core::Core;
use super::events::{Events, Observer};
use super::flush::Writer;
use super::stream::Stream;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::target::Target;

/// How long the transport may take to send what is queued and close, after a session was told to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What the two ends of a stream know of each other.
#[derive(Clone, Debug)]
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
    /// `SHA256:…` of the server's host key.
    pub host_key_fingerprint: String,
    /// The peer's identification string.
    pub peer: String,
    /// What the stream was asked to lead to.
    pub target: String,
    /// Hex; the same for all streams of a session on this side.
    pub session_id: String,
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
    pub(super) info: Arc<Info>,
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
        if self.core.is_ended() {
            return Err(self.lost());
        }
        let (tell, told) = oneshot::channel();
        let opening = open(
            Arc::clone(&self.core),
            Arc::clone(&self.handle),
            Arc::clone(&self.refusals),
            target.clone(),
        );
        // In a task of its own: an open that is given up must still be closed when its confirmation comes.
        self.core.scope().spawn_to_end(async move {
            if let Err(Ok(channel)) = tell.send(opening.await) {
                channel.close();
            }
        });
        let channel = tokio::select! {
            biased;
            opened = told => opened.map_err(|_| self.lost())??,
            () = self.core.ended() => return Err(self.lost()),
            () = tokio::time::sleep(limit) => {
                let message = format!("the server did not answer the request for {target} in time");
                return Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Channel));
            }
        };
        let info = Info { target: target.to_string(), ..Info::clone(&self.info) };
        Ok(Stream::new(channel, Arc::new(info)))
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

    fn lost(&self) -> Error {
        self.core.failure().unwrap_or_else(|| {
            Error::new(Code::SessionClosed, "the session is closed").at(Phase::Channel)
        })
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

async fn open(
    core: Arc<Core>,
    handle: Arc<client::Handle<Handler>>,
    refusals: Arc<super::refusals::Refusals>,
    target: Target,
) -> Result<Arc<Channel>> {
    let (host, port) = match &target {
        Target::Reserved(name) => (name.clone(), 0),
        Target::Tcp(at) => (at.host.clone(), u32::from(at.port)),
    };
    // The originator (RFC 4254 §7.2) is this program, which has no address of its own.
    match handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0).await {
        Ok(channel) => {
            let id = channel.id();
            let (incoming, writer) = channel.split();
            Ok(Channel::open(&core, id, incoming, Writer::Client(writer)))
        }
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            let text = refusals.take(reason.code()).await;
            Err(refused(&target, &reason, &text))
        }
        Err(_) => Err(core.failure().unwrap_or_else(|| {
            Error::new(Code::SessionClosed, "the session is closed").at(Phase::Channel)
        })),
    }
}

/// A refusal in the words programs know: a far end that could not connect says why, and that is the code.
fn refused(target: &Target, reason: &ChannelOpenFailure, text: &str) -> Error {
    let refusal = match reason.code() {
        2 => Refusal::ConnectFailed,
        3 => Refusal::UnknownType,
        4 => Refusal::ResourceShortage,
        _ => Refusal::Prohibited,
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(128).collect();
    let code = match refusal {
        Refusal::ConnectFailed => far_code(&text).map_or(Code::ChannelRejected, Code::System),
        _ => Code::ChannelRejected,
    };
    let mut error = Error::new(code, format!("the server refused {target}: {text}"))
        .at(Phase::Channel)
        .refused(refusal);
    if let Target::Tcp(at) = target {
        error = error.address(&at.host, at.port);
    }
    error
}

/// The system error a server's text names: strerror(3) texts of OpenSSH and others, and plain POSIX names.
fn far_code(text: &str) -> Option<&'static str> {
    const KNOWN: &[(&str, &str)] = &[
        ("connection refused", "ECONNREFUSED"),
        ("connection timed out", "ETIMEDOUT"),
        ("timed out", "ETIMEDOUT"),
        ("timeout", "ETIMEDOUT"),
        ("no route to host", "EHOSTUNREACH"),
        ("host is unreachable", "EHOSTUNREACH"),
        ("network is unreachable", "ENETUNREACH"),
        ("name or service not known", "ENOTFOUND"),
        ("unknown host", "ENOTFOUND"),
        ("no address associated", "ENOTFOUND"),
        ("name resolution", "ENOTFOUND"),
        ("econnrefused", "ECONNREFUSED"),
        ("etimedout", "ETIMEDOUT"),
        ("enotfound", "ENOTFOUND"),
        ("ehostunreach", "EHOSTUNREACH"),
        ("enetunreach", "ENETUNREACH"),
    ];
    let text = text.to_ascii_lowercase();
    KNOWN.iter().find(|(part, _)| text.contains(part)).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_refusal_keeps_its_system_name() {
        let target = "db:5432".parse().unwrap_or_else(|e| panic!("{e}"));
        let error = refused(&target, &ChannelOpenFailure::ConnectFailed, "Connection refused");
        assert_eq!(error.code().as_str(), "ECONNREFUSED");
        assert_eq!(error.refusal(), Some(Refusal::ConnectFailed));
        let prohibited = &ChannelOpenFailure::AdministrativelyProhibited;
        let error = refused(&target, prohibited, "Connection refused");
        assert_eq!(error.code(), Code::ChannelRejected);
    }
}
