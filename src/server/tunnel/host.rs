//! The host at its sockets: from a task to its runner.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::agent::machine;
use super::{Desk, deny, port, tokens};
use crate::config::Bind;
use crate::error::Result;
use crate::tunnel::{
    Asked, First, Place, Registry, Socket, SshPlace, Tokens, Url, first, pass, reach, refuse,
    segment,
};

/// What a host knows besides where it listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostOptions {
    /// Where the SSH proxy listens, if it does.
    pub(crate) ssh_listen: Option<Bind>,
    pub(crate) registry: Option<PathBuf>,
    /// Runners that are asked for tasks which the registry does not have: a connected agent is its own proof.
    pub(crate) runners: Vec<Url>,
    /// Shown to these.
    pub(crate) runner_token: Option<String>,
    /// Runners are dialled beyond loopback without TLS.
    pub(crate) insecure: bool,
}

pub(super) struct HostState {
    registry: Registry,
    tokens: Tokens,
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
}

impl Desk for HostDesk {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let path = asked.path.clone();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let state = Arc::clone(&self.state.lock());
            let welcome =
                |id: i64| state.tokens.admits_user(&id.to_string(), asked.token.as_deref());
            match path[..] {
                ["ws", "forward", task, at] if asked.is_upgrade() => {
                    let (Ok(id), Some(port)) = (task.parse(), port(at)) else {
                        return deny(asked, "403 Forbidden", "not a task and a port").await;
                    };
                    if !welcome(id) {
                        return deny(asked, "401 Unauthorized", "a token is needed").await;
                    }
                    let udp =
                        asked.query("proto").is_some_and(|proto| proto.eq_ignore_ascii_case("udp"));
                    let user = asked.upgrade(true).await?;
                    self.session(&state, user, id, port, udp).await;
                }
                ["api", "status", task] if asked.is_get() => {
                    let id: Option<i64> = task.parse().ok();
                    if !id.is_some_and(welcome) && state.tokens.are_required() {
                        return deny(asked, "401 Unauthorized", "a token is needed").await;
                    }
                    match id.and_then(|id| state.registry.status(id)) {
                        Some(status) => {
                            asked.answer("200 OK", "application/json", &status.to_string()).await
                        }
                        None => deny(asked, "404 Not Found", "Task not found.").await?,
                    }
                }
                _ if asked.is_upgrade() => {
                    return deny(asked, "403 Forbidden", "no such path").await;
                }
                _ => return deny(asked, "404 Not Found", "Not Found").await,
            }
            Ok(())
        })
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

impl HostDesk {
    /// Where a task's SSH server is, for who may reach it.
    pub(super) fn ssh(
        &self,
        id: i64,
        token: Option<&str>,
    ) -> std::result::Result<SshPlace, String> {
        let state = Arc::clone(&self.state.lock());
        // Whoever may not reach a task is not told whether there is one.
        match state.tokens.admits_user(&id.to_string(), token) {
            true => state.registry.ssh(id),
            false => Err(format!("Task {id} not found.")),
        }
    }

    async fn session(&self, state: &HostState, user: Socket, id: i64, port: u16, udp: bool) {
        let path = |container: &str| {
            let proto = if udp { "udp" } else { "tcp" };
            format!("/ws/forward/{}/{port}?proto={proto}", segment(container))
        };
        let place = match state.registry.place(id) {
            Err(_) if state.registry.task(id).is_none() && !self.options.runners.is_empty() => {
                return self.search(user, id, path).await;
            }
            Err(text) => return refuse(user, &text, 1008).await,
            Ok(place) => place,
        };
        let (url, container, token) = match place {
            Place::Runner { url, container, token } => (url, container, token),
            Place::Direct(at) => return machine(user, at).await,
        };
        match reach(&url, &path(&container), token.as_deref(), self.options.insecure).await {
            Err(error) => {
                refuse(user, &format!("Error: Failed to connect to runner: {error}"), 1011).await;
            }
            Ok((mut runner, extended)) => match first(&mut runner).await {
                First::Said(said) if said.to_text().is_ok_and(|text| text == "CONNECTED") => {
                    pass(user, runner, said, extended).await;
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

    /// Asks every runner for an agent of that task.
    async fn search(&self, user: Socket, id: i64, path: impl Fn(&str) -> String) {
        for url in &self.options.runners {
            for container in [format!("kohakuriver-task-{id}"), format!("kohakuriver-vps-{id}")] {
                let token = self.options.runner_token.as_deref();
                let Ok((mut runner, extended)) =
                    reach(url, &path(&container), token, self.options.insecure).await
                else {
                    continue;
                };
                if let First::Said(said) = first(&mut runner).await
                    && said.to_text().is_ok_and(|text| text == "CONNECTED")
                {
                    return pass(user, runner, said, extended).await;
                }
            }
        }
        refuse(user, &format!("Error: Task {id} not found"), 1008).await;
    }
}
