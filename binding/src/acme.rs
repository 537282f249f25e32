//! A certificate by ACME: what is wanted, and how it stands.

use std::time::{SystemTime, UNIX_EPOCH};

use alknet::{AcmeOptions, AcmeStatus};
use napi_derive::napi;

use crate::error::NativeError;

#[napi(object)]
pub struct NativeAcmeOptions {
    pub domains: Vec<String>,
    pub directory: Option<String>,
    pub cache: Option<String>,
    pub contact: Option<String>,
}

impl From<NativeAcmeOptions> for AcmeOptions {
    fn from(options: NativeAcmeOptions) -> Self {
        Self {
            domains: options.domains,
            directory: options.directory,
            cache: options.cache.map(Into::into),
            contact: options.contact,
        }
    }
}

/// Times are milliseconds since 1970.
#[napi(object)]
pub struct NativeAcmeStatus {
    pub domains: Vec<String>,
    pub valid_until: Option<f64>,
    pub next_attempt: Option<f64>,
    pub error: Option<NativeError>,
}

impl From<AcmeStatus> for NativeAcmeStatus {
    fn from(status: AcmeStatus) -> Self {
        let millis = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64
        };
        Self {
            domains: status.domains,
            valid_until: status.valid_until.map(millis),
            next_attempt: status.next_attempt.map(millis),
            error: status.error.map(Into::into),
        }
    }
}
