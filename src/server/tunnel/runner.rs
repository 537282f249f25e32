//! The runner at its sockets.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{Desk, deny, port, tokens};
use crate::error::Result;
use crate::tunnel::{Asked, Runner, Tokens};

pub(super) struct RunnerDesk {
    pub(super) runner: Runner,
    pub(super) tokens: Mutex<Tokens>,
    pub(super) file: Option<PathBuf>,
}

impl Desk for RunnerDesk {
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let path = asked.path.clone();
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let is_name = |name: &str| {
                !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control)
            };
            let token = asked.token.as_deref();
            match path[..] {
                ["ws", "tunnel", name] if asked.is_upgrade() && is_name(name) => {
                    if !self.tokens.lock().admits_agent(name, token) {
                        tracing::warn!("an agent with a wrong token");
                        return deny(asked, "401 Unauthorized", "a token is needed").await;
                    }
                    let extended = asked.extended;
                    let socket = asked.upgrade(true).await?;
                    tracing::info!(agents = self.runner.len() + 1, "an agent has come");
                    let why = self.runner.agent(name, socket, extended).await;
                    tracing::info!(%why, "an agent has gone");
                }
                ["ws", "forward", name, at]
                    if asked.is_upgrade() && is_name(name) && port(at).is_some() =>
                {
                    if !self.tokens.lock().admits_user(name, token) {
                        tracing::warn!("a session with a wrong token");
                        return deny(asked, "401 Unauthorized", "a token is needed").await;
                    }
                    let extended = asked.extended;
                    let socket = asked.upgrade(true).await?;
                    self.runner.session(name, socket, extended).await;
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
        self.tokens.lock().are_required()
    }

    fn reload(&self) -> Result<()> {
        *self.tokens.lock() = tokens(self.file.as_deref())?;
        Ok(())
    }
}
