//! Opening a stream on a client's session, and what a refusal means.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::{ChannelOpenFailure, client};
use tokio::sync::oneshot;

use super::channel::Channel;
use super::client::Handler;
use super::core::Core;
use super::flush::Writer;
use super::refusals::Refusals;
use super::session::Info;
use super::stream::Stream;
use crate::dial::Dialer;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::{Connected, Ends};
use crate::target::Target;

/// Longest wait for the answer to an open that a forward asked for: a server's own limits are 5 s for the name and 10 s to connect,
/// and the answer has to come back (reference table: outbound).
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// See the module. It does not keep its session open.
#[derive(Clone)]
pub(crate) struct Opener {
    pub(super) core: Arc<Core>,
    pub(super) handle: Arc<client::Handle<Handler>>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) info: Arc<Info>,
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
            () = tokio::time::sleep(limit) => {
                let message = format!("the server did not answer the request for {target} in time");
                Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Channel))
            }
        }
    }

    /// Ready once the session is over.
    pub(crate) async fn ended(&self) {
        self.core.ended().await;
    }

    async fn ask(&self, target: &Target, origin: Option<SocketAddr>) -> Result<Stream> {
        let asked = match target.to_open() {
            Some((host, port)) => {
                // The originator (RFC 4254 §7.2): this program itself has no address of its own.
                let from = origin.map_or_else(|| "127.0.0.1".into(), |at| at.ip().to_string());
                let from_port = origin.map_or(0, |at| u32::from(at.port()));
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
                Err(refused(target, &reason, &text))
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
        let error = refused(&target, &ChannelOpenFailure::ConnectFailed, "Connection refused");
        assert_eq!(error.code().as_str(), "ECONNREFUSED");
        assert_eq!(error.refusal(), Some(Refusal::ConnectFailed));
        let prohibited = &ChannelOpenFailure::AdministrativelyProhibited;
        let error = refused(&target, prohibited, "Connection refused");
        assert_eq!(error.code(), Code::ChannelRejected);
    }
}
