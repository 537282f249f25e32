//! The accept loop, written once: every listener of every transport runs here.

use std::future::Future;
use std::io;
use std::time::Duration;

use super::{Incoming, Listener};
use crate::scope::Scope;

/// First and longest pause after a failed accept: out of descriptors must not mean a busy loop.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Takes arrivals, each handled in a task of its own that ends itself when the scope is cancelled.
pub(crate) async fn serve<T, F>(
    mut listener: Box<dyn Listener<T>>,
    scope: Scope,
    handle: impl Fn(Incoming<T>) -> F,
) where
    T: 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = PAUSE.0;
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                pause = PAUSE.0;
                scope.spawn_to_end(handle(incoming));
            }
            Err(e) if is_about_one_peer(&e) => tracing::debug!(error = %e, "an arrival went away"),
            Err(e) => {
                tracing::warn!(error = %e, "cannot accept, pausing");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Failures of an arrival rather than of the listener (accept(2), "Error handling").
fn is_about_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused)
}
