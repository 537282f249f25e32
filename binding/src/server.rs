//! A listening server.

use std::sync::Arc;

use alknet::Events;
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::acme::NativeAcmeStatus;
use crate::bell::{Bell, Doorbell};
use crate::bus::{Asked, NativeBusMetrics, NativeQuestion};
use crate::pending::{Pending, PendingUnit};
use crate::relay::NativeRelayStatus;
use crate::runtime::{conversation, runtime};
use crate::stream::NativeStream;

/// A server. Dropped, it is closed.
#[napi]
pub struct NativeServer {
    id: u32,
    bell: Arc<Bell>,
    server: Arc<alknet::Server>,
    asked: Asked,
}

/// A server, and what its program is asked.
pub(crate) type Started = (alknet::Server, Asked);

#[napi]
impl NativeServer {
    pub(crate) fn new(bell: &Arc<Bell>, (server, asked): Started) -> Self {
        let (id, ringer) = bell.ringer();
        server.observe(ringer);
        asked.ring(bell, id);
        Self { id, bell: Arc::clone(bell), server: Arc::new(server), asked }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next stream that waits, or `null`: then the bell rings when one comes.
    #[napi]
    pub fn accept(&self) -> Option<NativeStream> {
        conversation();
        self.server.try_accept().map(|stream| NativeStream::new(&self.bell, stream))
    }

    /// How the certificate by ACME stands; the bell rings `FINISHED` when that has changed.
    #[napi]
    pub fn acme(&self) -> Option<NativeAcmeStatus> {
        self.server.acme().map(Into::into)
    }

    /// How the relay stands; the bell rings `CHANGED` when that has changed.
    #[napi]
    pub fn relay(&self) -> Option<NativeRelayStatus> {
        self.server.relay().map(Into::into)
    }

    /// A stream to the bus; `null` without one.
    #[napi]
    pub fn bus(&self) -> Option<NativeStream> {
        // The member's task belongs to the runtime.
        let _runtime = runtime().ok()?.enter();
        self.server.bus().map(|stream| NativeStream::new(&self.bell, stream))
    }

    #[napi]
    pub fn bus_metrics(&self) -> Option<NativeBusMetrics> {
        self.server.bus_metrics().map(Into::into)
    }

    #[napi]
    pub fn metrics_address(&self) -> Option<String> {
        self.server.metrics_address().map(|address| address.to_string())
    }

    /// What the program is asked; the bell rings `WRITABLE` when there is something.
    #[napi]
    pub fn question(&self) -> Option<NativeQuestion> {
        self.asked.take()
    }

    #[napi]
    pub fn answer(&self, id: u32, answer: bool) {
        self.asked.answer(id, answer);
    }

    #[napi]
    pub fn addresses(&self) -> Vec<String> {
        self.server.addresses().iter().map(ToString::to_string).collect()
    }

    #[napi]
    pub fn host_key_fingerprint(&self) -> String {
        self.server.host_key_fingerprint().to_owned()
    }

    #[napi]
    pub fn host_key(&self) -> String {
        self.server.host_key().to_owned()
    }

    /// Of a server that listens by iroh.
    #[napi]
    pub fn endpoint_id(&self) -> Option<String> {
        self.server.endpoint_id()
    }

    #[napi]
    pub fn connection_string(&self) -> String {
        self.server.connection_string()
    }

    /// Lines of the authorised keys that are not used, and why.
    #[napi]
    pub fn warnings(&self) -> Vec<String> {
        self.server.warnings()
    }

    /// Reads the authorised keys again.
    #[napi]
    pub fn reload(&self, bell: &Doorbell) -> Result<PendingUnit> {
        let server = Arc::clone(&self.server);
        Pending::start(bell, async move { server.reload().await }).map(PendingUnit)
    }

    /// Begins to close; the bell rings when all is gone.
    #[napi]
    pub fn close(&self) -> Result<()> {
        let (server, bell, id) = (Arc::clone(&self.server), Arc::clone(&self.bell), self.id);
        runtime()?.spawn(async move {
            server.close().await;
            bell.ring(id, Events::CLOSED.bits());
        });
        Ok(())
    }
}
