//! Terminals at the sockets: a host finds the runner of a task, a runner whoever has a shell.

use super::deny;
use super::host::{HostDesk, HostState};
use super::runner::{RunnerDesk, is_name};
use crate::error::Result;
use crate::http::{Head, Page, Socket, Upgraded, query, segment};
use crate::tunnel::{RunnerPlace, fault, pass_terminal, reach, refuse, screen, task_of, token};

/// What somebody sees who asks for a terminal where there is none (seed systems: terminal).
const NO_SHELL: &str = "No suitable shell found.";

impl HostDesk {
    /// Serves a user's terminal. `extended`: it takes the shell's exit code.
    pub(super) async fn terminal(&self, state: &HostState, user: Socket, id: i64, extended: bool) {
        let place = match state.registry.terminal(id) {
            Ok(place) => place,
            Err((text, code)) => match self.runner_of(state, id).await {
                Some(place) => place,
                None => return refuse(user, &fault(&text), code).await,
            },
        };
        let RunnerPlace { url, container, token } = place;
        // The originals' runners know the task's name of the container, and ours the container's.
        let path = format!("/ws/task/{id}/terminal?container={}", segment(&container));
        match reach(&url, &path, token.as_deref(), self.options.manner()).await {
            Ok((runner, _)) => {
                pass_terminal(user, runner, extended, &self.count(id)).await;
            }
            Err(error) => {
                refuse(user, &fault(&format!("Failed to connect to runner: {error}")), 1011).await;
            }
        }
    }
}

impl RunnerDesk {
    pub(super) fn admit_terminal(&self, head: &Head, parts: &[String]) -> Result<(), Box<Page>> {
        let Some(id) = task(parts) else { return Err(Box::new(deny(403, "not a task"))) };
        if self.names(head, id).is_empty() {
            tracing::warn!("a terminal with a wrong token");
            return Err(Box::new(deny(401, "a token is needed")));
        }
        Ok(())
    }

    /// Serves a terminal: of an agent of ours, else by the command that was given.
    pub(super) async fn terminal(&self, asked: Upgraded) {
        let Upgraded { parts, head, protocol, socket, .. } = asked;
        let Some(id) = task(&parts) else { return };
        match self.names(&head, id).into_iter().find(|name| self.runner.has(name)) {
            Some(name) => {
                // Of its number nothing is known but what is asked, unless it is in the name.
                let id = task_of(&name).or_else(|| self.may_reach(&head, id).then_some(id));
                self.show(&name, id, socket, protocol.is_some()).await;
            }
            None => {
                let text = fault(&format!("Task {id} not found on this runner."));
                refuse(socket, &text, 1008).await;
            }
        }
    }

    /// What the container of a task may be called, as far as who asks may reach it.
    pub(super) fn names(&self, head: &Head, id: i64) -> Vec<String> {
        let mut names = match query(head, "container") {
            Some(name) => vec![name],
            None => vec![format!("kohakuriver-task-{id}"), format!("kohakuriver-vps-{id}")],
        };
        let (tokens, token) = (self.tokens.lock(), token(head));
        names.retain(|name| is_name(name) && tokens.admits_user(name, token.as_deref()));
        names
    }

    /// Whether who asks may reach the task of this number, whatever its container is called.
    fn may_reach(&self, head: &Head, id: i64) -> bool {
        self.tokens.lock().admits_user(&id.to_string(), token(head).as_deref())
    }

    async fn show(&self, name: &str, id: Option<i64>, user: Socket, extended: bool) {
        if let Some(inside) = self.runner.inside(name) {
            let opened = tokio::select! {
                opened = inside.terminal() => opened,
                never = inside.drive() => match never {},
            };
            if let Ok(shell) = opened {
                return tokio::select! {
                    () = screen(user, shell, extended) => {}
                    never = inside.drive() => match never {},
                };
            }
        }
        match self.command(name, id) {
            #[cfg(unix)]
            Some(words) => screen(user, crate::tunnel::shell(words, &self.scope), extended).await,
            _ => refuse(user, &fault(NO_SHELL), 1011).await,
        }
    }

    /// The command of a container's terminal, word by word, so that a name is never more than a word. None where it wants a number that
    /// is not known.
    fn command(&self, name: &str, id: Option<i64>) -> Option<Vec<String>> {
        let id = id.map(|id| id.to_string());
        // The name last: what stands in it stays as it is.
        let filled = |word: &String| {
            let word = match (word.contains("{id}"), &id) {
                (false, _) => word.clone(),
                (true, id) => word.replace("{id}", id.as_ref()?),
            };
            Some(word.replace("{container}", name))
        };
        let safe = !self.command.is_empty() && !name.starts_with('-');
        safe.then(|| self.command.iter().map(filled).collect::<Option<_>>()).flatten()
    }
}

fn task(parts: &[String]) -> Option<i64> {
    parts.first()?.parse().ok().filter(|id| *id >= 0)
}
