//! A listening server.

use std::sync::Arc;

use alknet::Events;
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::{Bell, Doorbell, Ringer};
use crate::pending::{Pending, PendingUnit};
use crate::runtime::{conversation, runtime};
use crate::stream::NativeStream;

/// A server. Dropped, it is closed.
#[napi]
pub struct NativeServer {
    id: u32,
    bell: Arc<Bell>,
    server: Arc<alknet::Server>,
}

#[napi]
impl NativeServer {
    pub(crate) fn new(bell: &Arc<Bell>, server: alknet::Server) -> Self {
        let id = bell.next_id();
        server.observe(Arc::new(Ringer { bell: Arc::clone(bell), id }));
        Self { id, bell: Arc::clone(bell), server: Arc::new(server) }
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
