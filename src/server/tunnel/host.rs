//! The host at its sockets: from a task to its runner.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::agent::machine;
use super::list::{Sight, Traffic};
use super::page::pages;
use super::{Desk, deny, get_only, json, nowhere, port, tokens};
use crate::config::Bind;
use crate::error::Result;
use crate::http::{Head, Message, Page, Site, Socket, Upgraded, query, segment};
use crate::tunnel::{
    First, Leases, Manner, Place, Registry, RunnerPlace, SshPlace, Tokens, Url, first, pass, reach,
    refuse, rules, status_of_agent, terminal_rules, token,
};

/// Where sessions with ports come.
const SESSION: &str = "session";

/// Where terminals are asked for.
const TERMINAL: &str = "terminal";

/// What a host knows besides where it listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostOptions {
    /// Where the SSH proxy listens, if it does.
    pub(crate) ssh_listen: Option<Bind>,
    pub(crate) registry: Option<PathBuf>,
    /// Addresses of NATS, of one cluster, where runners say which agents they have.
    pub(crate) nats: Vec<String>,
    /// Runners that are asked for tasks which the registry does not have: a connected agent is its own proof.
    pub(crate) runners: Vec<Url>,
    /// Shown to these.
    pub(crate) runner_token: Option<String>,
    /// Runners are dialled beyond loopback without TLS.
    pub(crate) insecure: bool,
    /// Certificates in PEM form to trust instead of the public roots, for runners by wss.
    pub(crate) tls_ca: Option<Vec<u8>>,
}

impl HostOptions {
    /// How runners are reached.
    pub(super) fn manner(&self) -> Manner {
        Manner { insecure: self.insecure, ca: self.tls_ca.clone(), name: None }
    }
}

pub(super) struct HostState {
    pub(super) registry: Registry,
    pub(super) tokens: Tokens,
}

impl HostState {
    pub(super) fn read(options: &HostOptions, file: Option<&Path>) -> Result<Self> {
        let registry =
            options.registry.as_deref().map_or_else(|| Ok(Registry::default()), Registry::read)?;
        Ok(Self { registry, tokens: tokens(file)? })
    }
}

pub(super) struct HostDesk {
    pub(super) state: Mutex<Arc<HostState>>,
    pub(super) options: HostOptions,
    pub(super) file: Option<PathBuf>,
    pub(super) leases: Option<Arc<Leases>>,
    /// By task.
    pub(super) traffic: Mutex<HashMap<i64, Arc<Traffic>>>,
    /// Who was where, and when that was so.
    pub(super) sight: tokio::sync::Mutex<Option<(Instant, Arc<Sight>)>>,
}

impl Desk for HostDesk {
    fn site(self: Arc<Self>) -> Site {
        let (mut session, mut terminal) = (rules(SESSION), terminal_rules(TERMINAL));
        let desk = Arc::clone(&self);
        session.admit = Some(Box::new(move |head, parts| desk.admit(head, task_and_port(parts))));
        let desk = Arc::clone(&self);
        terminal.admit = Some(Box::new(move |head, parts| desk.admit(head, task(parts))));
        let desk = Arc::clone(&self);
        pages(Site::default())
            .socket("/ws/forward/{}/{}", session)
            .socket("/ws/task/{}/terminal", terminal)
            .page("/api/tasks", move |head, _, _| {
                let desk = Arc::clone(&desk);
                async move { desk.list(&head).await }.boxed()
            })
            .page("/api/status/{}", move |head, parts, _| {
                let desk = Arc::clone(&self);
                async move { desk.status(&head, &parts).await }.boxed()
            })
            .otherwise(|head, _, _| ready(nowhere(&head)).boxed())
    }

    fn run(&self, upgraded: Upgraded) -> BoxFuture<'_, ()> {
        async move {
            let Upgraded { name, parts, head, protocol, socket } = upgraded;
            if name == TERMINAL {
                let Some((id, _)) = task(&parts) else { return };
                let state = Arc::clone(&self.state.lock());
                return self.terminal(&state, socket, id, protocol.is_some()).await;
            }
            let Some((id, port)) = task_and_port(&parts) else { return };
            let udp = query(&head, "proto").is_some_and(|proto| proto.eq_ignore_ascii_case("udp"));
            let state = Arc::clone(&self.state.lock());
            self.session(&state, socket, id, port, udp).await;
        }
        .boxed()
    }

    fn admits(&self, name: &str, head: &Head, parts: &[String]) -> bool {
        let asked = if name == TERMINAL { task(parts) } else { task_and_port(parts) };
        self.admit(head, asked).is_ok()
    }

    fn needs_tokens(&self) -> bool {
        self.state.lock().tokens.are_required()
    }

    fn reload(&self) -> Result<()> {
        let state = HostState::read(&self.options, self.file.as_deref())?;
        *self.state.lock() = Arc::new(state);
        Ok(())
    }
}

/// A session with a runner that was asked at random.
struct Found {
    runner: Socket,
    said: Message,
    extended: bool,
    place: RunnerPlace,
}

impl HostDesk {
    fn admit(&self, head: &Head, asked: Option<(i64, u16)>) -> Result<(), Box<Page>> {
        let Some((id, _)) = asked else {
            return Err(Box::new(deny(403, "not a task and a port")));
        };
        match self.admits_to(id, token(head).as_deref()) {
            true => Ok(()),
            false => Err(Box::new(deny(401, "a token is needed"))),
        }
    }

    async fn status(&self, head: &Head, parts: &[String]) -> Page {
        if let Some(no) = get_only(head) {
            return no;
        }
        let state = Arc::clone(&self.state.lock());
        let id: Option<i64> = parts.first().and_then(|task| task.parse().ok());
        let welcome = |id: i64| state.tokens.admits_user(&id.to_string(), token(head).as_deref());
        if !id.is_some_and(welcome) && state.tokens.are_required() {
            return deny(401, "a token is needed");
        }
        let status = match id {
            Some(id) => self.status_of(&state, id).await,
            None => None,
        };
        match status {
            Some(status) => json(200, &status),
            None => deny(404, "Task not found."),
        }
    }

    /// Whether who shows this token may reach a task.
    pub(super) fn admits_to(&self, id: i64, token: Option<&str>) -> bool {
        self.state.lock().tokens.admits_user(&id.to_string(), token)
    }

    /// Where a task's SSH server is, for who may reach it.
    pub(super) fn ssh(
        &self,
        id: i64,
        token: Option<&str>,
    ) -> std::result::Result<SshPlace, String> {
        // Whoever may not reach a task is not told whether there is one.
        match self.admits_to(id, token) {
            true => self.state.lock().registry.ssh(id),
            false => Err(format!("Task {id} not found.")),
        }
    }

    async fn session(&self, state: &HostState, user: Socket, id: i64, port: u16, udp: bool) {
        let path = |container: &str| {
            let proto = if udp { "udp" } else { "tcp" };
            format!("/ws/forward/{}/{port}?proto={proto}", segment(container))
        };
        let known = state.registry.place(id);
        let found = if known.is_err() { self.find(state, id).await } else { None };
        let place = match found.map(|(_, place)| place).map_or(known, Ok) {
            Err(_) if state.registry.task(id).is_none() && !self.options.runners.is_empty() => {
                return match self.search(id, path).await {
                    Some(found) => {
                        let counts = self.count(id);
                        pass(user, found.runner, found.said, found.extended, &counts).await;
                    }
                    None => refuse(user, &format!("Error: Task {id} not found"), 1008).await,
                };
            }
            Err(text) => return refuse(user, &text, 1008).await,
            Ok(place) => place,
        };
        let (url, container, token) = match place {
            Place::Runner { url, container, token } => (url, container, token),
            Place::Direct(at) => return machine(user, at, &self.count(id)).await,
        };
        match reach(&url, &path(&container), token.as_deref(), self.options.manner()).await {
            Err(error) => {
                refuse(user, &format!("Error: Failed to connect to runner: {error}"), 1011).await;
            }
            Ok((mut runner, extended)) => match first(&mut runner).await {
                First::Said(said) if said.to_text().is_ok_and(|text| text == "CONNECTED") => {
                    pass(user, runner, said, extended, &self.count(id)).await;
                }
                First::Said(said) => {
                    refuse(user, said.to_text().unwrap_or("Error: no answer"), 1011).await
                }
                First::Late => {
                    refuse(user, "Error: Timeout connecting to container tunnel", 1011).await
                }
                First::Gone => {
                    refuse(user, "Error: Failed to connect to runner: it has closed", 1011).await;
                }
            },
        }
    }

    /// A task whose agent another has said to have: the name of its node, and where to go.
    async fn find(&self, state: &HostState, id: i64) -> Option<(String, Place)> {
        let leases = self.leases.as_ref()?;
        for container in state.registry.names(id) {
            if let Some(lease) = leases.find(&container).await
                && let Ok(url) = lease.url.parse()
            {
                let token = self.options.runner_token.clone();
                return Some((lease.node, Place::Runner { url, container, token }));
            }
        }
        None
    }

    async fn status_of(&self, state: &HostState, id: i64) -> Option<Value> {
        match state.registry.status(id) {
            None => match self.find(state, id).await {
                Some((node, Place::Runner { container, .. })) => {
                    Some(status_of_agent(id, &container, &node))
                }
                _ => self.stray(state, id).await,
            },
            known => known,
        }
    }

    /// The runner of a task whose agent is there, though the registry does not say so.
    pub(super) async fn runner_of(&self, state: &HostState, id: i64) -> Option<RunnerPlace> {
        if let Some((_, Place::Runner { url, container, token })) = self.find(state, id).await {
            return Some(RunnerPlace { url, container, token });
        }
        if state.registry.task(id).is_some() {
            return None;
        }
        // Any port: a session is about an agent, and asks nothing of its services.
        let found = self.search(id, |container| format!("/ws/forward/{}/1", segment(container)));
        found.await.map(|found| found.place)
    }

    /// Asks every runner for an agent of that task, and begins a session with it.
    async fn search(&self, id: i64, path: impl Fn(&str) -> String) -> Option<Found> {
        for url in &self.options.runners {
            for container in [format!("kohakuriver-task-{id}"), format!("kohakuriver-vps-{id}")] {
                let token = self.options.runner_token.as_deref();
                let Ok((mut runner, extended)) =
                    reach(url, &path(&container), token, self.options.manner()).await
                else {
                    continue;
                };
                if let First::Said(said) = first(&mut runner).await
                    && said.to_text().is_ok_and(|text| text == "CONNECTED")
                {
                    let token = self.options.runner_token.clone();
                    let place = RunnerPlace { url: url.clone(), container, token };
                    return Some(Found { runner, said, extended, place });
                }
            }
        }
        None
    }
}

/// A task, and any port.
fn task(parts: &[String]) -> Option<(i64, u16)> {
    Some((parts.first()?.parse().ok()?, 1))
}

fn task_and_port(parts: &[String]) -> Option<(i64, u16)> {
    let [task, at] = parts else { return None };
    Some((task.parse().ok()?, port(at)?))
}
