//! The only room that spawns tasks. A scope's tasks end with it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::error::{Code, Error, Result};

/// Spawns tasks on one runtime, tells them to end, and waits until they have.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    runtime: Handle,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Scope {
    /// A scope on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime, as `Handle::current` does.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            token: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Runs `future` until it is done or the scope is cancelled. Callable from any thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        // A future that is handed on by value has room in each of the hands, for as long as the task lives: three times its size.
        let future = Box::pin(future);
        self.tasks.spawn_on(
            async move {
                token.run_until_cancelled(future).await;
            },
            &self.runtime,
        );
    }

    /// Runs `future` to its end, cancelled or not: for clean-up that must happen and bounds itself.
    pub(crate) fn spawn_to_end(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(future, &self.runtime);
    }

    /// Runs `work` where it may block: files, key derivation. Once begun it is not cancelled, so it must end by itself.
    ///
    /// # Errors
    /// `ECANCELED` when the runtime ends first, or `work` panicked.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let ended = |_| Error::new(Code::System("ECANCELED"), "the runtime has ended");
        self.tasks.spawn_blocking_on(work, &self.runtime).await.map_err(ended)
    }

    /// `future`'s result, or `None` when the scope ends first.
    pub(crate) async fn until_cancelled<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(future).await
    }

    /// Ready once the scope is told to end.
    pub(crate) fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Whether the scope was told to end.
    #[cfg(feature = "ws")]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells the scope's tasks to end.
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Waits until all tasks are done, `grace` at most. The scope must not be used for new work after it.
    pub(crate) async fn join(&self, grace: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
    }
}

/// Runs work that blocks, such as reading files, where it holds no task up. Once begun it comes to its end, wanted or not.
///
/// # Errors
/// `ERR_ALKNET_SESSION_CLOSED` when the runtime is being shut down.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::new(Code::SessionClosed, "the runtime is shutting down"))
}
