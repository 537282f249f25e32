//! A connection's log-in: the keys it shows, how often, and what the one that logs in may do, for as long as it may.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use russh::keys::{Algorithm, Certificate, PublicKey};
use russh::server::Auth;
use tokio::sync::watch;

use super::accept::Door;
use super::session::Info;
use crate::auth::{
    self, AuthorizedKeys, CertificateInfo, KeyRing, KeyRules, Limits, Offence, fingerprint,
};
use crate::scope::Scope;

/// What a connection has tried so far.
pub(super) struct Attempts {
    scope: Scope,
    ring: Arc<KeyRing>,
    source: Option<IpAddr>,
    most_refusals: u32,
    most_offers: u32,
    offers: u32,
    refusals: u32,
    /// Whom the next field is about.
    user: String,
    proved: Option<Proved>,
    /// Told of refusals.
    door: Option<Door>,
}

/// What its owner has logged in with.
pub(super) struct Proved {
    pub(super) user: String,
    pub(super) proof: Proof,
    pub(super) rules: Arc<KeyRules>,
}

/// What somebody logs in with.
pub(super) enum Proof {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

impl Proof {
    /// `SHA256:…` of the key, be it in a certificate.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::Key(key) => fingerprint(key),
            Self::Certificate(paper) => fingerprint(&PublicKey::from(paper.public_key().clone())),
        }
    }

    pub(super) fn certificate(&self) -> Option<CertificateInfo> {
        match self {
            Self::Key(_) => None,
            Self::Certificate(certificate) => Some(CertificateInfo::of(certificate)),
        }
    }

    fn admit(
        &self,
        list: &AuthorizedKeys,
        user: &str,
        source: Option<IpAddr>,
    ) -> Result<Arc<KeyRules>, &'static str> {
        match self {
            Self::Key(key) => list.admit(key, source, auth::now()),
            Self::Certificate(paper) => list.admit_certificate(paper, user, source, auth::now()),
        }
    }
}

impl Attempts {
    pub(super) fn new(
        scope: Scope,
        ring: Arc<KeyRing>,
        source: Option<IpAddr>,
        limits: &Limits,
    ) -> Self {
        Self {
            scope,
            ring,
            source,
            most_refusals: limits.max_auth_attempts,
            most_offers: limits.max_offered_keys,
            offers: 0,
            refusals: 0,
            user: String::new(),
            proved: None,
            door: None,
        }
    }

    /// Has the connection's place pay for refusals.
    pub(super) fn at_door(self, door: Door) -> Self {
        Self { door: Some(door), ..self }
    }

    /// A key is shown, with or without a signature; alone or in a certificate, which is not said here. Where certificates are
    /// believed any key may be in one: what its owner signs tells.
    pub(super) async fn offered(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<Auth, russh::Error> {
        self.begin(user);
        if let Some(door) = &self.door {
            door.judge();
        }
        self.offers += 1;
        if self.offers > self.most_offers {
            return Err(russh::Error::Disconnect);
        }
        if self.ring.may_change() {
            let ring = Arc::clone(&self.ring);
            let _ = self.scope.blocking(move || ring.refresh()).await;
        }
        let proof = Proof::Key(key.clone());
        let acceptable = is_acceptable(user, algorithm);
        match self.judge(user, &proof).and(acceptable) {
            Ok(()) => Ok(Auth::Accept),
            Err(_) if acceptable.is_ok() && self.ring.list().has_authorities() => Ok(Auth::Accept),
            Err(reason) => {
                self.log(user, &proof, "reject", reason);
                self.refuse()
            }
        }
    }

    /// The owner of a key has proved to be that.
    pub(super) fn proved(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<Auth, russh::Error> {
        self.decide(user, Proof::Key(key.clone()), is_acceptable(user, algorithm))
    }

    /// The owner of the key in a certificate has proved to be that. The algorithm was judged when the key was shown, for
    /// russh lets nobody sign with another.
    pub(super) fn certified(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, russh::Error> {
        let proof = Proof::Certificate(Box::new(certificate.clone()));
        let named = is_valid_user(user).then_some(()).ok_or("no such user name");
        self.decide(user, proof, named)
    }

    fn decide(
        &mut self,
        user: &str,
        proof: Proof,
        acceptable: Result<(), &'static str>,
    ) -> Result<Auth, russh::Error> {
        self.begin(user);
        match self.judge(user, &proof).and_then(|rules| acceptable.map(|()| rules)) {
            Ok(rules) => {
                self.log(user, &proof, "accept", "");
                self.proved = Some(Proved { user: user.to_owned(), proof, rules });
                Ok(Auth::Accept)
            }
            Err(reason) => {
                self.log(user, &proof, "reject", reason);
                self.refuse()
            }
        }
    }

    /// Who has logged in.
    pub(super) fn take_proved(&mut self) -> Option<Proved> {
        self.proved.take()
    }

    /// Counts a refusal. russh counts too; both have been known to miscount.
    pub(super) fn refuse(&mut self) -> Result<Auth, russh::Error> {
        self.refusals += 1;
        if let Some(door) = &self.door {
            door.blame(Offence::AuthFailed);
        }
        if self.refusals > self.most_refusals {
            return Err(russh::Error::Disconnect);
        }
        Ok(Auth::reject())
    }

    /// What was proved for one user is nothing to the next one; the counts go on.
    fn begin(&mut self, user: &str) {
        if self.user != user {
            user.clone_into(&mut self.user);
            self.proved = None;
        }
    }

    /// The rules of what may log in. The client gets one answer, after one time, whatever stands against it.
    fn judge(&self, user: &str, proof: &Proof) -> Result<Arc<KeyRules>, &'static str> {
        proof.admit(&self.ring.list(), user, self.source)
    }

    /// Writes the line about somebody who has logged in and for whom there is no room.
    pub(super) fn log_full(&self, info: &Info, reason: &'static str) {
        if self.door.as_ref().is_some_and(|door| !door.may_log()) {
            return;
        }
        let remote_addr = self.source.map(|source| source.to_string()).unwrap_or_default();
        let (user, key_fingerprint) = (printable(&info.user), &info.key_fingerprint);
        tracing::info!(%remote_addr, %user, %key_fingerprint, reason, "session refused");
    }

    fn log(&self, user: &str, proof: &Proof, result: &'static str, reason: &'static str) {
        if self.door.as_ref().is_some_and(|door| !door.may_log()) {
            return;
        }
        let remote_addr = self.source.map(|source| source.to_string()).unwrap_or_default();
        let (user, key_fingerprint) = (printable(user), proof.fingerprint());
        let endpoint = self.door.as_ref().and_then(Door::endpoint).map(tracing::field::display);
        match proof.certificate() {
            None => {
                tracing::info!(%remote_addr, %user, %key_fingerprint, endpoint, %result, reason, "auth attempt");
            }
            Some(CertificateInfo { id, serial, ca_fingerprint, .. }) => {
                let certificate = printable(&id);
                tracing::info!(%remote_addr, %user, %key_fingerprint, endpoint, %certificate, serial, %ca_fingerprint, %result, reason, "auth attempt");
            }
        }
    }
}

/// What a peer has said, as a log line may bear it.
fn printable(text: &str) -> String {
    text.escape_default().take(128).collect()
}

/// Whether anybody may log in under this name, with such a signature.
fn is_acceptable(user: &str, algorithm: &Algorithm) -> Result<(), &'static str> {
    if !is_valid_user(user) {
        return Err("no such user name");
    }
    is_accepted(algorithm).then_some(()).ok_or("the signature algorithm is not accepted")
}

fn is_valid_user(user: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
    (1..=64).contains(&user.len()) && user.bytes().all(allowed)
}

/// No SHA-1, no DSA, and no token (sk-), whose touch russh does not check.
fn is_accepted(algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => true,
        Algorithm::Rsa { hash } => hash.is_some(),
        _ => false,
    }
}

/// Whom a session belongs to, judged anew with every new list of keys.
pub(super) struct Identity {
    ring: Arc<KeyRing>,
    source: Option<IpAddr>,
    proved: OnceLock<(String, Proof)>,
}

impl Identity {
    pub(super) fn new(ring: Arc<KeyRing>, source: Option<IpAddr>) -> Self {
        Self { ring, source, proved: OnceLock::new() }
    }

    /// The session has logged in. The list may be another than the one that was asked then: `Err` says why it now refuses.
    pub(super) fn set(&self, user: String, proof: Proof) -> Result<(), String> {
        let _ = self.proved.set((user, proof));
        self.refusal().map_or(Ok(()), Err)
    }

    /// Why the key may not log in any more, once that is so. Cancel-safe.
    pub(super) async fn revoked(&self, lists: &mut watch::Receiver<Arc<AuthorizedKeys>>) -> String {
        while lists.changed().await.is_ok() {
            if let Some(reason) = self.refusal() {
                return reason;
            }
        }
        std::future::pending().await
    }

    fn refusal(&self) -> Option<String> {
        let (user, proof) = self.proved.get()?;
        let reason = proof.admit(&self.ring.list(), user, self.source).err()?;
        tracing::info!(key_fingerprint = %proof.fingerprint(), reason, "a session's key may no longer log in");
        Some(format!("this key may no longer log in: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{HostKey, KeyLists, KeySource};

    fn attempts(options: &str) -> (Attempts, PublicKey) {
        let key = HostKey::load_or_make(None).unwrap();
        let keys = Some(KeySource::memory(format!("{options} {}", key.public)));
        let ring = KeyRing::open(KeyLists { keys, ..KeyLists::default() }).unwrap();
        let source = Some([127, 0, 0, 1].into());
        let attempts = Attempts::new(Scope::new(), Arc::new(ring), source, &Limits::default());
        (attempts, key.private.public_key().clone())
    }

    #[tokio::test]
    async fn what_was_proved_for_one_user_is_nothing_to_another() {
        let (mut attempts, key) = attempts("");
        assert_eq!(attempts.proved("anna", &key, &Algorithm::Ed25519).unwrap(), Auth::Accept);
        assert_ne!(
            attempts.offered("no/name", &key, &Algorithm::Ed25519).await.unwrap(),
            Auth::Accept
        );
        assert!(attempts.take_proved().is_none());
        attempts.proved("berta", &key, &Algorithm::Ed25519).unwrap();
        assert_eq!(attempts.take_proved().map(|proved| proved.user), Some("berta".into()));
    }

    #[tokio::test]
    async fn refusals_end_the_connection_after_six_whoever_they_were_for() {
        let (mut attempts, _) = attempts("");
        let stranger = HostKey::load_or_make(None).unwrap().private.public_key().clone();
        for user in ["a", "b", "c", "d", "e", "f"] {
            let answer = attempts.offered(user, &stranger, &Algorithm::Ed25519).await.unwrap();
            assert_ne!(answer, Auth::Accept);
        }
        assert!(attempts.offered("g", &stranger, &Algorithm::Ed25519).await.is_err());
    }

    #[tokio::test]
    async fn offers_end_the_connection_after_twenty_good_as_they_are() {
        let (mut attempts, key) = attempts("");
        for _ in 0..20 {
            let answer = attempts.offered("anna", &key, &Algorithm::Ed25519).await.unwrap();
            assert_eq!(answer, Auth::Accept);
        }
        assert!(attempts.offered("anna", &key, &Algorithm::Ed25519).await.is_err());
    }

    #[tokio::test]
    async fn options_names_and_algorithms_all_decide() {
        for (options, user, algorithm, good) in [
            ("", "anna", Algorithm::Ed25519, true),
            (r#"from="127.0.0.0/8""#, "anna", Algorithm::Ed25519, true),
            (r#"from="10.0.0.0/8""#, "anna", Algorithm::Ed25519, false),
            (r#"expiry-time="20010101""#, "anna", Algorithm::Ed25519, false),
            (r#"expiry-time="20010101",from="10.0.0.0/8""#, "anna", Algorithm::Ed25519, false),
            ("", "", Algorithm::Ed25519, false),
            ("", "an na", Algorithm::Ed25519, false),
            ("", "anna", Algorithm::Rsa { hash: None }, false),
            ("", "anna", Algorithm::SkEd25519, false),
        ] {
            let (mut attempts, key) = attempts(options);
            let answer = attempts.offered(user, &key, &algorithm).await.unwrap();
            assert_eq!(answer == Auth::Accept, good, "{options} {user} {algorithm}");
            let answer = attempts.proved(user, &key, &algorithm).unwrap();
            assert_eq!(answer == Auth::Accept, good, "{options} {user} {algorithm}");
        }
    }
}
