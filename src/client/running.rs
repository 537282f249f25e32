//! A forward at work: its listeners and its connections, which end apart.

use std::sync::Arc;
use std::time::Duration;

use crate::forward::Forward;
use crate::listen::{Listener, Request};
use crate::scope::Scope;

/// How long `close` waits for connections to be gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// See the module. Dropping it ends both at once.
pub(super) struct Running {
    pub(super) forward: Arc<Forward>,
    /// Of the listeners alone.
    pub(super) listening: Scope,
    /// Of the connections.
    pub(super) scope: Scope,
}

impl Running {
    pub(super) fn new(forward: Arc<Forward>) -> Self {
        Self { forward, listening: Scope::new(), scope: Scope::new() }
    }

    /// Serves one more listener.
    pub(super) fn serve(&self, listener: Box<dyn Listener<Request>>) {
        self.listening.spawn(Arc::clone(&self.forward).run(listener, self.scope.clone()));
    }

    /// Stops listening, and lets the connections go on.
    pub(super) async fn stop_listening(&self) {
        self.listening.cancel();
        self.listening.join(CLOSE_LIMIT).await;
    }

    /// Waits until there is no connection, `limit` at most.
    pub(super) async fn drain(&self, limit: Duration) {
        self.scope.join(limit).await;
    }

    /// Stops listening, resets the connections and waits until they are gone, 3 s at most. Idempotent.
    pub(super) async fn close(&self) {
        self.listening.cancel();
        self.scope.cancel();
        self.listening.join(CLOSE_LIMIT).await;
        self.scope.join(CLOSE_LIMIT).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listening.cancel();
        self.scope.cancel();
    }
}
