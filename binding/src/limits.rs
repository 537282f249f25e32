//! A server's bounds as they come from TypeScript.

use std::time::Duration;

use alknet::{Limits, Penalties};
use napi_derive::napi;

/// As `AlknetLimits`; what is absent has its default.
#[napi(object)]
#[derive(Default)]
pub struct NativeLimits {
    pub login_timeout: Option<u32>,
    pub max_auth_attempts: Option<u32>,
    pub max_offered_keys: Option<u32>,
    pub max_unauthenticated: Option<u32>,
    pub early_drop: Option<u32>,
    pub max_unauthenticated_per_source: Option<u32>,
    pub max_handshakes_per_source: Option<u32>,
    pub max_connections_per_source: Option<u32>,
    pub max_sessions: Option<u32>,
    pub max_sessions_per_key: Option<u32>,
    pub max_channels: Option<u32>,
    pub max_channels_per_session: Option<u32>,
    pub max_pending: Option<u32>,
    pub max_pending_per_session: Option<u32>,
    pub max_refused_opens: Option<u32>,
    pub max_requests: Option<u32>,
    pub relay_timeout: Option<u32>,
    /// False for none at all.
    pub has_penalties: Option<bool>,
    pub penalties: Option<NativePenalties>,
    pub exempt: Option<Vec<String>>,
}

/// Times in ms.
#[napi(object)]
pub struct NativePenalties {
    pub auth_failed: Option<u32>,
    pub no_auth: Option<u32>,
    pub timed_out: Option<u32>,
    pub malformed: Option<u32>,
    pub threshold: Option<u32>,
    pub longest: Option<u32>,
}

impl From<NativeLimits> for Limits {
    fn from(given: NativeLimits) -> Self {
        let default = Self::default();
        let count = |given: Option<u32>, or: usize| given.map_or(or, |n| n as usize);
        Self {
            login_timeout: millis(given.login_timeout, default.login_timeout),
            max_auth_attempts: given.max_auth_attempts.unwrap_or(default.max_auth_attempts),
            max_offered_keys: given.max_offered_keys.unwrap_or(default.max_offered_keys),
            max_unauthenticated: count(given.max_unauthenticated, default.max_unauthenticated),
            early_drop: count(given.early_drop, default.early_drop),
            max_unauthenticated_per_source: count(
                given.max_unauthenticated_per_source,
                default.max_unauthenticated_per_source,
            ),
            max_handshakes_per_source: given
                .max_handshakes_per_source
                .unwrap_or(default.max_handshakes_per_source),
            max_connections_per_source: count(
                given.max_connections_per_source,
                default.max_connections_per_source,
            ),
            max_sessions: count(given.max_sessions, default.max_sessions),
            max_sessions_per_key: count(given.max_sessions_per_key, default.max_sessions_per_key),
            max_channels: count(given.max_channels, default.max_channels),
            max_channels_per_session: count(
                given.max_channels_per_session,
                default.max_channels_per_session,
            ),
            max_pending: count(given.max_pending, default.max_pending),
            max_pending_per_session: count(
                given.max_pending_per_session,
                default.max_pending_per_session,
            ),
            max_refused_opens: given.max_refused_opens.unwrap_or(default.max_refused_opens),
            max_requests: given.max_requests.unwrap_or(default.max_requests),
            relay_timeout: millis(given.relay_timeout, default.relay_timeout),
            penalties: match given.has_penalties {
                Some(false) => None,
                _ => Some(given.penalties.map_or_else(Penalties::default, Into::into)),
            },
            exempt: given.exempt.unwrap_or_default(),
        }
    }
}

impl From<NativePenalties> for Penalties {
    fn from(given: NativePenalties) -> Self {
        let default = Self::default();
        Self {
            auth_failed: millis(given.auth_failed, default.auth_failed),
            no_auth: millis(given.no_auth, default.no_auth),
            timed_out: millis(given.timed_out, default.timed_out),
            malformed: millis(given.malformed, default.malformed),
            threshold: millis(given.threshold, default.threshold),
            longest: millis(given.longest, default.longest),
        }
    }
}

fn millis(given: Option<u32>, default: Duration) -> Duration {
    given.map_or(default, |ms| Duration::from_millis(u64::from(ms)))
}
