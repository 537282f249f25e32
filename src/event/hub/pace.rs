//! How fast a member publishes.

use std::time::Duration;

use tokio::time::Instant;

/// See the module.
pub(super) struct Rate {
    pub(super) max: Option<u32>,
    pub(super) since: Instant,
    pub(super) count: u64,
}

impl Rate {
    /// Counts events; how long to wait until more may come.
    pub(super) fn pause(&mut self, now: Instant, count: u64) -> Option<Duration> {
        let max = u64::from(self.max?);
        let second = Duration::from_secs(1);
        if now.saturating_duration_since(self.since) >= second {
            (self.since, self.count) = (now, 0);
        }
        self.count += count;
        if self.count < max {
            return None;
        }
        // A batch may be worth more than a second.
        let seconds = self.count / max;
        self.count %= max;
        let until = self.since + second * u32::try_from(seconds).unwrap_or(u32::MAX);
        self.since = until;
        Some(until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_slowed_down_to_its_rate() {
        let began = Instant::now();
        let mut rate = Rate { max: Some(100), since: began, count: 0 };
        let mut now = began;
        for _ in 0..100 {
            if let Some(pause) = rate.pause(now, 10) {
                now += pause;
            }
        }
        // Events of the first second come at once.
        let seconds = now.duration_since(began).as_secs();
        assert!((9..=10).contains(&seconds), "{seconds}");
        let mut free = Rate { max: None, since: began, count: 0 };
        assert_eq!(free.pause(began, 1_000_000), None);
    }
}
