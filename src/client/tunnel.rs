//! A session with a container, supervised: it comes back by itself, and forwards go through it as through any other.

mod ssh;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub(crate) use ssh::SshProxy;

use super::Route;
use crate::backoff::Backoff;
use crate::dial::Dialer;
use crate::error::{Code, Error, Phase, Result};
use crate::io::Connected;
use crate::scope::Scope;
use crate::target::Target;
use crate::tunnel::{Link, Socket, Url, begin, open, reach, segment};

/// How long a connection waits for a session when there is none (as for sessions over SSH).
const WAIT: Duration = Duration::from_secs(10);

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long `close` waits.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// Which container, through which host.
#[derive(Clone)]
pub(crate) struct TunnelPlace {
    pub(crate) host: Url,
    pub(crate) task: String,
    /// The port that the session is asked for; connections name their own.
    pub(crate) port: u16,
    pub(crate) udp: bool,
    pub(crate) token: Option<String>,
    pub(crate) insecure: bool,
}

/// See the module. Dropping it ends the session.
pub(crate) struct Tunnel {
    standing: watch::Receiver<Standing>,
    scope: Scope,
}

/// Whether there is a session.
#[derive(Clone)]
pub(crate) enum Standing {
    Up(Arc<Link>),
    /// With why it was lost, or the last attempt failed.
    Down(Error),
}

impl Tunnel {
    /// Begins a session, or says why there is none.
    ///
    /// # Errors
    /// Those of a dial, `ERR_ALKNET_AUTH_REJECTED`, and `ERR_ALKNET_CHANNEL_REJECTED` with what the host said.
    pub(crate) async fn open(place: TunnelPlace) -> Result<Self> {
        let (link, socket) = attempt(&place).await?;
        let (tell, standing) = watch::channel(Standing::Up(Arc::clone(&link)));
        let scope = Scope::new();
        scope.spawn(supervise(place, link, socket, tell));
        Ok(Self { standing, scope })
    }

    /// Follows whether there is a session.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Ends the session and its connections, 3 s at most. Idempotent.
    pub(crate) async fn close(&self) {
        self.scope.cancel();
        self.scope.join(CLOSE_LIMIT).await;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

async fn attempt(place: &TunnelPlace) -> Result<(Arc<Link>, Socket)> {
    let proto = if place.udp { "udp" } else { "tcp" };
    let path = format!("/ws/forward/{}/{}?proto={proto}", segment(&place.task), place.port);
    let (socket, extended) =
        reach(&place.host, &path, place.token.as_deref(), place.insecure).await?;
    begin(socket, extended).await
}

async fn supervise(
    place: TunnelPlace,
    mut link: Arc<Link>,
    mut socket: Socket,
    tell: watch::Sender<Standing>,
) {
    let mut backoff = Backoff::new(LONGEST_PAUSE);
    loop {
        let why = link.drive(socket).await;
        tell.send_replace(Standing::Down(why));
        backoff.reset();
        (link, socket) = loop {
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
            match attempt(&place).await {
                Ok(begun) => break begun,
                Err(why) => drop(tell.send_replace(Standing::Down(why))),
            }
        };
        tell.send_replace(Standing::Up(Arc::clone(&link)));
    }
}

/// Through the session of the moment; while there is none, connections wait for one.
impl From<&Tunnel> for Route {
    fn from(tunnel: &Tunnel) -> Self {
        Self::through(Arc::new(Through(tunnel.standing.clone())))
    }
}

struct Through(watch::Receiver<Standing>);

impl Dialer for Through {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let mut standing = self.0.clone();
            let up = standing.wait_for(|standing| matches!(standing, Standing::Up(_)));
            match tokio::time::timeout(WAIT, up).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Error::new(Code::SessionClosed, "the tunnel was closed")),
                Err(_) => return Err(self.missing()),
            }
            let now = standing.borrow().clone();
            match now {
                Standing::Up(link) => open(&link, target).await,
                Standing::Down(_) => Err(self.missing()),
            }
        }
        .boxed()
    }
}

impl Through {
    fn missing(&self) -> Error {
        let why = match &*self.0.borrow() {
            Standing::Down(why) => why.to_string(),
            Standing::Up(_) => String::new(),
        };
        Error::new(Code::Reconnecting, format!("there is no tunnel at the moment: {why}"))
            .at(Phase::Channel)
    }
}
