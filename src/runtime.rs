//! The runtime that the program and the addon share: how many threads, and of what size.

use tokio::runtime::Builder;

/// A runtime for a process that does little else than carry bytes.
///
/// `ALKNET_WORKERS` threads (1 to 64), else one per two processors, four at most. With one, a message crosses no thread inside the
/// core: on two processors a forward over SSH carries a third more than with two (benches/, 1.7 against 1.3 GB/s), and a plain one of
/// eight connections a fifth less (2.7 against 3.4 GB/s).
pub fn runtime() -> Builder {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = std::env::var("ALKNET_WORKERS").ok().and_then(|n| n.parse().ok());
    let workers = wanted.filter(|n| (1..=64).contains(n)).unwrap_or((cores / 2).clamp(1, 4));
    let mut builder = Builder::new_multi_thread();
    // musl's default of 128 KiB is too little for key exchange.
    builder.worker_threads(workers).thread_stack_size(2 * 1024 * 1024).enable_all();
    builder
}
