//! Composition of the tunnel's pieces that others connect to, and of the agent: sockets × what passes messages on.

mod agent;
mod host;
mod runner;
mod ssh;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::config::Bind;
use crate::error::{Error, Result};
use crate::listen::{Incoming, serve};
use crate::scope::Scope;
use crate::transport::bind;
use crate::tunnel::{Asked, Runner, Tokens, UPGRADE_LIMIT, asked};

pub(crate) use agent::{AgentEvent, AgentOptions, run_agent};
pub(crate) use host::HostOptions;
use host::{HostDesk, HostState};
use runner::RunnerDesk;
use ssh::serve_ssh;

/// Sockets at once; more are not answered (reference table: authenticated connections).
const MAX_SOCKETS: usize = 4096;

/// How long `close` waits for sessions to be gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// What a runner or a host listens with.
#[derive(Clone, Debug)]
pub(crate) struct TunnelOptions {
    pub(crate) listen: Bind,
    pub(crate) token_file: Option<PathBuf>,
    /// Listens beyond loopback without TLS.
    pub(crate) insecure: bool,
}

/// A runner or a host that listens. Dropping it ends it.
pub(crate) struct TunnelServer {
    scope: Scope,
    addresses: Vec<SocketAddr>,
    ssh: Vec<SocketAddr>,
    desk: Arc<dyn Desk>,
}

impl TunnelServer {
    /// # Errors
    /// Those of binding, of the token file, and `ERR_ALKNET_CONFIG` for what would be open to a network.
    pub(crate) async fn runner(options: &TunnelOptions) -> Result<Self> {
        let desk = RunnerDesk {
            runner: Runner::default(),
            tokens: Mutex::new(tokens(options.token_file.as_deref())?),
            file: options.token_file.clone(),
        };
        let desk: Arc<dyn Desk> = Arc::new(desk);
        let scope = Scope::new();
        let addresses = open_desk(options, &desk, &scope).await?;
        Ok(Self { scope, addresses, ssh: Vec::new(), desk })
    }

    /// # Errors
    /// Those of a runner, and of the registry.
    pub(crate) async fn host(options: &TunnelOptions, host: HostOptions) -> Result<Self> {
        let state = HostState::read(&host, options.token_file.as_deref())?;
        let proxy = host.ssh_listen.clone();
        let desk = Arc::new(HostDesk {
            state: Mutex::new(Arc::new(state)),
            options: host,
            file: options.token_file.clone(),
        });
        let scope = Scope::new();
        let erased: Arc<dyn Desk> = Arc::clone(&desk) as _;
        let addresses = open_desk(options, &erased, &scope).await?;
        let ssh = match proxy {
            None => Vec::new(),
            Some(listen) => {
                open(&listen, options, &*erased, &scope, move |incoming| {
                    serve_ssh(incoming, Arc::clone(&desk))
                })
                .await?
            }
        };
        Ok(Self { scope, addresses, ssh, desk: erased })
    }

    /// The addresses of the SSH proxy.
    pub(crate) fn ssh_addresses(&self) -> &[SocketAddr] {
        &self.ssh
    }

    /// The addresses listened on, with real ports.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads tokens and registry again. Sessions go on.
    ///
    /// # Errors
    /// Those of the files; what was read before stays.
    pub(crate) fn reload(&self) -> Result<()> {
        self.desk.reload()
    }

    /// Ends every session and waits until they are gone, 3 s at most.
    pub(crate) async fn close(&self) {
        self.scope.cancel();
        self.scope.join(CLOSE_LIMIT).await;
    }
}

impl Drop for TunnelServer {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

async fn open_desk(
    options: &TunnelOptions,
    desk: &Arc<dyn Desk>,
    scope: &Scope,
) -> Result<Vec<SocketAddr>> {
    let answering = Arc::clone(desk);
    open(&options.listen, options, &**desk, scope, move |incoming| {
        let desk = Arc::clone(&answering);
        async move { take(incoming, &*desk).await }
    })
    .await
}

/// Listens, unless that would be open to a network, and handles each arrival until the scope ends.
async fn open<F>(
    listen: &Bind,
    options: &TunnelOptions,
    desk: &dyn Desk,
    scope: &Scope,
    handle: impl Fn(Incoming) -> F + Clone + Send + Sync + 'static,
) -> Result<Vec<SocketAddr>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let bound = bind(listen, false).await?;
    if bound.addresses.iter().any(|at| !at.ip().is_loopback()) {
        if !desk.needs_tokens() {
            let why = "without a token file whoever reaches this port reaches the containers";
            return Err(Error::config(why).hint("give --tokens, or listen on 127.0.0.1"));
        }
        if !options.insecure {
            let why = "tokens must not go over a network in the clear";
            return Err(Error::config(why)
                .hint("listen on 127.0.0.1 behind a server with TLS, or say --insecure"));
        }
    }
    let places = Arc::new(Semaphore::new(MAX_SOCKETS));
    for listener in bound.listeners {
        let (tasks, places, handle) = (scope.clone(), Arc::clone(&places), handle.clone());
        scope.spawn(serve(listener, scope.clone(), move |incoming| {
            let (tasks, places) = (tasks.clone(), Arc::clone(&places));
            let handled = handle(incoming);
            async move {
                let Ok(_place) = places.try_acquire() else { return };
                tasks.until_cancelled(handled).await;
            }
        }));
    }
    Ok(bound.addresses)
}

fn tokens(file: Option<&Path>) -> Result<Tokens> {
    file.map_or_else(|| Ok(Tokens::default()), Tokens::read)
}

/// Who answers requests.
trait Desk: Send + Sync + 'static {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<()>>;
    fn needs_tokens(&self) -> bool;
    fn reload(&self) -> Result<()>;
}

async fn take(incoming: Incoming, desk: &dyn Desk) {
    let reading = async { asked(incoming.handshake.await?.io).await };
    let answered = match tokio::time::timeout(UPGRADE_LIMIT, reading).await {
        Ok(Ok(asked)) => desk.answer(asked).await,
        Ok(Err(error)) => Err(error),
        Err(_) => return tracing::info!("an arrival did not ask for anything in time"),
    };
    if let Err(error) = answered {
        tracing::debug!(code = error.code().as_str(), "a request came to nothing");
    }
}

async fn deny(asked: Asked, status: &str, why: &str) -> Result<()> {
    let body = serde_json::json!({ "detail": why }).to_string();
    asked.answer(status, "application/json", &body).await;
    Ok(())
}

/// A port as the original takes it; what does not fit 16 bits cannot be meant.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}
