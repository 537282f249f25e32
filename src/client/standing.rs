//! What there is to say of a supervised session: how it comes back, where it stands, what it has done.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::ssh::Session;

/// How a supervised session comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// Whether it does. Default true.
    pub enabled: bool,
    /// Whether a failed first attempt is repeated as well. Default false: [`crate::ChannelManager::new`] fails with its reason.
    pub from_the_start: bool,
    /// The longest pause between attempts; pauses are 1, 2, 4, 8, 16, 30 s, each ± 20 %. Default 30 s.
    pub longest_pause: Duration,
    /// How long a request for a stream waits for a session. Default 10 s.
    pub wait: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            enabled: true,
            from_the_start: false,
            longest_pause: Duration::from_secs(30),
            wait: Duration::from_secs(10),
        }
    }
}

/// Where a supervised session stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Standing {
    /// There is no session; attempts are made. Carries why the last one ended or failed.
    Down(Option<Error>),
    /// There is a session.
    Up(Arc<Session>),
    /// It is over for good: closed, or stopped by what no further attempt would mend.
    Closed(Option<Error>),
}

/// Counters of a supervised session, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Whether there is a session now.
    pub up: bool,
    /// Sessions established.
    pub sessions: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Streams that are open now.
    pub open_streams: usize,
    /// Streams opened.
    pub opened: u64,
    /// Requests for streams that failed.
    pub refused: u64,
    /// Bytes received on streams.
    pub bytes_received: u64,
    /// Bytes sent on streams.
    pub bytes_sent: u64,
}
