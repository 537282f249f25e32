//! How often within a session: what comes faster waits, and the session, read no further meanwhile, with it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many in a second, and as many at once after a pause.
pub(super) struct Rate {
    per_second: f64,
    state: Mutex<State>,
}

struct State {
    /// What may be taken; below zero when some wait.
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, state: Mutex::new(State { left: per_second, at: Instant::now() }) }
    }

    /// Takes one, and waits until it is due: a fraction of a second. Cancel-safe.
    pub(super) async fn take(&self) {
        let wait = self.due(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn due(&self, now: Instant) -> Duration {
        let mut state = self.state.lock();
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.at = now;
        state.left = (state.left + passed * self.per_second).min(self.per_second) - 1.0;
        Duration::from_secs_f64((-state.left / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_comes_at_the_rate() {
        let (rate, start) = (Rate::new(200), Instant::now());
        for _ in 0..200 {
            assert_eq!(rate.due(start), Duration::ZERO);
        }
        let mut now = start;
        for _ in 0..200 {
            now += rate.due(now);
        }
        let took = now - start;
        assert!(
            (Duration::from_millis(990)..Duration::from_millis(1010)).contains(&took),
            "{took:?}"
        );
        assert_eq!(rate.due(now + Duration::from_secs(60)), Duration::ZERO);
    }
}
