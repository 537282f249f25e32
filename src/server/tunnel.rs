//! Composition of the tunnel's pieces that others connect to, and of the agent: sockets × what passes messages on.

mod agent;
mod cover;
mod host;
mod list;
mod page;
mod runner;
mod ssh;
mod terminal;
mod welcome;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::{Gate, Limits, Place};
use crate::config::{Bind, Family};
use crate::error::{Error, Result};
use crate::http::{self, Head, HeaderValue, Page, Served, Site, Upgraded, asks_for_socket};
use crate::io::Cut;
use crate::listen::{Incoming, serve};
use crate::scope::Scope;
use crate::transport::bind;
use crate::tunnel::{Lease, Leases, Runner, Tokens, Url};

pub(crate) use agent::{AgentEvent, AgentOptions, run_agent};
use cover::Cover;
pub(crate) use host::HostOptions;
use host::{HostDesk, HostState};
use runner::RunnerDesk;
use ssh::serve_ssh;
use welcome::{Reloads, while_welcome};

/// Sockets at once; more are not answered (reference table: authenticated connections).
const MAX_SOCKETS: usize = 4096;

/// Connections at once that have no WebSocket yet, and so perhaps no token: a browser keeps two or three for the page.
const MAX_VISITS: usize = 1024;

/// Of these, from one source, unless it is this machine: behind one address may be an office.
const MAX_VISITS_OF_SOURCE: usize = 128;

/// For all that a web client asks for on one connection, until it has a WebSocket: pages are few and small.
const VISIT_LIMIT: Duration = Duration::from_secs(60);

/// Sessions are not counted by whose they are.
const ANYBODY: &str = "";

/// How long `close` waits for sessions to be gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// What a runner or a host listens with.
#[derive(Clone, Debug)]
pub(crate) struct TunnelOptions {
    pub(crate) listen: Bind,
    pub(crate) token_file: Option<PathBuf>,
    /// Listens beyond loopback without TLS.
    pub(crate) insecure: bool,
    /// Files in PEM form, for TLS: the chain, and the key.
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
}

/// Where hosts look for the agents of a runner.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerOptions {
    /// Addresses of NATS, of one cluster.
    pub(crate) nats: Vec<String>,
    /// The runner's URL, as hosts reach it. Default: where it listens.
    pub(crate) advertise: Option<Url>,
    /// What its node is called. Default: host and port of that URL.
    pub(crate) node: Option<String>,
    /// The program of terminals of agents that have none, and its arguments. Default: none.
    pub(crate) command: Vec<String>,
}

/// A runner or a host that listens. Dropping it ends it.
pub(crate) struct TunnelServer {
    scope: Scope,
    addresses: Vec<SocketAddr>,
    ssh: Vec<SocketAddr>,
    desk: Arc<dyn Desk>,
    cover: Cover,
    /// Told that tokens have been read again.
    reloads: watch::Sender<()>,
}

impl TunnelServer {
    /// # Errors
    /// Those of binding, of the token file, of NATS, and `ERR_ALKNET_CONFIG` for what would be open to a network.
    pub(crate) async fn runner(options: &TunnelOptions, runner: &RunnerOptions) -> Result<Self> {
        let scope = Scope::new();
        let desk = Arc::new(RunnerDesk {
            runner: Runner::default(),
            tokens: Mutex::new(tokens(options.token_file.as_deref())?),
            file: options.token_file.clone(),
            known: OnceLock::new(),
            command: runner.command.clone(),
            scope: scope.clone(),
        });
        let erased: Arc<dyn Desk> = Arc::clone(&desk) as _;
        let cover = Cover::open(options, &scope).await?;
        let reloads = watch::Sender::default();
        let addresses = open_desk(options, &erased, &cover, (&scope, &reloads)).await?;
        if !runner.nats.is_empty() {
            let lease = lease(runner, cover.is_there(), &addresses)?;
            let leases = Leases::connect(&runner.nats).await?;
            let known = (Arc::clone(&leases), lease.clone());
            let _ = desk.known.set(known);
            scope.spawn(async move { leases.announce(&desk.runner, &lease).await });
        }
        Ok(Self { scope, addresses, ssh: Vec::new(), desk: erased, cover, reloads })
    }

    /// # Errors
    /// Those of a runner, and of the registry.
    pub(crate) async fn host(options: &TunnelOptions, host: HostOptions) -> Result<Self> {
        let state = HostState::read(&host, options.token_file.as_deref())?;
        let leases = match host.nats.is_empty() {
            true => None,
            false => Some(Leases::connect(&host.nats).await?),
        };
        let proxy = host.ssh_listen.clone();
        let desk = Arc::new(HostDesk {
            state: Mutex::new(Arc::new(state)),
            options: host,
            leases,
            file: options.token_file.clone(),
            traffic: Mutex::default(),
            sight: tokio::sync::Mutex::default(),
        });
        let scope = Scope::new();
        let erased: Arc<dyn Desk> = Arc::clone(&desk) as _;
        let cover = Cover::open(options, &scope).await?;
        let reloads = watch::Sender::default();
        let addresses = open_desk(options, &erased, &cover, (&scope, &reloads)).await?;
        let ssh = match proxy {
            None => Vec::new(),
            Some(listen) => {
                let reloads = reloads.subscribe();
                open(&listen, options.insecure, &*erased, &scope, move |incoming, place| {
                    serve_ssh((incoming, place), Arc::clone(&desk), reloads.clone())
                })
                .await?
            }
        };
        Ok(Self { scope, addresses, ssh, desk: erased, cover, reloads })
    }

    /// The addresses of the SSH proxy.
    pub(crate) fn ssh_addresses(&self) -> &[SocketAddr] {
        &self.ssh
    }

    /// The addresses listened on, with real ports.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads tokens, registry and certificate again. Sessions go on, but for those whose token is taken no more.
    ///
    /// # Errors
    /// Those of the files; what was read before stays.
    pub(crate) fn reload(&self) -> Result<()> {
        self.desk.reload()?;
        self.reloads.send_replace(());
        self.cover.reload()
    }

    /// Ends every session and waits until they are gone, 3 s at most.
    pub(crate) async fn close(&self) {
        self.desk.leave().await;
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
    cover: &Cover,
    (scope, reloads): (&Scope, &watch::Sender<()>),
) -> Result<Vec<SocketAddr>> {
    let (answering, site) =
        (Arc::clone(desk), Arc::new(Arc::clone(desk).site().unnamed(!desk.needs_tokens())));
    let (safe, cover) = (options.insecure || cover.is_there(), cover.clone());
    let reloads = reloads.subscribe();
    open(&options.listen, safe, &**desk, scope, move |incoming, place| {
        let (desk, site, cover) = (Arc::clone(&answering), Arc::clone(&site), cover.clone());
        let reloads = reloads.clone();
        async move { take((incoming, place), &cover, &site, &*desk, reloads).await }
    })
    .await
}

/// Listens, unless that would be open to a network, and handles each arrival until the scope ends.
async fn open<F>(
    listen: &Bind,
    safe: bool,
    desk: &dyn Desk,
    scope: &Scope,
    handle: impl Fn(Incoming, Place) -> F + Clone + Send + Sync + 'static,
) -> Result<Vec<SocketAddr>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let bound = bind(listen, false, Family::Any).await?;
    if bound.addresses.iter().any(|at| !at.ip().is_loopback()) {
        if !desk.needs_tokens() {
            let why = "without a token file whoever reaches this port reaches the containers";
            return Err(Error::config(why).hint("give --tokens, or listen on 127.0.0.1"));
        }
        if !safe {
            let why = "tokens must not go over a network in the clear";
            return Err(Error::config(why)
                .hint("give --tls-cert and --tls-key, listen on 127.0.0.1, or say --insecure"));
        }
    }
    let gate = Gate::new(&limits())?;
    for listener in bound.listeners {
        let (tasks, gate, handle) = (scope.clone(), Arc::clone(&gate), handle.clone());
        scope.spawn(serve(listener, scope.clone(), move |incoming| {
            let tasks = tasks.clone();
            let handled = gate.enter(&incoming.ends).map(|place| handle(incoming, place));
            async move {
                let Some(handled) = handled else { return };
                tasks.until_cancelled(handled).await;
            }
        }));
    }
    Ok(bound.addresses)
}

/// How many may come: who has no WebSocket must not keep those out who will have one.
fn limits() -> Limits {
    Limits {
        max_unauthenticated: MAX_VISITS,
        early_drop: MAX_VISITS / 2,
        max_unauthenticated_per_source: MAX_VISITS_OF_SOURCE,
        // A page is a visit that never becomes anything else.
        max_handshakes_per_source: u32::MAX,
        penalties: None,
        max_connections_per_source: MAX_SOCKETS + MAX_VISITS_OF_SOURCE,
        max_sessions: MAX_SOCKETS,
        max_sessions_per_key: MAX_SOCKETS,
        // What other machines ask a proxy of ours comes from here too.
        exempt: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        ..Limits::default()
    }
}

/// What hosts are told of a runner.
fn lease(runner: &RunnerOptions, is_covered: bool, addresses: &[SocketAddr]) -> Result<Lease> {
    let scheme = if is_covered { "wss" } else { "ws" };
    let url = match (&runner.advertise, addresses.first()) {
        (Some(url), _) => url.clone(),
        (None, Some(at)) if !at.ip().is_unspecified() => format!("{scheme}://{at}").parse()?,
        _ => {
            let why = "hosts cannot know where a runner is that listens on every address";
            return Err(Error::config(why).hint("say --advertise URL"));
        }
    };
    let node = runner.node.clone().unwrap_or_else(|| url.at.to_string());
    Ok(Lease { url: url.to_string(), node })
}

fn tokens(file: Option<&Path>) -> Result<Tokens> {
    file.map_or_else(|| Ok(Tokens::default()), Tokens::read)
}

/// Who answers requests.
trait Desk: Send + Sync + 'static {
    /// What there is, by path.
    fn site(self: Arc<Self>) -> Site;

    /// Runs a WebSocket of the site to its end.
    fn run(&self, upgraded: Upgraded) -> BoxFuture<'_, ()>;

    /// Whether who asked that may have it, by the tokens of now. Says nothing in the log.
    fn admits(&self, name: &str, head: &Head, parts: &[String]) -> bool;

    fn needs_tokens(&self) -> bool;
    fn reload(&self) -> Result<()>;

    /// Is told before the end.
    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

async fn take(
    (incoming, mut place): (Incoming, Place),
    cover: &Cover,
    site: &Arc<Site>,
    desk: &dyn Desk,
    reloads: Reloads,
) {
    let end = CancellationToken::new();
    let serving = async {
        let io = cover.accept(incoming.handshake.await?.io).await?;
        http::serve(Box::new(Cut::new(io, &end)), site).await
    };
    match tokio::time::timeout(VISIT_LIMIT, serving).await {
        Ok(Ok(Served::Upgraded(upgraded))) => {
            let _member = match place.log_in(ANYBODY) {
                Ok(member) => member,
                Err(why) => return tracing::warn!(why, "a WebSocket is refused"),
            };
            let (name, head) = (upgraded.name, Arc::clone(&upgraded.head));
            let parts = upgraded.parts.clone();
            let admitted = || desk.admits(name, &head, &parts);
            while_welcome(reloads, admitted, end.clone(), desk.run(*upgraded)).await;
        }
        Ok(Ok(Served::Closed)) => {}
        Ok(Err(error)) => {
            tracing::debug!(code = error.code().as_str(), "a request came to nothing");
        }
        // A browser keeps its connection for the next time, and has another then.
        Err(_) => tracing::debug!("an arrival did not ask for a WebSocket in time"),
    }
}

fn json(status: u16, body: &serde_json::Value) -> Page {
    let mut page = http::page(status, "application/json", body.to_string());
    let headers = page.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if status == 401 {
        headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
    }
    page
}

/// The answer to who wants anything but to read.
fn get_only(head: &Head) -> Option<Page> {
    let is_read = matches!(head.method.as_str(), "GET" | "HEAD");
    (!is_read).then(|| {
        let mut page = deny(405, "Method Not Allowed");
        page.headers_mut().insert("allow", HeaderValue::from_static("GET, HEAD"));
        page
    })
}

/// Says no as the original does.
fn deny(status: u16, why: &str) -> Page {
    json(status, &serde_json::json!({ "detail": why }))
}

/// The answer where nothing is.
fn nowhere(head: &Head) -> Page {
    match asks_for_socket(&head.headers) {
        true => deny(403, "no such path"),
        false => deny(404, "Not Found"),
    }
}

/// A port as the original takes it; what does not fit 16 bits cannot be meant.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Ends;

    #[test]
    fn who_shows_no_token_keeps_nobody_out_but_its_own_network() {
        let gate = Gate::new(&limits()).expect("a gate");
        let from = |ip: [u8; 4]| Ends { remote: Some((ip, 1).into()), ..Ends::default() };
        let flood: Vec<_> = (0..5000).filter_map(|_| gate.enter(&from([192, 0, 2, 1]))).collect();
        assert_eq!(flood.len(), MAX_VISITS_OF_SOURCE);
        let mut other = gate.enter(&from([192, 0, 2, 2])).expect("a place for another");
        assert!(other.log_in(ANYBODY).is_ok());
        let own = (0..2 * MAX_VISITS).filter_map(|_| gate.enter(&from([127, 0, 0, 1])));
        assert!(own.collect::<Vec<_>>().len() > MAX_VISITS_OF_SOURCE);
    }
}
