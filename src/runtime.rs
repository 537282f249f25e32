//! The runtime that the program and the addon share: how many threads, and of what size.

use tokio::runtime::Builder;

/// Most threads of a plain forwarder: on two processors each carried 1.7 GB/s (benches/), so these fill the fastest links.
const MOST_PLAIN: usize = 8;

/// What a process is going to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// Bytes of SSH sessions and whatever else, or nobody knows yet.
    #[default]
    Sessions,
    /// Bytes between sockets and nothing else: a forwarder without a server.
    Plain,
}

/// A runtime for a process that does little else than carry bytes.
///
/// `ALKNET_WORKERS` threads (1 to 64), else one per two processors for sessions, four at most, and one per processor for plain
/// forwards, eight at most. With one, a message crosses no thread inside the core: on two processors a forward over SSH carries a third
/// more than with two (benches/, 1.7 against 1.3 GB/s). A plain one is work of the kernel alone: eight connections carry a fifth less
/// with one thread (2.7 against 3.4 GB/s).
pub fn runtime(work: Work) -> Builder {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = std::env::var("ALKNET_WORKERS").ok().and_then(|n| n.parse().ok());
    let workers = wanted.filter(|n| (1..=64).contains(n)).unwrap_or(threads(work, cores));
    let mut builder = Builder::new_multi_thread();
    // musl's default of 128 KiB is too little for key exchange.
    builder.worker_threads(workers).thread_stack_size(2 * 1024 * 1024).enable_all();
    builder
}

fn threads(work: Work, cores: usize) -> usize {
    match work {
        Work::Sessions => (cores / 2).clamp(1, 4),
        Work::Plain => cores.clamp(1, MOST_PLAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_forwards_have_a_thread_for_each_processor_and_sessions_for_two() {
        for (cores, sessions, plain) in [(1, 1, 1), (2, 1, 2), (4, 2, 4), (64, 4, 8)] {
            assert_eq!(threads(Work::Sessions, cores), sessions, "{cores} processors");
            assert_eq!(threads(Work::Plain, cores), plain, "{cores} processors");
        }
    }
}
