//! What a server's session does for forwards: opens of the client's that lead elsewhere, and listeners that lead back to the client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use russh::ChannelOpenFailure;
use russh::server::{self, Msg};
use tokio::sync::Semaphore;

use super::channel::Channel;
use super::core::Core;
use super::flush::Writer;
use super::opening::{Ask, Opening, failure};
use super::session::Info;
use super::stream::Stream;
use crate::dial::Dialer;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Connected;
use crate::listen::Request;
use crate::target::{Target, udp_host, udp_name};

/// Opens of a session that wait for their target: a quarter of its channels. What is behind a proxy opens hundreds at once, and some
/// of them wait for the whole dial limit.
const MAX_OPENING: usize = 256;

/// Listeners of a session (reference table: global requests).
const MAX_LISTENERS: usize = 16;

/// What a server offers of forwards. Composition sets it; without it everything is refused.
pub(crate) trait Forwarding: Send + Sync + 'static {
    /// Takes a request over and answers it in a task of its own. Never waits.
    fn open(&self, request: Request, who: &Info);

    /// Listens where a client asks, for the streams to go through `back`. Waits for no network.
    fn listen<'a>(
        &'a self,
        wanted: Wanted<'a>,
        back: Arc<dyn Dialer>,
        who: &'a Info,
    ) -> BoxFuture<'a, Result<Listening>>;
}

/// Where a client wants a server to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// `tcpip-forward`.
    Tcp(&'a str, u16),
    /// The same with a name for UDP (docs/wire.md).
    Udp(&'a str, u16),
    /// `streamlocal-forward@openssh.com`.
    Unix(&'a str),
}

impl<'a> Wanted<'a> {
    /// What a `tcpip-forward` asks for.
    pub(super) fn port(address: &'a str, port: u16) -> Self {
        match udp_host(address) {
            Some(address) => Self::Udp(address, port),
            None => Self::Tcp(address, port),
        }
    }
}

/// A listener, ended by its drop.
pub(crate) struct Listening {
    /// The real port; 0 for a path.
    pub(crate) port: u16,
    /// Ends the listener when dropped.
    pub(crate) _guard: Box<dyn Send + Sync>,
}

/// A session's share in forwards; it goes with the session.
pub(super) struct Forwards {
    offered: Option<Arc<dyn Forwarding>>,
    opening: Arc<Semaphore>,
    /// Places for open streams, of all sessions.
    channels: Arc<Semaphore>,
    listeners: HashMap<(String, u32), Listening>,
}

impl Forwards {
    pub(super) fn new(offered: Option<Arc<dyn Forwarding>>, channels: Arc<Semaphore>) -> Self {
        let opening = Arc::new(Semaphore::new(MAX_OPENING));
        Self { offered, opening, channels, listeners: HashMap::new() }
    }

    /// Whether there are any.
    pub(super) fn are_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// Hands a request over, or gives it back with the reason for a refusal.
    pub(super) fn open(
        &self,
        core: &Arc<Core>,
        who: &Info,
        target: Target,
        origin: Option<SocketAddr>,
        ask: Ask<Msg>,
    ) -> Option<(Ask<Msg>, ChannelOpenFailure)> {
        let Some(offered) = &self.offered else {
            let reason = "forwarding is not offered here".to_owned();
            return Some((ask, ChannelOpenFailure::Other { code: 1, reason }));
        };
        let Ok(place) = Arc::clone(&self.opening).try_acquire_owned() else {
            let why = Error::new(Code::ChannelRejected, "too many opens wait for their targets")
                .refused(Refusal::ResourceShortage);
            return Some((ask, failure(&why)));
        };
        let Ok(room) = Arc::clone(&self.channels).try_acquire_owned() else {
            let why = Error::new(Code::ChannelRejected, "too many open channels on this server")
                .refused(Refusal::ResourceShortage);
            return Some((ask, failure(&why)));
        };
        let answer = Opening {
            core: Arc::clone(core),
            info: Info { target: target.to_string(), ..who.clone() },
            ask,
            place: Some(place),
            room: Some(room),
        };
        offered.open(Request { target, origin, answer: Box::new(answer) }, who);
        None
    }

    /// Listens for the client. Returns the port, or `None` when that is refused.
    pub(super) async fn listen(
        &mut self,
        core: &Arc<Core>,
        handle: server::Handle,
        who: &Info,
        wanted: Wanted<'_>,
    ) -> Option<u16> {
        let offered = self.offered.as_ref()?;
        if self.listeners.len() >= MAX_LISTENERS {
            tracing::info!("a session asked for too many listeners");
            return None;
        }
        let (core, handle) = (Arc::clone(core), handle);
        let channels = Arc::clone(&self.channels);
        let back = Arc::new(Back { core, handle, info: who.clone(), channels });
        match offered.listen(wanted, back, who).await {
            Ok(listening) => {
                let port = listening.port;
                self.listeners.insert(key(wanted, port), listening);
                Some(port)
            }
            Err(e) => {
                tracing::info!(code = e.code().as_str(), "a listener for a client was refused");
                None
            }
        }
    }

    /// Ends a listener of this session's.
    pub(super) fn cancel(&mut self, wanted: Wanted<'_>) -> bool {
        let port = match wanted {
            Wanted::Tcp(_, port) | Wanted::Udp(_, port) => port,
            Wanted::Unix(_) => 0,
        };
        self.listeners.remove(&key(wanted, port)).is_some()
    }
}

fn key(wanted: Wanted<'_>, port: u16) -> (String, u32) {
    match wanted {
        Wanted::Tcp(address, _) => (address.to_owned(), u32::from(port)),
        Wanted::Udp(address, _) => (udp_name(address), u32::from(port)),
        Wanted::Unix(path) => (path.to_owned(), 0),
    }
}

/// Back to the client: `forwarded-tcpip` and `forwarded-streamlocal@openssh.com`. The target is where it asked to listen.
struct Back {
    core: Arc<Core>,
    handle: server::Handle,
    info: Info,
    /// Places for open streams, of all sessions.
    channels: Arc<Semaphore>,
}

impl Dialer for Back {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let Ok(room) = Arc::clone(&self.channels).try_acquire_owned() else {
                let why = "too many open channels on this server";
                return Err(Error::new(Code::ChannelRejected, why).at(Phase::Channel));
            };
            let opened = match target.to_open() {
                Some((host, port)) => {
                    let from = origin.map_or_else(|| "127.0.0.1".into(), |at| at.ip().to_string());
                    let from_port = origin.map_or(0, |at| u32::from(at.port()));
                    self.handle.channel_open_forwarded_tcpip(host, port, from, from_port).await
                }
                None => self.handle.channel_open_forwarded_streamlocal(target.to_string()).await,
            };
            let channel = opened.map_err(|_| {
                Error::new(Code::ChannelRejected, "the client does not take the connection")
                    .at(Phase::Channel)
            })?;
            let id = channel.id();
            self.core.keep(id, room);
            let (incoming, writer) = channel.split();
            let channel = Channel::open(&self.core, id, incoming, Writer::Server(writer));
            let info = Info { target: target.to_string(), ..self.info.clone() };
            Ok(Stream::new(channel, Arc::new(info)).into())
        }
        .boxed()
    }
}
