//! Failures as plain values; TypeScript makes real errors of them.

use napi_derive::napi;

/// A failure: what `AlknetError` is made from.
#[napi(object)]
pub struct NativeError {
    pub code: String,
    pub message: String,
    pub phase: Option<String>,
    pub hint: Option<String>,
    pub syscall: Option<String>,
    pub address: Option<String>,
    pub port: Option<u16>,
    pub fingerprint: Option<String>,
    pub hop: Option<String>,
    pub reason: Option<String>,
    pub cause_code: Option<String>,
    pub cause_message: Option<String>,
}

impl From<alknet::Error> for NativeError {
    fn from(error: alknet::Error) -> Self {
        let (address, port) = error.about();
        Self {
            code: error.code().as_str().to_owned(),
            message: error.to_string(),
            phase: error.phase().map(|phase| phase.as_str().to_owned()),
            hint: error.help().map(str::to_owned),
            syscall: error.syscall().map(str::to_owned),
            address: address.map(str::to_owned),
            port,
            fingerprint: error.shown_fingerprint().map(str::to_owned),
            hop: error.hop().map(str::to_owned),
            reason: error.refusal().map(|refusal| refusal.as_str().to_owned()),
            cause_code: error.cause().map(|cause| alknet::posix_name(cause).to_owned()),
            cause_message: error.cause().map(ToString::to_string),
        }
    }
}
