//! A supervised session with a container.

use std::sync::Arc;

use alknet::{Reconnect, Tunnel, TunnelOptions};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::{Bell, Doorbell};
use crate::error::NativeError;
use crate::forward::{Forwarder, NativeForwardOptions};
use crate::options::{NativeSource, given, millis};
use crate::pending::{Pending, PendingForward, PendingStream};
use crate::session::{NativeMetrics, NativeStanding, OPEN_LIMIT};

/// Which container, through which host.
#[napi(object)]
#[derive(Default)]
pub struct NativeTunnelOptions {
    pub host: String,
    pub task: String,
    pub token: Option<String>,
    pub insecure: Option<bool>,
    pub tls_ca: Option<NativeSource>,
    pub tls_server_name: Option<String>,
}

impl NativeTunnelOptions {
    pub(crate) fn with(self, reconnect: Reconnect) -> TunnelOptions {
        TunnelOptions {
            host: self.host,
            task: self.task,
            token: self.token,
            insecure: self.insecure.unwrap_or_default(),
            tls_ca: self.tls_ca.and_then(given),
            tls_server_name: self.tls_server_name,
            reconnect,
            ..TunnelOptions::default()
        }
    }
}

/// A session. Dropped, it is closed.
#[napi]
pub struct NativeTunnel {
    id: u32,
    tunnel: Arc<Tunnel>,
}

#[napi]
impl NativeTunnel {
    pub(crate) fn new(bell: &Arc<Bell>, tunnel: Tunnel) -> Self {
        let (id, ringer) = bell.ringer();
        tunnel.observe(ringer);
        Self { id, tunnel: Arc::new(tunnel) }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi]
    pub fn standing(&self) -> NativeStanding {
        let metrics = self.tunnel.metrics();
        let state = match metrics.up {
            true => "up",
            false if self.tunnel.is_closed() => "closed",
            false => "down",
        };
        NativeStanding {
            state: state.into(),
            sessions: metrics.sessions as f64,
            info: None,
            trouble: self.tunnel.trouble().map(Into::into),
        }
    }

    #[napi]
    pub fn metrics(&self) -> NativeMetrics {
        self.tunnel.metrics().into()
    }

    #[napi]
    pub fn open(&self, bell: &Doorbell, port: u16, timeout: Option<u32>) -> Result<PendingStream> {
        let tunnel = Arc::clone(&self.tunnel);
        let limit = millis(timeout, OPEN_LIMIT);
        let opening = async move { tunnel.open(port, limit).await };
        Pending::start(bell, opening).map(PendingStream)
    }

    /// Starts a forward, which goes on through every session that follows.
    #[napi]
    pub fn forward(
        &self,
        bell: &Doorbell,
        options: NativeForwardOptions,
    ) -> Result<PendingForward> {
        let tunnel = Arc::clone(&self.tunnel);
        let starting = async move { Forwarder::local(&*tunnel, options).await };
        Pending::start(bell, starting).map(PendingForward)
    }

    #[napi]
    pub fn close(&self) {
        self.tunnel.close_soon();
    }

    /// What ended the session, when that was no `close()`.
    #[napi]
    pub fn failure(&self) -> Option<NativeError> {
        self.tunnel.failure().map(Into::into)
    }
}
