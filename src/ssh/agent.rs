//! Logging in with the keys of an ssh-agent (draft-ietf-sshm-ssh-agent): it signs, its keys stay with it. Streams to it are handed in.

use std::time::Duration;

use russh::AgentAuthError;
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PublicKey};

use super::authenticate::rsa_hashes;
use super::client::{Handler, handshake_error};
use super::core::Core;
use crate::auth::{CertificateInfo, fingerprint};
use crate::error::{Code, Error, Phase, Result};
use crate::io::BoxIo;

/// Longest wait for an agent's list of keys. How long its owner may take to confirm a signature is the attempt's own limit.
const LIST_LIMIT: Duration = Duration::from_secs(5);

/// Keys that are offered to a server (MaxAuthTries, sshd_config(5)): more would end the connection.
const MOST_OFFERS: usize = 6;

/// How many keys the agent behind `stream` holds.
///
/// # Errors
/// `ERR_ALKNET_AUTH_REJECTED` when it does not say.
pub(crate) async fn count_keys(stream: BoxIo) -> Result<usize> {
    list(&mut AgentClient::connect(stream)).await.map(|keys| keys.len())
}

/// Tries an agent's keys in their order. Returns the fingerprint of the one that logged in, and its certificate.
///
/// # Errors
/// `ERR_ALKNET_AUTH_REJECTED`; those of a session that is lost.
pub(super) async fn authenticate(
    handle: &mut Handle<Handler>,
    core: &Core,
    server: &str,
    user: &str,
    stream: BoxIo,
) -> Result<(String, Option<CertificateInfo>)> {
    let failed = |e: &russh::Error| handshake_error(core, server, e, Phase::Auth);
    let mut agent = AgentClient::connect(stream);
    let (mut offers, mut unsigned) = (0, 0);
    let rejected = |why: String| Error::new(Code::AuthRejected, why).at(Phase::Auth);
    let keys = list(&mut agent).await?;
    if keys.is_empty() {
        let hint = "ssh-add(1) gives it one, unless it is locked; or name a key instead";
        return Err(rejected("the ssh-agent has no keys".into()).hint(hint));
    }
    for identity in keys {
        let key = key_of(&identity);
        let hashes = match key.algorithm().is_rsa() {
            true => rsa_hashes(handle.best_supported_rsa_hash().await.map_err(|e| failed(&e))?),
            false => &[None],
        };
        for hash in hashes {
            if offers == MOST_OFFERS {
                break;
            }
            offers += 1;
            tracing::debug!(key_fingerprint = %fingerprint(&key), "offering a key of the agent");
            let offer = offer(handle, user, &identity, *hash, &mut agent).await;
            match offer {
                Ok(AuthResult::Success) => {
                    return Ok((fingerprint(&key), certificate_of(&identity)));
                }
                Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => {
                    let more = format!("{server} wants more than a key from {user}");
                    return Err(rejected(format!("{more}: {remaining_methods:?}")));
                }
                Ok(AuthResult::Failure { .. }) => {}
                Err(AgentAuthError::Send(_)) => return Err(failed(&russh::Error::SendError)),
                // Its owner did not confirm, or the token is not there.
                Err(AgentAuthError::Key(_)) => {
                    unsigned += 1;
                    tracing::info!(key_fingerprint = %fingerprint(&key), "the agent did not sign");
                }
            }
        }
    }
    let unsigned = match unsigned {
        0 => String::new(),
        some => format!("; it did not sign with {some} of them"),
    };
    let why = format!("{server} accepted none of {offers} keys of the agent for user {user}");
    let hint = "name the key as the identity; an agent's first 6 are tried";
    Err(rejected(why + &unsigned).hint(hint))
}

async fn offer(
    handle: &mut Handle<Handler>,
    user: &str,
    identity: &AgentIdentity,
    hash: Option<HashAlg>,
    agent: &mut AgentClient<BoxIo>,
) -> std::result::Result<AuthResult, AgentAuthError> {
    match identity.clone() {
        AgentIdentity::PublicKey { key, .. } => {
            handle.authenticate_publickey_with(user, key, hash, agent).await
        }
        AgentIdentity::Certificate { certificate, .. } => {
            handle.authenticate_certificate_with(user, certificate, hash, agent).await
        }
    }
}

async fn list(agent: &mut AgentClient<BoxIo>) -> Result<Vec<AgentIdentity>> {
    let silent = |why: &str| {
        Error::new(Code::AuthRejected, format!("the ssh-agent does not list its keys: {why}"))
            .at(Phase::Auth)
            .hint("name a key as the identity instead")
    };
    match tokio::time::timeout(LIST_LIMIT, agent.request_identities()).await {
        Ok(Ok(keys)) => Ok(keys),
        Ok(Err(e)) => Err(silent(&e.to_string())),
        Err(_) => Err(silent("no answer within 5 s")),
    }
}

fn key_of(identity: &AgentIdentity) -> PublicKey {
    match identity {
        AgentIdentity::PublicKey { key, .. } => key.clone(),
        AgentIdentity::Certificate { certificate, .. } => certificate.public_key().clone().into(),
    }
}

fn certificate_of(identity: &AgentIdentity) -> Option<CertificateInfo> {
    match identity {
        AgentIdentity::Certificate { certificate, .. } => Some(CertificateInfo::of(certificate)),
        AgentIdentity::PublicKey { .. } => None,
    }
}
