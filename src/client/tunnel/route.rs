//! A session with a container as the way of forwards.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Shared, Tunnel};
use crate::client::Route;
use crate::dial::Dialer;
use crate::error::Result;
use crate::io::Connected;
use crate::target::Target;
use crate::tunnel::dial;

/// Through the session of the moment; while there is none, connections wait for one. Targets are ports: their hosts do not matter.
impl From<&Tunnel> for Route {
    fn from(tunnel: &Tunnel) -> Self {
        Self::through(Arc::new(Through(Arc::clone(&tunnel.shared))))
    }
}

struct Through(Arc<Shared>);

impl Dialer for Through {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move { dial(&self.0.link().await?, target).await }.boxed()
    }
}
