//! Keys and who may use them. Decides; opens no socket and logs no secret.

mod authorized_keys;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gate;
mod host_key;
mod key;
mod known_hosts;

pub(crate) use authorized_keys::AuthorizedKeys;
pub(crate) use gate::Gate;
pub(crate) use host_key::HostKeys;
pub use host_key::Trust;
pub use key::KeySource;
pub(crate) use key::{HostKey, fingerprint, load_private};
