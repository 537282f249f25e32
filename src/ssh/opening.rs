//! A channel that the peer wants to open, as a request: confirmed only once somebody knows that its target can be reached.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::{ChannelId, ChannelOpenFailure, ChannelOpenHandleInner, ChannelReadHalf};
use tokio::sync::OwnedSemaphorePermit;

use super::channel::Channel;
use super::core::Core;
use super::flush::Writer;
use super::session::Info;
use super::stream::Stream;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Connected;
use crate::listen::Answer;

/// A pending open, of either role. Dropped, it is refused.
pub(super) struct Opening<M: Send + 'static> {
    pub(super) core: Arc<Core>,
    pub(super) info: Info,
    pub(super) id: ChannelId,
    pub(super) incoming: ChannelReadHalf,
    pub(super) writer: Writer,
    pub(super) reply: ChannelOpenHandleInner<M>,
    /// Its place among the opens that wait.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Its place among the open streams of all sessions.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl<M: Send + 'static> Answer for Opening<M> {
    fn accept(self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        async move {
            let Self { core, info, id, incoming, writer, reply, place, room } = *self;
            drop(place);
            if core.is_ended() {
                let gone = "the session ended before its stream was open";
                return Err(Error::new(Code::SessionClosed, gone).at(Phase::Channel));
            }
            if let Some(room) = room {
                core.keep(id, room);
            }
            // Known to its session before the peer may send.
            let channel = Channel::open(&core, id, incoming, writer);
            reply.accept().await;
            Ok(Stream::new(channel, Arc::new(info)).into())
        }
        .boxed()
    }

    fn refuse(self: Box<Self>, why: Error) -> BoxFuture<'static, ()> {
        async move { self.reply.reject(failure(&why)).await }.boxed()
    }
}

/// A failure as a peer's refusal: reasons 1 to 4 of RFC 4254 §5.1, with the texts that OpenSSH sends.
pub(super) fn failure(why: &Error) -> ChannelOpenFailure {
    let other = |code, reason: &str| ChannelOpenFailure::Other { code, reason: reason.to_owned() };
    match (why.refusal(), why.code()) {
        (Some(Refusal::Prohibited), _) => other(1, &why.to_string()),
        (Some(Refusal::ResourceShortage), _) => other(4, &why.to_string()),
        (_, Code::System(name)) => other(2, strerror(name)),
        (_, Code::Config) => other(1, "there can be no such target"),
        _ => other(2, "the target could not be reached"),
    }
}

/// What strerror(3) and gai_strerror(3) say.
fn strerror(name: &'static str) -> &'static str {
    match name {
        "ECONNREFUSED" => "Connection refused",
        "ETIMEDOUT" => "Connection timed out",
        "EHOSTUNREACH" => "No route to host",
        "ENETUNREACH" => "Network is unreachable",
        "ENOTFOUND" => "Name or service not known",
        "ENOENT" => "No such file or directory",
        "EACCES" => "Permission denied",
        "ECONNRESET" => "Connection reset by peer",
        name => name,
    }
}
