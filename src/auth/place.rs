//! Places that the gate gave: of a connection before log-in, of a session after it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Offence;
use super::gate::{Gate, shown};
use super::source::Source;
use crate::io::EndpointId;

/// Log lines about one source in a second (reference table: logs).
const MOST_LINES: u32 = 20;

/// The place of a connection that has not logged in. Dropped, it is given back, and its source pays for what it did.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    source: Option<Source>,
    /// Where it comes from, for the log.
    remote: Option<IpAddr>,
    offence: Offence,
    begun: Instant,
    /// It did nothing that a penalty is for.
    is_harmless: bool,
    /// The count has been given back.
    left: bool,
}

impl Place {
    pub(super) fn new(
        gate: Arc<Gate>,
        source: Option<Source>,
        remote: Option<IpAddr>,
        begun: Instant,
    ) -> Self {
        let (is_harmless, left) = (false, false);
        Self { gate, source, remote, offence: Offence::default(), begun, is_harmless, left }
    }

    /// The key that the transport has proved, when that is whom limits are counted against.
    pub(crate) fn endpoint(&self) -> Option<EndpointId> {
        self.source.and_then(Source::endpoint)
    }

    /// Notes why the connection will end; of several reasons the gravest counts.
    pub(crate) fn blame(&mut self, offence: Offence) {
        self.offence = self.offence.max(offence);
    }

    /// Notes that it wanted something else here, and got it.
    pub(crate) fn excuse(&mut self) {
        self.is_harmless = true;
    }

    /// Whether one more line about this source may be logged now.
    pub(crate) fn may_log(&self) -> bool {
        let Some(source) = self.source else { return true };
        let mut state = self.gate.state.lock();
        let Some(visits) = state.sources.get_mut(&source) else { return true };
        visits.turn(Instant::now());
        visits.lines += 1;
        visits.lines <= MOST_LINES
    }

    /// Gives the place back for one among the sessions. `Err` says why there is none; no penalty follows.
    pub(crate) fn log_in(&mut self, key: &str) -> Result<Member, &'static str> {
        let gate = Arc::clone(&self.gate);
        let mut state = gate.state.lock();
        // A log-in is not what the rate of handshakes is about.
        if let Some(visits) = self.source.and_then(|source| state.sources.get_mut(&source))
            && self.begun >= visits.since
        {
            visits.begun = visits.begun.saturating_sub(1);
        }
        let of_key = state.keys.get(key).copied().unwrap_or_default();
        self.is_harmless = true;
        if state.sessions >= gate.limits.max_sessions {
            return Err("too many sessions");
        }
        if of_key >= gate.limits.max_sessions_per_key {
            return Err("too many sessions with this key");
        }
        state.release(self.source);
        self.left = true;
        state.sessions += 1;
        state.keys.insert(key.to_owned(), of_key + 1);
        if let Some(visits) = self.source.and_then(|source| state.sources.get_mut(&source)) {
            visits.members += 1;
        }
        drop(state);
        Ok(Member { gate, source: self.source, key: key.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let mut state = self.gate.state.lock();
        state.release(self.source);
        let Some(source) = self.source.filter(|_| !self.is_harmless) else { return };
        let sentence = state
            .penalties
            .as_mut()
            .and_then(|jail| jail.add(source, self.offence, Instant::now()));
        drop(state);
        if let Some(time) = sentence {
            let (remote_addr, seconds) = (shown(Some(source), self.remote), time.as_secs());
            let endpoint = source.endpoint().map(tracing::field::display);
            tracing::warn!(%remote_addr, seconds, offence = ?self.offence, endpoint, "source refused for a while");
        }
    }
}

/// The place of a session, given back when dropped.
#[derive(Debug)]
pub(crate) struct Member {
    gate: Arc<Gate>,
    source: Option<Source>,
    key: String,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.sessions -= 1;
        if let Some(visits) = self.source.and_then(|source| state.sources.get_mut(&source)) {
            visits.members -= 1;
        }
        if let Some(count) = state.keys.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.keys.remove(&self.key);
            }
        }
    }
}
