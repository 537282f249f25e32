//! The bounds of a server, all in one place: what one client, one source and all of them together may take.
//!
//! Defaults without a source of their own are those of the reference table "server and client defaults".

use std::time::Duration;

use crate::error::{Error, Result};

/// Bounds of a server. A bound of zero is refused by `serve`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From accept to logged in. Default 20 s.
    pub login_timeout: Duration,
    /// Log-in attempts per connection. Default 6.
    pub max_auth_attempts: u32,
    /// Keys a connection may show, good ones included. Default 20.
    pub max_offered_keys: u32,
    /// Connections not logged in yet: so many over TCP, and so many by iroh. Default 256.
    pub max_unauthenticated: usize,
    /// From so many of them on, new ones are refused at random: 30 % at first, rising to all at `max_unauthenticated`.
    /// Default 64. As MaxStartups in sshd_config(5).
    pub early_drop: usize,
    /// Connections not logged in yet from one source: an IPv4 address or an IPv6 /64. Default 10.
    pub max_unauthenticated_per_source: usize,
    /// Connections that one source may begin in a second, not counting those that log in. Default 20.
    pub max_handshakes_per_source: u32,
    /// Connections of one source, logged in or not. Default 4 096, as many as there are sessions.
    pub max_connections_per_source: usize,
    /// Sessions logged in. Default 4 096.
    pub max_sessions: usize,
    /// Sessions logged in with one key. Default 64.
    pub max_sessions_per_key: usize,
    /// Open streams of all sessions. Default 16 384.
    pub max_channels: usize,
    /// Open streams per session. Default 1 024.
    pub max_channels_per_session: usize,
    /// Accepted streams that wait for the program. Default 128.
    pub max_pending: usize,
    /// Of these, from one session. Default 128: a program that opens a hundred at once is not refused any.
    pub max_pending_per_session: usize,
    /// Opens of one session that may be refused in a second; then the session is slowed down to that. Default 200.
    pub max_refused_opens: u32,
    /// Requests for remote forwards of one session in a second; then the session is slowed down to that. Default 50.
    pub max_requests: u32,
    /// By iroh: how long a server may have neither its relay nor a connection before its endpoint is built anew, with the same key and
    /// port. Each time that did not help it is twice as long, up to ten times as long in all. Default 60 s.
    pub relay_timeout: Duration,
    /// Time for which a source that misbehaved is refused; `None` never refuses one for that.
    pub penalties: Option<Penalties>,
    /// Addresses and networks (`192.0.2.0/24`) to which no bound per source and no penalty applies. Default none.
    pub exempt: Vec<String>,
}

/// What a source's connections that do not log in cost it. The penalties of one source add up; once they come to `threshold`, it
/// is refused until they have run out. As PerSourcePenalties in sshd_config(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalties {
    /// Tried to log in and could not. Default 5 s.
    pub auth_failed: Duration,
    /// Went away without having tried. Default 1 s.
    pub no_auth: Duration,
    /// Did not log in in time. Default 10 s.
    pub timed_out: Duration,
    /// Broke the protocol. Default 30 s.
    pub malformed: Duration,
    /// Below this sum nothing happens. Default 15 s.
    pub threshold: Duration,
    /// The sum grows no further. Default 600 s.
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_timeout: Duration::from_secs(20),
            max_auth_attempts: 6,
            max_offered_keys: 20,
            max_unauthenticated: 256,
            early_drop: 64,
            max_unauthenticated_per_source: 10,
            max_handshakes_per_source: 20,
            max_connections_per_source: 4096,
            max_sessions: 4096,
            max_sessions_per_key: 64,
            max_channels: 16_384,
            max_channels_per_session: 1024,
            max_pending: 128,
            max_pending_per_session: 128,
            max_refused_opens: 200,
            max_requests: 50,
            relay_timeout: Duration::from_secs(60),
            penalties: Some(Penalties::default()),
            exempt: Vec::new(),
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        Self {
            auth_failed: Duration::from_secs(5),
            no_auth: Duration::from_secs(1),
            timed_out: Duration::from_secs(10),
            malformed: Duration::from_secs(30),
            threshold: Duration::from_secs(15),
            longest: Duration::from_secs(600),
        }
    }
}

impl Limits {
    /// Refuses bounds that let nobody in.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`, naming the bound.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("login_timeout", self.login_timeout.is_zero()),
            ("max_auth_attempts", self.max_auth_attempts == 0),
            ("max_offered_keys", self.max_offered_keys == 0),
            ("max_unauthenticated", self.max_unauthenticated == 0),
            ("early_drop", self.early_drop == 0),
            ("max_unauthenticated_per_source", self.max_unauthenticated_per_source == 0),
            ("max_handshakes_per_source", self.max_handshakes_per_source == 0),
            ("max_connections_per_source", self.max_connections_per_source == 0),
            ("max_sessions", self.max_sessions == 0),
            ("max_sessions_per_key", self.max_sessions_per_key == 0),
            ("max_channels", self.max_channels == 0),
            ("max_channels_per_session", self.max_channels_per_session == 0),
            ("max_pending", self.max_pending == 0),
            ("max_pending_per_session", self.max_pending_per_session == 0),
            ("max_refused_opens", self.max_refused_opens == 0),
            ("max_requests", self.max_requests == 0),
            ("relay_timeout", self.relay_timeout.is_zero()),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(Error::config(format!("the limit {name} must not be 0"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_zero_is_refused_by_name() {
        assert!(Limits::default().check().is_ok());
        let limits = Limits { max_sessions_per_key: 0, ..Limits::default() };
        let error = limits.check().unwrap_err();
        assert!(error.to_string().contains("max_sessions_per_key"), "{error}");
    }
}
