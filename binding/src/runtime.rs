//! The one tokio runtime of the process. Never dropped: streams may outlive the JS environment that opened them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use alknet::runtime::Work;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// What the runtime is built for, if anybody said before it was.
static WORK: OnceLock<Work> = OnceLock::new();

/// Says what this process will carry. Changes nothing once there is a runtime.
pub(crate) fn expect(work: Work) {
    let _ = WORK.set(work);
}

static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let work = WORK.get().copied().unwrap_or_default();
    let runtime = alknet::runtime::runtime(work).thread_name("alknet").build().ok()?;
    if !ALERT.window.is_zero() {
        runtime.spawn(ALERT.watch());
    }
    Some(runtime)
});

/// The runtime.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn runtime() -> napi::Result<&'static Runtime> {
    RUNTIME.as_ref().ok_or_else(|| napi::Error::from_reason("cannot start the runtime's threads"))
}

/// Keeps the runtime's thread from sleeping between the messages of a conversation: waking a sleeping thread takes longer
/// than everything else on the way. It only looks while small messages follow each other within the window, and offers its
/// processor to others at each look.
struct Alert {
    window: Duration,
    started: Instant,
    /// Microseconds since `started`: the last small message.
    last: AtomicU64,
    /// How regularly messages have followed each other of late.
    score: AtomicU32,
    looking: AtomicBool,
    call: Notify,
}

/// Default of `ALKNET_SPIN_US`: longer than a round trip between two programs on one machine whose threads have to be woken. 0 turns it off.
const WINDOW_US: u64 = 300;

/// Messages in a conversation before it is one.
const CONVERSATION: u32 = 8;

static ALERT: LazyLock<Alert> = LazyLock::new(|| Alert {
    window: Duration::from_micros(variable("ALKNET_SPIN_US").unwrap_or(WINDOW_US).min(10_000)),
    started: Instant::now(),
    last: AtomicU64::new(0),
    score: AtomicU32::new(0),
    looking: AtomicBool::new(false),
    call: Notify::new(),
});

/// A small message came from or went to JavaScript: the next one may be near.
pub(crate) fn conversation() {
    ALERT.heard();
}

impl Alert {
    fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn heard(&self) {
        let now = self.now();
        let gap = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        let score = self.score.load(Ordering::Relaxed);
        if u128::from(gap) > self.window.as_micros() {
            self.score.store(score / 2, Ordering::Relaxed);
        } else if score < 2 * CONVERSATION {
            self.score.store(score + 1, Ordering::Relaxed);
        }
        if score >= CONVERSATION && !self.looking.swap(true, Ordering::AcqRel) {
            self.call.notify_one();
        }
    }

    async fn watch(&self) {
        loop {
            self.call.notified().await;
            while u128::from(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
                < self.window.as_micros()
            {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
            self.looking.store(false, Ordering::Release);
        }
    }
}
