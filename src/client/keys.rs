//! What is asked of keys before anybody is reached.

use crate::auth::{KeyInfo, KeySource, Locked};
use crate::config::Family;
use crate::dial::by_way_of;
use crate::error::Result;
use crate::scope::Scope;
use crate::ssh::count_keys;
use crate::target::Target;

/// How many keys an ssh-agent holds. Dropping the future is safe.
///
/// # Errors
/// Why it cannot be reached (`ENOENT`, `ECONNREFUSED`), `ERR_ALKNET_AUTH_REJECTED` when it does not say.
pub async fn count_agent_keys(socket: &str) -> Result<usize> {
    let agent = by_way_of(None, Family::Any).dial(&Target::from_path(socket)?, None).await?;
    count_keys(agent.io).await
}

/// What a private key says of itself without its passphrase: whether it needs one, above all. Dropping the future is safe.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID`, or the file's own failure.
pub async fn inspect_key(source: &KeySource, insecure_permissions: bool) -> Result<KeyInfo> {
    let source = source.clone();
    let look = move || Locked { source: &source, passphrase: None, insecure_permissions }.inspect();
    Scope::new().blocking(look).await?
}
