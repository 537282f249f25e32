//! An open stream: calls that copy and never wait.

use std::sync::Arc;

use alknet::{CertificateInfo, Info, Read};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Bell;
use crate::error::NativeError;
use crate::runtime::conversation;

/// What the two ends know of each other.
#[napi(object)]
pub struct NativeInfo {
    pub remote_address: Option<String>,
    pub remote_port: Option<u16>,
    pub local_address: Option<String>,
    pub local_port: Option<u16>,
    pub transport: String,
    pub user: String,
    pub key_fingerprint: String,
    pub certificate: Option<NativeCertificate>,
    pub host_key_fingerprint: String,
    pub peer: String,
    pub target: String,
    pub session_id: String,
}

impl From<&Info> for NativeInfo {
    fn from(info: &Info) -> Self {
        Self {
            remote_address: info.remote.map(|address| address.ip().to_canonical().to_string()),
            remote_port: info.remote.map(|address| address.port()),
            local_address: info.local.map(|address| address.ip().to_canonical().to_string()),
            local_port: info.local.map(|address| address.port()),
            transport: info.transport.to_owned(),
            user: info.user.clone(),
            key_fingerprint: info.key_fingerprint.clone(),
            certificate: info.certificate.as_ref().map(NativeCertificate::from),
            host_key_fingerprint: info.host_key_fingerprint.clone(),
            peer: info.peer.clone(),
            target: info.target.clone(),
            session_id: info.session_id.clone(),
        }
    }
}

/// What a certificate says of itself.
#[napi(object)]
pub struct NativeCertificate {
    pub id: String,
    /// Decimal: a number of JavaScript holds 53 bits of its 64.
    pub serial: String,
    pub principals: Vec<String>,
    pub ca_fingerprint: String,
}

impl From<&CertificateInfo> for NativeCertificate {
    fn from(info: &CertificateInfo) -> Self {
        Self {
            id: info.id.clone(),
            serial: info.serial.to_string(),
            principals: info.principals.clone(),
            ca_fingerprint: info.ca_fingerprint.clone(),
        }
    }
}

/// A stream. Dropped, it is closed.
#[napi]
pub struct NativeStream {
    id: u32,
    stream: alknet::Stream,
}

#[napi]
impl NativeStream {
    pub(crate) fn new(bell: &Arc<Bell>, stream: alknet::Stream) -> Self {
        let (id, ringer) = bell.ringer();
        stream.observe(ringer);
        Self { id, stream }
    }

    #[napi(getter)]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[napi]
    pub fn info(&self) -> NativeInfo {
        self.stream.info().into()
    }

    /// `null`: nothing now, or lost; empty: the end; else 1 to `max` bytes.
    #[napi]
    pub fn try_read<'env>(&self, env: &'env Env, max: u32) -> Result<Option<BufferSlice<'env>>> {
        match self.stream.try_read(max as usize) {
            Read::Data(bytes) => {
                note(bytes.len());
                BufferSlice::copy_from(env, bytes).map(Some)
            }
            Read::Eof => BufferSlice::copy_from(env, []).map(Some),
            Read::Pending | Read::Failed(_) => Ok(None),
        }
    }

    /// Bytes accepted, or -1 when the stream is over.
    #[napi]
    pub fn try_write(&self, chunk: &[u8]) -> i64 {
        note(chunk.len());
        self.stream.try_write(chunk).map_or(-1, |n| n as i64)
    }

    #[napi]
    pub fn fin(&self) {
        // A stream that is lost says so by its closing event.
        let _ = self.stream.finish();
    }

    #[napi]
    pub fn close(&self) {
        self.stream.close();
    }

    #[napi]
    pub fn failure(&self) -> Option<NativeError> {
        self.stream.failure().map(Into::into)
    }

    #[napi]
    pub fn read_buffered(&self) -> u32 {
        self.stream.buffered().0 as u32
    }

    #[napi]
    pub fn write_buffered(&self) -> u32 {
        self.stream.buffered().1 as u32
    }
}

/// Longer pieces are bulk: what matters there is throughput.
const SMALL: usize = 4 * 1024;

fn note(length: usize) {
    if length <= SMALL {
        conversation();
    }
}
