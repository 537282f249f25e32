//! A bus without a server.

use std::sync::Arc;

use alknet::{EventBus, Events};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Bell;
use crate::bus::{Asked, NativeBusMetrics, NativeQuestion};
use crate::runtime::runtime;
use crate::stream::NativeStream;

/// A bus, and what its program is asked.
pub(crate) type Made = (EventBus, Asked);

/// A bus. Dropped, it is closed.
#[napi]
pub struct NativeBus {
    id: u32,
    bell: Arc<Bell>,
    bus: EventBus,
    asked: Asked,
}

#[napi]
impl NativeBus {
    pub(crate) fn new(bell: &Arc<Bell>, (bus, asked): Made) -> Self {
        let id = bell.next_id();
        asked.ring(bell, id);
        Self { id, bell: Arc::clone(bell), bus, asked }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A stream to the bus for the program itself.
    #[napi]
    pub fn bus(&self) -> Result<NativeStream> {
        // The member's task belongs to the runtime.
        let _runtime = runtime()?.enter();
        Ok(NativeStream::new(&self.bell, self.bus.own()))
    }

    /// A stream to the bus for a member whose events are from `from`.
    #[napi]
    pub fn member(&self, from: Option<String>) -> Result<NativeStream> {
        let _runtime = runtime()?.enter();
        Ok(NativeStream::new(&self.bell, self.bus.member(from)))
    }

    #[napi]
    pub fn bus_metrics(&self) -> NativeBusMetrics {
        self.bus.metrics().into()
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

    /// Ends every member's stream.
    #[napi]
    pub fn close(&self) {
        self.bus.close();
        self.bell.ring(self.id, Events::CLOSED.bits());
    }
}
