//! A stream that the peer asks for, as a request: confirmed only once somebody knows that its target can be reached.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::server;
use russh::{ChannelId, ChannelOpenFailure, ChannelOpenHandleInner, ChannelReadHalf};
use tokio::sync::OwnedSemaphorePermit;

use super::before::Unanswered;
use super::channel::Channel;
use super::core::Core;
use super::flush::Writer;
use super::session::Info;
use super::spare::Verdict;
use super::stream::Stream;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Connected;
use crate::listen::Answer;

/// Longest time until a client has closed a channel on which it was refused: what it takes to answer an open at most.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// How a stream is asked for. Dropped, it is refused.
pub(super) enum Ask<M: Send + 'static> {
    /// By the open of a channel.
    Open {
        id: ChannelId,
        incoming: ChannelReadHalf,
        writer: Writer,
        reply: ChannelOpenHandleInner<M>,
    },
    /// By the header of a spare one.
    Spare(Unanswered),
}

impl Ask<server::Msg> {
    pub(super) fn open(
        channel: russh::Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
    ) -> Self {
        let id = channel.id();
        let (incoming, writer) = channel.split();
        Self::Open { id, incoming, writer: Writer::Server(writer), reply }
    }
}

impl<M: Send + 'static> Ask<M> {
    /// Says yes, once the channel is known to its session and has its `room`.
    async fn accept(
        self,
        core: &Arc<Core>,
        info: Info,
        room: Option<OwnedSemaphorePermit>,
    ) -> Stream {
        let keep = |id| room.into_iter().for_each(|room| core.keep(id, room));
        match self {
            Self::Open { id, incoming, writer, reply } => {
                keep(id);
                let channel = Channel::open(core, id, incoming, writer);
                reply.accept().await;
                Stream::new(channel, Arc::new(info))
            }
            Self::Spare(spare) => {
                let channel = Arc::clone(&spare.0);
                keep(channel.id);
                channel.answer(&Verdict::Accepted);
                Stream::new(channel, Arc::new(info))
            }
        }
    }

    /// Says no.
    pub(super) async fn reject(self, core: &Arc<Core>, why: ChannelOpenFailure) {
        match self {
            Self::Open { reply, .. } => reply.reject(why).await,
            Self::Spare(spare) => {
                spare.0.answer(&Verdict::refused(&why));
                let (core, channel) = (Arc::clone(core), Arc::clone(&spare.0));
                core.scope().clone().spawn_to_end(async move {
                    // The client is the one to close: russh keeps 4 KiB of a channel that this side closes first.
                    if tokio::time::timeout(CLOSE_LIMIT, channel.closed()).await.is_err() {
                        core.violated("a channel was not closed after its refusal");
                    }
                });
            }
        }
    }
}

/// A pending request, of either role. Dropped, it is refused.
pub(super) struct Opening<M: Send + 'static> {
    pub(super) core: Arc<Core>,
    pub(super) info: Info,
    pub(super) ask: Ask<M>,
    /// Its place among the opens that wait.
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// Its place among the open streams of all sessions.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl<M: Send + 'static> Answer for Opening<M> {
    fn accept(self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        async move {
            let Self { core, info, ask, place, room } = *self;
            drop(place);
            if core.is_ended() {
                let gone = "the session ended before its stream was open";
                return Err(Error::new(Code::SessionClosed, gone).at(Phase::Channel));
            }
            Ok(ask.accept(&core, info, room).await.into())
        }
        .boxed()
    }

    fn refuse(self: Box<Self>, why: Error) -> BoxFuture<'static, ()> {
        async move { self.ask.reject(&self.core, failure(&why)).await }.boxed()
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
