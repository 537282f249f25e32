//! How the relay of a server that listens by iroh stands.

use alknet::RelayStatus;
use napi_derive::napi;

use crate::error::NativeError;

#[napi(object)]
pub struct NativeRelayStatus {
    pub url: String,
    pub connected: bool,
    pub rebuilt: u32,
    pub error: Option<NativeError>,
}

impl From<RelayStatus> for NativeRelayStatus {
    fn from(status: RelayStatus) -> Self {
        Self {
            url: status.url,
            connected: status.connected,
            rebuilt: status.rebuilt,
            error: status.error.map(Into::into),
        }
    }
}
