//! A supervised session that opens streams.

use std::sync::Arc;
use std::time::Duration;

use alknet::{ChannelManager, Reconnect, Standing};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::{Bell, Doorbell};
use crate::error::NativeError;
use crate::forward::{Forwarder, NativeForwardOptions};
use crate::options::millis;
use crate::pending::{Pending, PendingForward, PendingStream};
use crate::stream::NativeInfo;

/// How long an open may take when nothing is said.
pub(crate) const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// How a session comes back.
#[napi(object)]
#[derive(Default)]
pub struct NativeReconnect {
    pub enabled: Option<bool>,
    pub from_the_start: Option<bool>,
    pub longest_pause: Option<u32>,
    pub wait: Option<u32>,
}

impl From<NativeReconnect> for Reconnect {
    fn from(given: NativeReconnect) -> Self {
        let default = Self::default();
        Self {
            enabled: given.enabled.unwrap_or(default.enabled),
            from_the_start: given.from_the_start.unwrap_or(default.from_the_start),
            longest_pause: millis(given.longest_pause, default.longest_pause),
            wait: millis(given.wait, default.wait),
        }
    }
}

/// Where a session stands: `up`, `down` or `closed`, with how many there have been.
#[napi(object)]
pub struct NativeStanding {
    pub state: String,
    pub sessions: f64,
    /// Of the session there is.
    pub info: Option<NativeInfo>,
    /// Why the last one was lost, or the last attempt failed.
    pub trouble: Option<NativeError>,
}

/// Counters.
#[napi(object)]
pub struct NativeMetrics {
    pub up: bool,
    pub sessions: f64,
    pub failed_attempts: f64,
    pub open_streams: f64,
    pub opened: f64,
    pub refused: f64,
    pub bytes_received: f64,
    pub bytes_sent: f64,
}

impl From<alknet::Metrics> for NativeMetrics {
    fn from(metrics: alknet::Metrics) -> Self {
        Self {
            up: metrics.up,
            sessions: metrics.sessions as f64,
            failed_attempts: metrics.failed_attempts as f64,
            open_streams: metrics.open_streams as f64,
            opened: metrics.opened as f64,
            refused: metrics.refused as f64,
            bytes_received: metrics.bytes_received as f64,
            bytes_sent: metrics.bytes_sent as f64,
        }
    }
}

/// A session. Dropped, it is closed.
#[napi]
pub struct NativeSession {
    id: u32,
    manager: Arc<ChannelManager>,
}

#[napi]
impl NativeSession {
    pub(crate) fn new(bell: &Arc<Bell>, manager: ChannelManager) -> Self {
        let (id, ringer) = bell.ringer();
        manager.observe(ringer);
        Self { id, manager: Arc::new(manager) }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi]
    pub fn standing(&self) -> NativeStanding {
        let (state, info) = match self.manager.standing() {
            Standing::Up(session) => ("up", Some(session.info().into())),
            Standing::Closed(_) => ("closed", None),
            _ => ("down", None),
        };
        NativeStanding {
            state: state.into(),
            sessions: self.manager.metrics().sessions as f64,
            info,
            trouble: self.manager.trouble().map(Into::into),
        }
    }

    #[napi]
    pub fn metrics(&self) -> NativeMetrics {
        self.manager.metrics().into()
    }

    #[napi]
    pub fn open(
        &self,
        bell: &Doorbell,
        target: Option<String>,
        timeout: Option<u32>,
    ) -> Result<PendingStream> {
        let manager = Arc::clone(&self.manager);
        let limit = millis(timeout, OPEN_LIMIT);
        let opening = async move {
            let target =
                target.map_or_else(|| Ok(alknet::Target::control()), |text| text.parse())?;
            manager.open(&target, limit).await
        };
        Pending::start(bell, opening).map(PendingStream)
    }

    /// Starts a forward, which goes on through every session that follows.
    #[napi]
    pub fn forward(
        &self,
        bell: &Doorbell,
        options: NativeForwardOptions,
    ) -> Result<PendingForward> {
        let manager = Arc::clone(&self.manager);
        let starting = async move { Forwarder::start(&manager, options).await };
        Pending::start(bell, starting).map(PendingForward)
    }

    #[napi]
    pub fn close(&self) {
        Arc::clone(&self.manager).close_soon();
    }

    /// What ended the session, when that was no `close()`.
    #[napi]
    pub fn failure(&self) -> Option<NativeError> {
        match self.manager.standing() {
            Standing::Closed(why) => why.map(Into::into),
            _ => None,
        }
    }
}
