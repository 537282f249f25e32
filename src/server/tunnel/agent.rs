//! The agent: a runner's requests × the services beside it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{CLOSE_LIMIT, MAX_SOCKETS};
use crate::backoff::Backoff;
use crate::dial::{Dialer, Direct, Loopback};
use crate::error::{Error, Result};
use crate::forward::Forward;
use crate::http::{Socket, segment};
use crate::io::{Connected, Ends, Relays};
use crate::scope::Scope;
use crate::target::{HostPort, Target};
use crate::tunnel::{Asks, Link, Manner, TERMINAL, Traffic, Url, reach, welcome};

/// Dialling a service, above what the dialer itself allows.
const DIAL_LIMIT: Duration = Duration::from_secs(15);

/// How often what went over a link is added to what is shown of it.
const COUNTED: Duration = Duration::from_secs(1);

/// What an agent needs.
#[derive(Clone)]
pub(crate) struct AgentOptions {
    pub(crate) runner: Url,
    pub(crate) container: String,
    pub(crate) token: Option<String>,
    /// Longest pause between attempts.
    pub(crate) reconnect_delay: Duration,
    /// Failed attempts in a row before it gives up; 0 never does.
    pub(crate) max_reconnect: u32,
    /// Ports that may be reached; empty for all.
    pub(crate) ports: Vec<u16>,
    pub(crate) manner: Manner,
    /// The program of terminals, and its arguments; `None` for no terminals.
    pub(crate) shell: Option<Vec<String>>,
}

/// Where an agent is.
pub(crate) enum AgentEvent<'a> {
    Connected,
    Lost(&'a Error),
    Failed(&'a Error),
}

/// Runs an agent: until it has to give up, which is an error; a permanent one at once.
///
/// # Errors
/// Why the last attempt failed.
pub(crate) async fn run_agent(
    options: &AgentOptions,
    mut told: impl FnMut(AgentEvent<'_>),
) -> Result<()> {
    let path = format!("/ws/tunnel/{}", segment(&options.container));
    let mut backoff = Backoff::new(options.reconnect_delay.max(Duration::from_millis(100)));
    loop {
        tokio::time::sleep(backoff.pause(fastrand::f64())).await;
        match reach(&options.runner, &path, options.token.as_deref(), options.manner.clone()).await
        {
            Ok((socket, extended)) => {
                told(AgentEvent::Connected);
                let why = serve_container(options, socket, extended).await;
                told(AgentEvent::Lost(&why));
                backoff.reset();
                // The first of a row comes at once: not so after a connection that was ended by the other side.
                backoff.pause(0.0);
                if why.to_string().contains("replaced") {
                    backoff.slow_down();
                }
            }
            Err(error) => {
                told(AgentEvent::Failed(&error));
                let attempts = u32::try_from(backoff.attempts()).unwrap_or(u32::MAX);
                if error.code().is_permanent()
                    || (options.max_reconnect > 0 && attempts > options.max_reconnect)
                {
                    return Err(error);
                }
            }
        }
    }
}

/// A machine without an agent: its ports are dialled from here.
pub(super) async fn machine(mut user: Socket, at: HostPort, counts: &Relays) {
    if welcome(&mut user).await {
        let scope = Scope::new();
        serve_asks(Arc::new(Machine(at.host)), user, false, &scope, |went| {
            counts.up.fetch_add(went.received, Ordering::Relaxed);
            counts.down.fetch_add(went.sent, Ordering::Relaxed);
        })
        .await;
    }
}

struct Machine(String);

impl Dialer for Machine {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let at = |port| HostPort { host: self.0.clone(), port };
            let target = match target {
                Target::Tcp(asked) => Target::Tcp(at(asked.port)),
                Target::Udp(asked) => Target::Udp(at(asked.port)),
                other => other.clone(),
            };
            Dialer::dial(&Direct, &target, origin).await
        }
        .boxed()
    }
}

/// What an agent leads to: services by their ports, and a shell.
struct Container {
    services: Loopback,
    shell: Option<Vec<String>>,
    scope: Scope,
}

impl Dialer for Container {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        match (target, &self.shell) {
            #[cfg(unix)]
            (Target::Reserved(name), Some(words)) if name == TERMINAL => {
                let io = crate::tunnel::shell(words.clone(), &self.scope);
                let ends = Ends { transport: "terminal", ..Ends::default() };
                std::future::ready(Ok(Connected { io, ends })).boxed()
            }
            _ => self.services.dial(target, origin),
        }
    }
}

/// Terminals are for runners that have announced to ask for them on nobody's behalf.
async fn serve_container(options: &AgentOptions, socket: Socket, terminals: bool) -> Error {
    let scope = Scope::new();
    let services = Loopback { ports: options.ports.clone() };
    let container = Container { services, shell: options.shell.clone(), scope: scope.clone() };
    serve_asks(Arc::new(container), socket, terminals, &scope, |_| {}).await
}

/// `count` is told each second what went over since, and at the end.
async fn serve_asks(
    dialer: Arc<dyn Dialer>,
    socket: Socket,
    terminals: bool,
    scope: &Scope,
    count: impl Fn(Traffic),
) -> Error {
    let (link, wanted) = Link::acceptor(terminals);
    let forward = Forward::new(dialer, DIAL_LIMIT, MAX_SOCKETS);
    let asks = Asks { link: Arc::clone(&link), wanted };
    scope.spawn(forward.run(Box::new(asks), scope.clone()));
    let why = tokio::select! {
        why = link.drive(socket) => why,
        never = tell_traffic(&link, &count) => match never {},
    };
    count(link.take_traffic());
    scope.cancel();
    scope.join(CLOSE_LIMIT).await;
    why
}

async fn tell_traffic(link: &Link, told: &impl Fn(Traffic)) -> Infallible {
    loop {
        tokio::time::sleep(COUNTED).await;
        told(link.take_traffic());
    }
}
