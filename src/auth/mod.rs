//! Keys and who may use them. Decides; opens no socket and logs no secret.

mod authorized_keys;
mod certificate;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_certificate;
mod gate;
mod host_key;
mod key;
mod key_line;
mod key_options;
mod key_ring;
mod key_rules;
#[cfg(any(feature = "cli", feature = "iroh"))]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "iroh makes keys and shows none"))]
mod keygen;
mod known_hosts;
mod krl;
mod limits;
mod pattern;
mod penalty;
mod place;
mod presented;
mod revoked;
mod short_key;
mod source;

pub(crate) use authorized_keys::{AuthorizedKeys, KeyLists};
pub use certificate::CertificateInfo;
pub(crate) use gate::Gate;
pub(crate) use host_key::HostKeys;
pub use host_key::Trust;
pub(crate) use key::{HostKey, Locked, SharedKey, Use, fingerprint, wipe_stack};
pub use key::{KeyInfo, KeySource, Passphrase};
pub(crate) use key_ring::KeyRing;
pub(crate) use key_rules::KeyRules;
#[cfg(feature = "iroh")]
pub(crate) use keygen::endpoint_key;
#[cfg(feature = "cli")]
pub(crate) use keygen::{Shown, make_key_pair, shown_keys, throwaway_key};
pub use limits::{Limits, Penalties};
pub(crate) use penalty::Offence;
pub(crate) use place::{Member, Place};
pub(crate) use presented::Papers;

/// Unix seconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
