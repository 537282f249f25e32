//! The one tokio runtime of the process. Never dropped: streams may outlive the JS environment that opened them.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// `ALKNET_WORKERS`, else one thread per two cores, four at most: with one, a message crosses no thread inside the core.
fn workers() -> usize {
    let asked = std::env::var("ALKNET_WORKERS").ok().and_then(|n| n.parse().ok());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.filter(|n| (1..=64).contains(n)).unwrap_or((cores / 2).clamp(1, 4))
}

static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(workers())
        .thread_name("alknet")
        // musl's default of 128 KiB is too little for key exchange.
        .thread_stack_size(2 * 1024 * 1024)
        .enable_all()
        .build()
        .ok()
});

/// The runtime.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn runtime() -> napi::Result<&'static Runtime> {
    RUNTIME.as_ref().ok_or_else(|| napi::Error::from_reason("cannot start the runtime's threads"))
}
