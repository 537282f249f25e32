//! Operations under way: run on the runtime, settled through the doorbell, undone when cancelled or dropped.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use alknet::Events;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use tokio::task::AbortHandle;

use crate::bell::{Bell, Doorbell};
use crate::error::NativeError;
use crate::forward::{Forwarder, NativeForward};
use crate::own_bus::{Made, NativeBus};
use crate::runtime::{conversation, runtime};
use crate::server::{NativeServer, Started};
use crate::session::NativeSession;
use crate::stream::NativeStream;
use crate::tunnel::NativeTunnel;

type Outcome<T> = Arc<Mutex<Option<alknet::Result<T>>>>;

pub(crate) struct Pending<T> {
    id: u32,
    bell: Arc<Bell>,
    outcome: Outcome<T>,
    task: AbortHandle,
}

impl<T: Send + 'static> Pending<T> {
    pub(crate) fn start(
        bell: &Doorbell,
        future: impl Future<Output = alknet::Result<T>> + Send + 'static,
    ) -> Result<Self> {
        conversation();
        let bell = Arc::clone(&bell.bell);
        let id = bell.next_id();
        let outcome: Outcome<T> = Arc::default();
        let (result, ringer) = (Arc::clone(&outcome), Arc::clone(&bell));
        let task = runtime()?.spawn(async move {
            let done = future.await;
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            ringer.ring(id, Events::READABLE.bits());
        });
        Ok(Self { id, bell, outcome, task: task.abort_handle() })
    }

    fn cancel(&self) {
        self.task.abort();
        self.settle();
    }

    fn settle(&self) -> Option<alknet::Result<T>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The failure, once; a success stays for `take`.
    fn failure(&self) -> Option<NativeError> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome.take() {
            Some(Err(error)) => Some(error.into()),
            other => {
                *outcome = other;
                None
            }
        }
    }

    fn take(&self) -> Result<T> {
        conversation();
        match self.settle() {
            Some(Ok(value)) => Ok(value),
            _ => Err(Error::from_reason("not settled, or taken already")),
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A class of its own for each kind of result: classes of napi cannot be generic.
macro_rules! pending {
    ($(#[$doc:meta])* $class:ident($core:ty) gives $given:ty, by $take:expr) => {
        $(#[$doc])*
        #[napi]
        pub struct $class(pub(crate) Pending<$core>);

        #[napi]
        impl $class {
            #[napi(getter)]
            pub fn id(&self) -> u32 {
                self.0.id
            }

            #[napi]
            pub fn cancel(&self) {
                self.0.cancel();
            }

            #[napi]
            pub fn failure(&self) -> Option<NativeError> {
                self.0.failure()
            }

            #[napi]
            pub fn take(&self) -> Result<$given> {
                self.0.take().map(|value| ($take)(&self.0.bell, value))
            }
        }
    };
}

pending! {
    /// An operation that gives a stream.
    PendingStream(alknet::Stream) gives NativeStream, by NativeStream::new
}

pending! {
    /// An operation that gives a session.
    PendingSession(alknet::ChannelManager) gives NativeSession, by NativeSession::new
}

pending! {
    /// An operation that gives a session with a container.
    PendingTunnel(alknet::Tunnel) gives NativeTunnel, by NativeTunnel::new
}

pending! {
    /// An operation that gives a forward.
    PendingForward(Forwarder) gives NativeForward, by NativeForward::new
}

pending! {
    /// An operation that gives a server.
    PendingServer(Started) gives NativeServer, by NativeServer::new
}

pending! {
    /// An operation that gives a bus.
    PendingBus(Made) gives NativeBus, by NativeBus::new
}

pending! {
    /// An operation that looks at a key.
    PendingKeyInfo(alknet::KeyInfo) gives NativeKeyInfo, by key_info
}

pending! {
    /// An operation that gives nothing.
    PendingUnit(()) gives (), by |_: &Arc<Bell>, ()| ()
}

pending! {
    /// A run of the command line, which gives an exit code.
    PendingExit(u8) gives u8, by |_: &Arc<Bell>, code| code
}

pending! {
    /// An operation that gives text.
    PendingText(String) gives String, by |_: &Arc<Bell>, text| text
}

/// What a private key says of itself without its passphrase.
#[napi(object)]
pub struct NativeKeyInfo {
    pub encrypted: bool,
    pub algorithm: String,
    pub fingerprint: String,
}

fn key_info(_: &Arc<Bell>, info: alknet::KeyInfo) -> NativeKeyInfo {
    let alknet::KeyInfo { encrypted, algorithm, fingerprint, .. } = info;
    NativeKeyInfo { encrypted, algorithm, fingerprint }
}
