//! A session that opens streams.

use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::{Bell, Doorbell, Ringer};
use crate::error::NativeError;
use crate::pending::{Pending, PendingStream};
use crate::stream::NativeInfo;

/// How long an open may take when nothing is said.
const OPEN_LIMIT: u32 = 20_000;

/// A session. Dropped, it is closed.
#[napi]
pub struct NativeSession {
    id: u32,
    session: Arc<alknet::Session>,
}

#[napi]
impl NativeSession {
    pub(crate) fn new(bell: &Arc<Bell>, session: alknet::Session) -> Self {
        let id = bell.next_id();
        session.observe(Arc::new(Ringer { bell: Arc::clone(bell), id }));
        Self { id, session: Arc::new(session) }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi]
    pub fn info(&self) -> NativeInfo {
        self.session.info().into()
    }

    #[napi]
    pub fn open(
        &self,
        bell: &Doorbell,
        target: Option<String>,
        timeout: Option<u32>,
    ) -> Result<PendingStream> {
        let session = Arc::clone(&self.session);
        let limit = Duration::from_millis(u64::from(timeout.unwrap_or(OPEN_LIMIT)));
        let opening = async move {
            let target =
                target.map_or_else(|| Ok(alknet::Target::control()), |text| text.parse())?;
            session.open(&target, limit).await
        };
        Pending::start(bell, opening).map(PendingStream)
    }

    #[napi]
    pub fn close(&self) {
        self.session.close_soon();
    }

    #[napi]
    pub fn failure(&self) -> Option<NativeError> {
        self.session.failure().map(Into::into)
    }
}
