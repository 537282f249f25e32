//! The runner as a user of its own agents: a link without a socket, for terminals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::carry::End;
use super::frame::{Proto, decode};
use super::link::Link;
use super::runner::{Agent, Runner, TO_AGENT};
use super::session::Session;
use crate::error::Result;
use crate::http::Message;
use crate::io::BoxIo;

/// The port of a CONNECT for a terminal: there is none, and 0 means nothing anywhere.
const NO_PORT: u16 = 1;

/// A link to an agent of ours. Dropping it ends its connections.
pub(crate) struct Inside {
    agent: Arc<Agent>,
    session: Arc<Session>,
    link: Arc<Link>,
}

impl Runner {
    /// A link to the agent of this name, if it is there and knows what is ours.
    pub(crate) fn inside(&self, name: &str) -> Option<Inside> {
        let agent = self.named(name).filter(|agent| agent.extended)?;
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::for_terminals(number, Arc::clone(&agent)));
        Some(Inside { agent, session, link: Link::opener(true) })
    }
}

impl Inside {
    /// Asks for a terminal: a stream of its records. [`Inside::drive`] has to run meanwhile, and as long as the stream is used.
    ///
    /// # Errors
    /// Those of [`Link::open`].
    pub(crate) async fn terminal(&self) -> Result<BoxIo> {
        Ok(Box::new(self.link.open(Proto::Terminal, NO_PORT).await?))
    }

    /// Carries messages between the link and the agent. Never ends.
    pub(crate) async fn drive(&self) -> std::convert::Infallible {
        let up = async {
            loop {
                while let Some(Message::Binary(message)) = self.link.next() {
                    let Ok((header, _)) = decode(&message) else { continue };
                    if let Some(message) = self.agent.asked(&self.session, header, message) {
                        self.agent.out.push(Message::Binary(message));
                        self.agent.out.below(TO_AGENT).await;
                    }
                }
                self.link.ready().notified().await;
            }
        };
        let down = async {
            loop {
                while let Some(message) = self.session.out.pop() {
                    // What breaks the rules of one link has no other way to end it than its connections'.
                    let _ = self.link.take(message).await;
                }
                self.session.out.ready.notified().await;
            }
        };
        tokio::select! { never = up => never, never = down => never }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.session.out.shut();
        self.agent.leave(self.session.number);
    }
}
