//! Where the connections of a forward go.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::ChannelManager;
use super::manager::Shared;
use crate::dial::{Dialer, Direct, Early};
use crate::error::Result;
use crate::io::{Connected, Io};
use crate::ssh::{ANSWER_LIMIT, Session};
use crate::target::Target;

/// Where the connections of a forward go: through a session, or straight from this machine.
#[derive(Clone)]
pub struct Route(Arc<dyn Dialer>);

impl Route {
    /// From this machine, without SSH.
    pub fn direct() -> Self {
        Self(Arc::new(Direct))
    }

    #[cfg(any(feature = "iroh", feature = "ws"))]
    pub(super) fn through(dialer: Arc<dyn Dialer>) -> Self {
        Self(dialer)
    }

    pub(super) fn dialer(self) -> Arc<dyn Dialer> {
        self.0
    }
}

/// Through the session of the moment. While there is none, connections wait for one, [`super::Reconnect::wait`] at most.
impl From<&ChannelManager> for Route {
    fn from(manager: &ChannelManager) -> Self {
        Self(Arc::new(Supervised(manager.shared())))
    }
}

/// Through the session, which it does not keep open: once that is over, connections are refused.
impl From<&Session> for Route {
    fn from(session: &Session) -> Self {
        Self(Arc::new(session.opener()))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

struct Supervised(Arc<Shared>);

impl Dialer for Supervised {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move { Ok(self.0.open(target, origin, ANSWER_LIMIT).await?.into()) }.boxed()
    }

    fn dial_early<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
        asker: &'a mut dyn Io,
    ) -> BoxFuture<'a, Result<Early>> {
        async move {
            let shared = Arc::clone(&self.0);
            let early = shared.open_early(target, origin, asker, ANSWER_LIMIT).await?;
            let Early { stream, sent, answer: Some(answer) } = early else { return Ok(early) };
            let answer = async move {
                let answer = answer.await;
                shared.count(&answer);
                answer
            };
            Ok(Early { stream, sent, answer: Some(answer.boxed()) })
        }
        .boxed()
    }

    fn check(&self, target: &Target) -> Result<()> {
        self.0.check(target)
    }
}
