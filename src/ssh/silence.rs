//! When a peer that says nothing is taken for gone.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The time since a peer was heard, against a limit. One timer, which is moved when it runs out rather than whenever bytes come.
pub(super) struct Silence {
    limit: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, heard: Instant::now(), timer: Box::pin(sleep(limit)) }
    }

    /// Bytes have come.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Ready when none have for too long. To be asked when there is nothing to read: what waits to be read was said.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let until = self.heard + self.limit;
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_over(silence: &mut Silence) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(silence.poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn a_timer_that_ran_out_counts_from_the_last_byte() {
        let mut silence = Silence::new(Duration::ZERO);
        std::future::poll_fn(|cx| silence.poll(cx)).await;
        silence.limit = Duration::from_secs(3600);
        assert!(!is_over(&mut silence).await, "bytes may come for an hour yet");
        silence.heard -= silence.limit;
        assert!(!is_over(&mut silence).await, "the timer was not moved");
        silence.timer = Box::pin(sleep(Duration::ZERO));
        std::future::poll_fn(|cx| silence.poll(cx)).await;
        silence.heard();
        assert!(!is_over(&mut silence).await, "it was heard");
    }
}
