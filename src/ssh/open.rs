//! Opening a stream on a client's session, and what a refusal means.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::client;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::channel::Channel;
use super::client::Handler;
use super::core::Core;
use super::flush::Writer;
use super::refusals::Refusals;
use super::session::Info;
use super::spare::{Named, originator};
use super::spares::Spares;
use super::stream::Stream;
use crate::dial::{Dialer, Early};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::{ByteQueue, Connected, Ends, Io};
use crate::target::Target;

/// Longest wait for the answer to an open that a forward asked for: a server's own limits are 5 s for the name and 10 s to connect,
/// and the answer has to come back (reference table: outbound).
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Bytes of an asker that are sent with what it asks for.
const FIRST_BYTES: usize = 64 * 1024;

/// See the module. It does not keep its session open.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(super) core: Arc<Core>,
    pub(super) handle: Arc<client::Handle<Handler>>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) info: Arc<Info>,
    pub(super) spares: Arc<Spares>,
}

/// What an asker says before it can have an answer.
#[derive(Default)]
struct Said {
    queue: ByteQueue,
    bytes: u64,
    failed: bool,
}

impl Said {
    /// Ready with its first bytes, its end or its failure.
    fn poll(&mut self, cx: &mut Context<'_>, asker: &mut dyn Io) -> Poll<()> {
        let mut space = BytesMut::new();
        let read = ready!(asker.poll_fill(cx, &mut self.queue, &mut space, FIRST_BYTES));
        self.bytes = self.queue.len() as u64;
        self.failed = read.is_err();
        Poll::Ready(())
    }
}

impl Opener {
    /// Opens a stream for `origin`. Dropping the future closes a stream that is confirmed later.
    pub(crate) async fn open(
        &self,
        target: &Target,
        origin: Option<SocketAddr>,
        limit: Duration,
    ) -> Result<Stream> {
        if self.core.is_ended() {
            return Err(self.lost());
        }
        self.check(target)?;
        let (tell, told) = oneshot::channel();
        let (opener, wanted) = (self.clone(), target.clone());
        // In a task of its own: an open that is given up must still be closed when its confirmation comes, and a stream closes
        // itself wherever it is let go, also between here and there.
        self.core.scope().spawn_to_end(async move {
            let _ = tell.send(opener.ask(&wanted, origin).await);
        });
        tokio::select! {
            biased;
            opened = told => opened.map_err(|_| self.lost())?,
            () = self.core.ended() => Err(self.lost()),
            () = tokio::time::sleep(limit) => Err(unanswered(target)),
        }
    }

    /// The same for an asker that hears no answer: on a spare channel, if there is one, with what `asker` says first, and without waiting
    /// for the server once it has said something.
    pub(crate) async fn open_early(
        &self,
        target: &Target,
        origin: Option<SocketAddr>,
        asker: &mut dyn Io,
        limit: Duration,
    ) -> Result<Early> {
        let deadline = Instant::now() + limit;
        let header = match target {
            Target::Tcp(_) | Target::Unix(_) => Named::of(target, origin).header(),
            _ => None,
        };
        let spare = header.and_then(|header| self.spares.take(self, target, &header));
        let Some(channel) = spare else {
            return Ok(Early::answered(self.open(target, origin, limit).await?.into()));
        };
        let info = Info { target: target.to_string(), ..Info::clone(&self.info) };
        let stream = Stream::new(Arc::clone(&channel), Arc::new(info));
        let mut said = Said::default();
        let first = poll_fn(|cx| Poll::Ready(said.poll(cx, asker))).await;
        channel.send_early(&mut said.queue);
        if first.is_pending() {
            let next = poll_fn(|cx| match channel.poll_answer(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => said.poll(cx, asker).map(|()| None),
            });
            match tokio::time::timeout_at(deadline, next).await {
                Err(_) => return Err(unanswered(target)),
                Ok(Some(answer)) => return answer.map(|()| Early::answered(stream.into())),
                Ok(None) => {}
            }
            channel.send_early(&mut said.queue);
        }
        if said.failed {
            // Its end must not look like one: the relay finds the stream closed.
            stream.close();
            return Ok(Early::answered(stream.into()));
        }
        let target = target.clone();
        let answer = async move {
            let answer = poll_fn(|cx| channel.poll_answer(cx));
            tokio::time::timeout_at(deadline, answer)
                .await
                .unwrap_or_else(|_| Err(unanswered(&target)))
        };
        Ok(Early { stream: stream.into(), sent: said.bytes, answer: Some(answer.boxed()) })
    }

    /// Ready once the session is over.
    pub(crate) async fn ended(&self) {
        self.core.ended().await;
    }

    async fn ask(&self, target: &Target, origin: Option<SocketAddr>) -> Result<Stream> {
        let asked = match target.to_open() {
            Some((host, port)) => {
                let (from, from_port) = originator(origin);
                self.handle.channel_open_direct_tcpip(host, port, from, from_port).await
            }
            None => self.handle.channel_open_direct_streamlocal(target.to_string()).await,
        };
        match asked {
            Ok(channel) => {
                let id = channel.id();
                let (incoming, writer) = channel.split();
                let channel = Channel::open(&self.core, id, incoming, Writer::Client(writer));
                let info = Info { target: target.to_string(), ..Info::clone(&self.info) };
                Ok(Stream::new(channel, Arc::new(info)))
            }
            Err(russh::Error::ChannelOpenFailure(reason)) => {
                let text = self.refusals.take(reason.code()).await;
                Err(refused(target, reason.code(), &text))
            }
            Err(_) => Err(self.lost()),
        }
    }

    pub(super) fn lost(&self) -> Error {
        self.core.failure().unwrap_or_else(|| {
            Error::new(Code::SessionClosed, "the session is closed").at(Phase::Channel)
        })
    }
}

impl Dialer for Opener {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move { Ok(self.open(target, origin, ANSWER_LIMIT).await?.into()) }.boxed()
    }

    fn dial_early<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
        asker: &'a mut dyn Io,
    ) -> BoxFuture<'a, Result<Early>> {
        self.open_early(target, origin, asker, ANSWER_LIMIT).boxed()
    }

    /// Other servers know no UDP, and might look the reserved name up.
    fn check(&self, target: &Target) -> Result<()> {
        match target {
            Target::Udp(_) if !self.core.peer_is_alknet() => {
                Err(no_udp(&format!("target {target}")))
            }
            _ => Ok(()),
        }
    }
}

/// The refusal of UDP for a server that knows none.
pub(super) fn no_udp(what: &str) -> Error {
    let message = format!("{what}: the server is no alknet, and only these forward UDP");
    Error::new(Code::ChannelRejected, message).at(Phase::Channel).refused(Refusal::UnknownType)
}

impl From<Stream> for Connected {
    fn from(stream: Stream) -> Self {
        let Info { remote, local, transport, .. } = *stream.info();
        let ends = Ends { remote, local, transport, ..Ends::default() };
        Self { io: Box::new(stream), ends }
    }
}

fn unanswered(target: &Target) -> Error {
    let message = format!("the server did not answer the request for {target} in time");
    Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Channel)
}

/// A refusal in the words programs know: a far end that could not connect says why, and that is the code.
pub(super) fn refused(target: &Target, code: u32, text: &str) -> Error {
    let refusal = match code {
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
    if let Target::Tcp(at) | Target::Udp(at) = target {
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
        ("no such file or directory", "ENOENT"),
        ("permission denied", "EACCES"),
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
        let error = refused(&target, 2, "Connection refused");
        assert_eq!(error.code().as_str(), "ECONNREFUSED");
        assert_eq!(error.refusal(), Some(Refusal::ConnectFailed));
        let error = refused(&target, 1, "Connection refused");
        assert_eq!(error.code(), Code::ChannelRejected);
    }
}
