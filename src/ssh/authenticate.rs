//! The client's log-in: what it offers, in which order, and what it signs with.

use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
#[cfg(feature = "rsa")]
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg};
use russh::{AgentAuthError, Signer};

use super::client::{Handler, handshake_error};
use super::core::Core;
use crate::auth::{self, CertificateInfo, SharedKey, fingerprint, wipe_stack};
use crate::error::{Code, Error, Phase, Result};
use crate::scope::Scope;

/// Who wants to be let in, and with what.
pub(super) struct Applicant<'a> {
    /// The server as the user named it.
    pub(super) server: &'a str,
    pub(super) user: &'a str,
    pub(super) key: SharedKey,
    pub(super) certificate: Option<Certificate>,
}

/// Logs in: with the certificate, then with the key alone, as ssh does. Says which of them it was.
///
/// # Errors
/// `ERR_ALKNET_AUTH_REJECTED`; those of a session that is lost.
pub(super) async fn authenticate(
    handle: &mut Handle<Handler>,
    core: &Core,
    who: Applicant<'_>,
) -> Result<Option<CertificateInfo>> {
    let failed = |e: &russh::Error| handshake_error(core, who.server, e, Phase::Auth);
    let hashes = match who.key.algorithm().is_rsa() {
        true => rsa_hashes(handle.best_supported_rsa_hash().await.map_err(|e| failed(&e))?),
        false => &[None],
    };
    let key_fingerprint = fingerprint(who.key.public_key());
    let offers = hashes.len();
    let with_certificate = who.certificate.is_some();
    tracing::debug!(%key_fingerprint, with_certificate, offers, user = who.user, "logging in");
    let mut signer = KeySigner { key: Arc::clone(&who.key), scope: core.scope().clone() };
    if let Some(certificate) = &who.certificate {
        for hash in hashes {
            let certificate = certificate.clone();
            let offer =
                handle.authenticate_certificate_with(who.user, certificate, *hash, &mut signer);
            if granted(&who, offer.await.map_err(|e| failed(&unsigned(e)))?)? {
                return Ok(who.certificate.as_ref().map(CertificateInfo::of));
            }
        }
    }
    for hash in hashes {
        let key = who.key.public_key().clone();
        let offer = handle.authenticate_publickey_with(who.user, key, *hash, &mut signer);
        if granted(&who, offer.await.map_err(|e| failed(&unsigned(e)))?)? {
            return Ok(None);
        }
    }
    Err(who.rejected(hashes.is_empty()))
}

/// Whether the answer to an offer lets in. A server that wants still more gets nothing more.
fn granted(who: &Applicant<'_>, answer: AuthResult) -> Result<bool> {
    match answer {
        AuthResult::Success => Ok(true),
        AuthResult::Failure { remaining_methods, partial_success: false } => {
            tracing::debug!(accepted = ?remaining_methods, "the server refused an offer");
            Ok(false)
        }
        AuthResult::Failure { remaining_methods, partial_success: true } => {
            let Applicant { server, user, .. } = who;
            let why = format!("{server} wants more than a key from {user}: {remaining_methods:?}");
            Err(Error::new(Code::AuthRejected, why).at(Phase::Auth))
        }
    }
}

impl Applicant<'_> {
    fn rejected(&self, only_sha1: bool) -> Error {
        let Self { server, user, key, certificate } = self;
        if only_sha1 {
            let why = format!("{server} takes RSA keys with SHA-1 only, which we do not");
            return Error::new(Code::AuthRejected, why).at(Phase::Auth);
        }
        let key = fingerprint(key.public_key());
        let Some(certificate) = certificate else {
            let why = format!("{server} did not accept key {key} for user {user}");
            return Error::new(Code::AuthRejected, why)
                .at(Phase::Auth)
                .hint("the key's .pub line must be in the server's authorized_keys");
        };
        let CertificateInfo { id, principals, ca_fingerprint, .. } =
            CertificateInfo::of(certificate);
        let why = format!(
            "{server} did not accept certificate {id:?} nor its key {key} alone for user {user}"
        );
        let now = u64::try_from(auth::now()).unwrap_or(0);
        let hint = if now < certificate.valid_after() {
            "the certificate is not valid yet".to_owned()
        } else if now >= certificate.valid_before() {
            "the certificate has expired".to_owned()
        } else {
            format!(
                "it stands for {principals:?}; the server must know its authority, {ca_fingerprint}"
            )
        };
        Error::new(Code::AuthRejected, why).at(Phase::Auth).hint(hint)
    }
}

/// The hashes to sign with, given what the server says of RSA (RFC 8308 §3.1): of one that says nothing, both are tried. Never
/// SHA-1, which is what `None` would stand for.
pub(super) fn rsa_hashes(said: Option<Option<HashAlg>>) -> &'static [Option<HashAlg>] {
    match said {
        Some(Some(HashAlg::Sha256)) => &[Some(HashAlg::Sha256)],
        Some(Some(_)) => &[Some(HashAlg::Sha512)],
        Some(None) => &[],
        None => &[Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
    }
}

/// Signs with a key that russh never gets. On a thread of its own: so none of the runtime's has the key on its stack, which nobody
/// would wipe, and none waits for a slow signature.
struct KeySigner {
    key: SharedKey,
    scope: Scope,
}

impl Signer for KeySigner {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let key = Arc::clone(&self.key);
        let work = move || {
            let signature = sign(&key, hash, &to_sign);
            wipe_stack();
            signature?.encode_prefixed(&mut to_sign)?;
            Ok(to_sign)
        };
        let signed = self.scope.blocking(work).await.map_err(|_| russh::SendError {})?;
        Ok(signed.map_err(|e: russh::keys::ssh_key::Error| russh::keys::Error::from(e))?)
    }
}

#[inline(never)]
fn sign(
    key: &SharedKey,
    hash: Option<HashAlg>,
    data: &[u8],
) -> Result<Signature, russh::keys::ssh_key::Error> {
    Ok(match (key.key_data(), hash) {
        #[cfg(feature = "rsa")]
        (KeypairData::Rsa(key), hash) => (key, hash).try_sign(data)?,
        (key, _) => key.try_sign(data)?,
    })
}

fn unsigned(error: AgentAuthError) -> russh::Error {
    match error {
        AgentAuthError::Send(_) => russh::Error::SendError,
        AgentAuthError::Key(error) => error.into(),
    }
}
