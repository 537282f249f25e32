//! The runner at its sockets.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;

use super::list::AGENTS;
use super::{Desk, deny, nowhere, port, tokens};
use crate::error::Result;
use crate::http::{Head, Page, Site, Upgraded};
use crate::scope::Scope;
use crate::tunnel::{Lease, Leases, Runner, Tokens, rules, terminal_rules, token};

/// Where agents come.
const AGENT: &str = "agent";

/// Where terminals are asked for.
const TERMINAL: &str = "terminal";

/// Where sessions come.
const SESSION: &str = "session";

pub(super) struct RunnerDesk {
    pub(super) runner: Runner,
    pub(super) tokens: Mutex<Tokens>,
    pub(super) file: Option<PathBuf>,
    /// Where hosts look, and what they find.
    pub(super) known: OnceLock<(Arc<Leases>, Lease)>,
    /// The program of terminals of agents that have none, and its arguments.
    pub(super) command: Vec<String>,
    pub(super) scope: Scope,
}

impl Desk for RunnerDesk {
    fn site(self: Arc<Self>) -> Site {
        let (mut agent, mut session) = (rules(AGENT), rules(SESSION));
        let mut terminal = terminal_rules(TERMINAL);
        let desk = Arc::clone(&self);
        terminal.admit = Some(Box::new(move |head, parts| desk.admit_terminal(head, parts)));
        let desk = Arc::clone(&self);
        agent.admit = Some(Box::new(move |head, parts| desk.admit_agent(head, parts)));
        let desk = Arc::clone(&self);
        session.admit = Some(Box::new(move |head, parts| desk.admit_session(head, parts)));
        Site::default()
            .socket("/ws/tunnel/{}", agent)
            .socket("/ws/forward/{}/{}", session)
            .socket("/ws/task/{}/terminal", terminal)
            .page(AGENTS, move |head, _, _| ready(self.agents(&head)).boxed())
            .otherwise(|head, _, _| ready(nowhere(&head)).boxed())
    }

    fn run(&self, upgraded: Upgraded) -> BoxFuture<'_, ()> {
        async move {
            if upgraded.name == TERMINAL {
                return self.terminal(upgraded).await;
            }
            let Upgraded { name, parts, protocol, socket, .. } = upgraded;
            let Some(container) = parts.first() else { return };
            if name == SESSION {
                self.runner.session(container, socket, protocol.is_some()).await;
                return;
            }
            tracing::info!(agents = self.runner.len() + 1, "an agent has come");
            let why = self.runner.agent(container, socket, protocol.is_some()).await;
            tracing::info!(%why, "an agent has gone");
        }
        .boxed()
    }

    fn admits(&self, name: &str, head: &Head, parts: &[String]) -> bool {
        let Some(first) = parts.first() else { return false };
        let token = token(head);
        match name {
            TERMINAL => first.parse().is_ok_and(|id| !self.names(head, id).is_empty()),
            AGENT => self.tokens.lock().admits_agent(first, token.as_deref()),
            _ => self.tokens.lock().admits_user(first, token.as_deref()),
        }
    }

    fn needs_tokens(&self) -> bool {
        self.tokens.lock().are_required()
    }

    fn reload(&self) -> Result<()> {
        *self.tokens.lock() = tokens(self.file.as_deref())?;
        Ok(())
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some((leases, lease)) = self.known.get() {
                leases.withdraw(&self.runner, lease).await;
            }
        })
    }
}

impl RunnerDesk {
    fn admit_agent(&self, head: &Head, parts: &[String]) -> Result<(), Box<Page>> {
        let [name] = parts else { return Err(Box::new(nowhere(head))) };
        if !is_name(name) {
            return Err(Box::new(nowhere(head)));
        }
        if !self.admits(AGENT, head, parts) {
            tracing::warn!("an agent with a wrong token");
            return Err(Box::new(deny(401, "a token is needed")));
        }
        Ok(())
    }

    fn admit_session(&self, head: &Head, parts: &[String]) -> Result<(), Box<Page>> {
        let [name, at] = parts else { return Err(Box::new(nowhere(head))) };
        if !is_name(name) || port(at).is_none() {
            return Err(Box::new(nowhere(head)));
        }
        if !self.admits(SESSION, head, parts) {
            tracing::warn!("a session with a wrong token");
            return Err(Box::new(deny(401, "a token is needed")));
        }
        Ok(())
    }
}

/// What a container may be called.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
}
