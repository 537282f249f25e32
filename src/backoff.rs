//! Pauses between attempts. Pure: it owns no clock and no randomness.

use std::time::Duration;

/// Pauses in seconds; the last one goes on for ever.
const STEPS: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// Part of a pause by which it may be longer or shorter, so that many clients do not come back in step.
const JITTER: f64 = 0.2;

/// The pauses of a row of failed attempts: none before the first, then 1, 2, 4, 8, 16 and 30 s, each ± 20 %.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    attempts: usize,
    longest: Duration,
}

impl Backoff {
    /// No pause is longer than `longest`, jitter apart.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { attempts: 0, longest }
    }

    /// The pause before the next attempt. `chance` is a random number from 0 to 1.
    pub(crate) fn pause(&mut self, chance: f64) -> Duration {
        let step = self.attempts.checked_sub(1);
        self.attempts = self.attempts.saturating_add(1);
        match step {
            None => Duration::ZERO,
            Some(step) => self.jittered(STEPS[step.min(STEPS.len() - 1)], chance),
        }
    }

    /// Goes to the longest pause: for what does not get better by asking often.
    pub(crate) fn slow_down(&mut self) {
        self.attempts = self.attempts.max(STEPS.len());
    }

    /// Attempts since the last success.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts
    }

    /// An attempt held: the next row begins anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn jittered(&self, seconds: u64, chance: f64) -> Duration {
        let factor = 1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0);
        Duration::from_secs(seconds).min(self.longest).mul_f64(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn the_first_attempt_is_made_at_once_and_the_pauses_double_up_to_30_s() {
        let mut backoff = Backoff::new(LONGEST);
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause(0.5).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.pause(0.5), Duration::ZERO);
    }

    #[test]
    fn a_pause_is_at_most_a_fifth_longer_or_shorter() {
        for (chance, expected) in [(0.0, 800), (1.0, 1200), (7.0, 1200)] {
            let mut backoff = Backoff::new(LONGEST);
            backoff.pause(chance);
            assert_eq!(backoff.pause(chance).as_millis(), expected);
        }
    }

    #[test]
    fn slowing_down_leads_to_the_longest_pause() {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        backoff.pause(0.5);
        backoff.slow_down();
        assert_eq!(backoff.pause(0.5), Duration::from_secs(5));
    }
}
