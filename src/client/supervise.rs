//! What the supervisor of a session does: waits for its loss, then tries until there is another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Standing;
use super::manager::{Shared, closed};
use crate::backoff::Backoff;
use crate::error::{Code, Error, Result};
use crate::ssh::Session;

/// A session that was up for so long was a success: after it, attempts begin anew, at once.
const SUCCESS: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) async fn supervise(&self, mut first: Option<Arc<Session>>, mut backoff: Backoff) {
        loop {
            let session = match first.take() {
                Some(session) => session,
                // A handshake takes ten times the room of all else here, and is over when there is a session.
                None => match Box::pin(self.reconnect(&mut backoff)).await {
                    Ok(session) => self.established(session),
                    Err(error) => return self.stand(Standing::Closed(Some(error))),
                },
            };
            let since = Instant::now();
            let why = self.watch_over(&session).await;
            self.lanes.retire();
            self.past.lock().add(session.traffic());
            if !self.reconnect.enabled {
                return self.stand(Standing::Closed(why));
            }
            if since.elapsed() >= SUCCESS {
                backoff.reset();
            }
            self.stand(Standing::Down(why));
        }
    }

    pub(super) fn established(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.stand(Standing::Up(Arc::clone(&session)));
        session
    }

    /// Tries until there is a session, or an error that further attempts would not mend.
    async fn reconnect(&self, backoff: &mut Backoff) -> Result<Session> {
        loop {
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
            match self.connect().await {
                Ok(session) => return Ok(session),
                Err(error) if error.code().is_permanent() => return Err(error),
                Err(error) => {
                    tracing::info!(attempt = backoff.attempts(), %error, "no session yet");
                    self.failed_attempts.fetch_add(1, Ordering::Relaxed);
                    if error.code() == Code::AuthRejected {
                        backoff.slow_down();
                    }
                    self.stand(Standing::Down(Some(error)));
                }
            }
        }
    }

    pub(super) async fn connect(&self) -> Result<Session> {
        let attempt = self.attempt.lock().clone().ok_or_else(closed)?;
        let (session, server) = attempt.reach().await?;
        if let Some(attempt) = &mut *self.attempt.lock() {
            attempt.settle(server, &session.info().host_key_fingerprint);
        }
        self.server.store(server, Ordering::Relaxed);
        Ok(session)
    }

    /// Another session with the server of the present one.
    async fn connect_again(&self) -> Result<Session> {
        let attempt = self.attempt.lock().clone().ok_or_else(closed)?;
        attempt.only(self.server.load(Ordering::Relaxed)).run().await
    }

    /// Waits for the session's end, and gives it lanes meanwhile.
    async fn watch_over(&self, session: &Session) -> Option<Error> {
        let relieving = async {
            loop {
                self.lanes.worn_out().await;
                match Box::pin(self.connect_again()).await {
                    Ok(lane) => self.lanes.add(lane),
                    // The present session goes on; its next hundreds of streams ask again.
                    Err(e) => tracing::debug!(code = e.code().as_str(), "no second session"),
                }
            }
        };
        tokio::select! {
            why = session.closed() => why,
            () = relieving => None,
        }
    }
}
