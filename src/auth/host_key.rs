//! Which host keys a client accepts. Nothing is ever accepted without being named, but what `trust: first-use` allows.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, PublicKey};
use tokio::time::Instant;

use super::certificate::check_host;
use super::known_hosts::{Attempt, Entry, Found, KnownHosts, Verdict};
use super::{KeySource, fingerprint};
use crate::error::{Code, Error, Phase, Result};
use crate::scope::off_thread;
use crate::target::HostPort;

/// Limit for waiting until another program has written to the file: a write is one line, so this is long.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How often the lock is tried meanwhile.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// What becomes of a server that no `known_hosts` file names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// It is refused.
    #[default]
    Strict,
    /// It is accepted and written down, once; from then on it must show the same key.
    FirstUse,
}

impl FromStr for Trust {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "strict" => Ok(Self::Strict),
            "first-use" => Ok(Self::FirstUse),
            _ => Err(Error::config("trust must be 'strict' or 'first-use'")),
        }
    }
}

/// What decides on a server's key: pins when there are any, else what files say of the host. A revoked key is refused by either.
///
/// Clones are for further attempts, and share what the server has shown.
#[derive(Clone, Debug)]
pub(crate) struct HostKeys {
    pins: Vec<Expected>,
    known: Option<Arc<KnownHosts>>,
    found: Found,
    trust: Trust,
    /// The one key that first use accepts, when somebody has looked at it.
    first: Option<String>,
    /// What was accepted last.
    accepted: Arc<Mutex<Option<Accepted>>>,
}

#[derive(Clone, Debug)]
struct Accepted {
    algorithm: Algorithm,
    /// An authority answers for the server, whatever its key.
    certified: bool,
}

#[derive(Clone, Debug)]
enum Expected {
    Fingerprint(String),
    Key(Box<KeyData>),
}

impl HostKeys {
    /// `pins` are `SHA256:…` fingerprints and public keys. Without pins and without `files` those of ssh are read.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for other pins, private keys above all, and for first use with nowhere to write.
    pub(crate) fn new(
        pins: &[String],
        files: Option<&[KeySource]>,
        trust: Trust,
        server: &HostPort,
    ) -> Result<Self> {
        let pins: Vec<_> =
            pins.iter().map(|text| Expected::parse(text.trim())).collect::<Result<_>>()?;
        let wanted = pins.is_empty() || files.is_some();
        let known = wanted.then(|| Arc::new(KnownHosts::new(files, server)));
        let writable = known.as_ref().is_some_and(|known| known.first_file().is_some());
        if trust == Trust::FirstUse && pins.is_empty() && !writable {
            return Err(Error::config("trust 'first-use' has no file to write new hosts to")
                .hint("set knownHosts to the path of a file, which is made when it is not there"));
        }
        let (found, accepted) = (Found::default(), Arc::default());
        Ok(Self { pins, known, found, trust, first: None, accepted })
    }

    /// The same, where first use accepts no key but the one with this fingerprint.
    pub(crate) fn first_use_of(self, fingerprint: Option<String>) -> Self {
        Self { first: fingerprint, ..self }
    }

    /// Accepts from now on this one key only, unless the files revoke it. A server that an authority answers for may have another,
    /// with a certificate.
    pub(crate) fn demand(&mut self, fingerprint: &str) {
        if self.accepted.lock().as_ref().is_some_and(|accepted| accepted.certified) {
            return;
        }
        self.pins = vec![Expected::Fingerprint(fingerprint.to_owned())];
    }

    /// Reads the files, anew for every attempt. Must come before the rest.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a file that is none; the file's own failure, unless it is not there.
    pub(crate) async fn load(&mut self) -> Result<()> {
        if let Some(known) = self.known.clone() {
            self.found = off_thread(move || known.search()).await??;
        }
        Ok(())
    }

    /// The types of the keys that the server should show, so that it does not show another one than the one that is known.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        if let Some(accepted) = &*self.accepted.lock() {
            return vec![accepted.algorithm.clone()];
        }
        if self.pins.is_empty() {
            return self.found.algorithms();
        }
        self.pins.iter().filter_map(Expected::algorithm).collect()
    }

    /// Whether the server is to show a certificate if it has one: there is an authority for it, and no pin.
    pub(crate) fn wants_certificate(&self) -> bool {
        self.pins.is_empty() && self.found.has_authorities()
    }

    /// Decides on the key that a server proved. Returns its fingerprint. Cancel-safe: what is written is whole.
    ///
    /// # Errors
    /// `ERR_ALKNET_HOST_KEY_UNKNOWN`, `_HOST_KEY_CHANGED`, `_HOST_KEY_REVOKED`; with first use the file's own failure, `EBUSY` when
    /// its lock is not to be had within 5 s.
    pub(crate) async fn check(&self, server: &str, key: &PublicKey) -> Result<String> {
        let shown = Shown { server, key: key.key_data(), fingerprint: fingerprint(key) };
        let fingerprint = self.judge(shown).await?;
        *self.accepted.lock() = Some(Accepted { algorithm: key.algorithm(), certified: false });
        Ok(fingerprint)
    }

    /// The same for a certificate. As in ssh, one that does not count leaves the key in it, which may be known by itself; but it
    /// is not written down.
    ///
    /// # Errors
    /// Those of [`HostKeys::check`].
    pub(crate) fn check_certificate(
        &self,
        server: &str,
        certificate: &Certificate,
        now: i64,
    ) -> Result<String> {
        let key = certificate.public_key();
        let shown = Shown { server, key, fingerprint: fingerprint_of(key) };
        let authority = certificate.signature_key();
        for revoked in [key, authority] {
            if let Some(entry) = self.found.revoked(revoked) {
                return Err(shown.revoked(entry));
            }
        }
        let host = self.known.as_ref().map_or(server, |known| known.host());
        let verdict = match self.wants_certificate() && self.found.is_authority(authority) {
            true => check_host(certificate, authority, host, now),
            false => Err("no authority that is known has signed it"),
        };
        match verdict {
            Ok(()) => {}
            Err(_) if self.pins.iter().any(|pin| pin.is(&shown)) => {}
            Err(_) if !self.pins.is_empty() => return Err(shown.not_pinned()),
            Err(why) => self.decide(&self.found, &shown).map_err(|error| {
                let hint = error.help().map(|hint| format!("; {hint}")).unwrap_or_default();
                error.hint(format!("its certificate does not count: {why}{hint}"))
            })?,
        }
        *self.accepted.lock() =
            Some(Accepted { algorithm: key.algorithm(), certified: verdict.is_ok() });
        Ok(shown.fingerprint)
    }

    async fn judge(&self, shown: Shown<'_>) -> Result<String> {
        if let Some(entry) = self.found.revoked(shown.key) {
            return Err(shown.revoked(entry));
        }
        if !self.pins.is_empty() {
            return match self.pins.iter().any(|pin| pin.is(&shown)) {
                true => Ok(shown.fingerprint),
                false => Err(shown.not_pinned()),
            };
        }
        match (self.decide(&self.found, &shown), self.trust) {
            (Err(error), Trust::FirstUse) if error.code() == Code::HostKeyUnknown => {
                if self.first.as_ref().is_some_and(|first| *first != shown.fingerprint) {
                    return Err(shown.not_pinned());
                }
                self.record(shown).await
            }
            (Err(error), _) => Err(error),
            (Ok(()), _) => Ok(shown.fingerprint),
        }
    }

    fn decide(&self, found: &Found, shown: &Shown<'_>) -> Result<()> {
        let name = self.known.as_ref().map_or(shown.server, |known| known.name());
        match found.verdict(shown.key) {
            Verdict::Known => Ok(()),
            Verdict::Revoked(entry) => Err(shown.revoked(entry)),
            Verdict::Changed(entry) => Err(shown.changed(entry, name)),
            Verdict::Unknown => Err(shown.unknown(found)),
        }
    }

    async fn record(&self, shown: Shown<'_>) -> Result<String> {
        let known = self.known.as_ref();
        let Some((known, path)) = known.and_then(|known| Some((known, known.first_file()?))) else {
            return Err(shown.unknown(&self.found));
        };
        let give_up = Instant::now() + LOCK_WAIT;
        loop {
            let (work, file, key) = (Arc::clone(known), path.to_owned(), shown.key.clone());
            match off_thread(move || work.try_record(&file, &key)).await?? {
                Attempt::Recorded => return Ok(shown.fingerprint),
                Attempt::Decided(found) => {
                    return self.decide(&found, &shown).map(|()| shown.fingerprint);
                }
                Attempt::Busy if Instant::now() < give_up => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Attempt::Busy => {
                    let message = format!("{} is locked by another program", path.display());
                    return Err(Error::new(Code::System("EBUSY"), message)
                        .by("flock")
                        .at(Phase::HostKey)
                        .fingerprint(shown.fingerprint));
                }
            }
        }
    }
}

/// A key that a server has shown.
struct Shown<'a> {
    server: &'a str,
    key: &'a KeyData,
    fingerprint: String,
}

impl Shown<'_> {
    fn error(&self, code: Code, message: String) -> Error {
        Error::new(code, message).at(Phase::HostKey).fingerprint(self.fingerprint.clone())
    }

    fn not_pinned(&self) -> Error {
        let Self { server, fingerprint, .. } = self;
        let message =
            format!("{server} showed host key {fingerprint}, which is not the expected one");
        self.error(Code::HostKeyChanged, message)
            .hint("either the server has a new key, or somebody is in between")
    }

    fn revoked(&self, entry: &Entry) -> Error {
        let Self { server, fingerprint, .. } = self;
        let place = &entry.place;
        let message =
            format!("{server} showed host key {fingerprint}, which {place} marks as revoked");
        self.error(Code::HostKeyRevoked, message)
            .hint("do not trust it: ask who runs the server for its new key")
    }

    fn changed(&self, entry: &Entry, name: &str) -> Error {
        let Self { server, fingerprint, .. } = self;
        let place = &entry.place;
        let known = fingerprint_of(&entry.key);
        let message =
            format!("{server} showed host key {fingerprint}, but {place} has {known} for it");
        let remedy = match &place.file {
            Some(path) => {
                let file = quoted(&path.display().to_string());
                format!("forget the old one with: ssh-keygen -R {} -f {file}", quoted(name))
            }
            None => "replace it in knownHosts".to_owned(),
        };
        self.error(Code::HostKeyChanged, message).hint(format!(
            "either the server has a new key, or somebody is in between; if the new key is right, {remedy}"
        ))
    }

    fn unknown(&self, found: &Found) -> Error {
        let Self { server, fingerprint, .. } = self;
        let message = format!("no host key is known for {server}; it showed {fingerprint}");
        let mut hint = format!(
            "if that is the right key, pass it in hostKeys: {fingerprint}; or add what ssh-keyscan tells of the server to \
             known_hosts; or accept it once with trust: 'first-use'"
        );
        for remark in found.remarks() {
            hint.push_str("; ");
            hint.push_str(&remark);
        }
        self.error(Code::HostKeyUnknown, message).hint(hint)
    }
}

fn fingerprint_of(key: &KeyData) -> String {
    fingerprint(&PublicKey::from(key.clone()))
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Expected {
    fn parse(text: &str) -> Result<Self> {
        if let Some(digest) = text.strip_prefix("SHA256:") {
            let digest = digest.trim_end_matches('=').replace('-', "+").replace('_', "/");
            let is_base64 =
                digest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
            if digest.len() != 43 || !is_base64 {
                // One that is a little wrong is shown; what is far longer is something else.
                let shown: String = text.chars().take(64).collect();
                return Err(Error::config(format!(
                    "host key fingerprint {shown:?} is not 43 characters of base64"
                )));
            }
            return Ok(Self::Fingerprint(format!("SHA256:{digest}")));
        }
        if text.contains("PRIVATE KEY") {
            return Err(Error::config("a private key was given as an expected host key")
                .hint("pass the .pub file's content or its fingerprint"));
        }
        match PublicKey::from_openssh(text) {
            Ok(key) => Ok(Self::Key(Box::new(key.key_data().clone()))),
            Err(_) => {
                Err(Error::config("an expected host key is neither SHA256:… nor a public key"))
            }
        }
    }

    fn is(&self, shown: &Shown<'_>) -> bool {
        match self {
            Self::Fingerprint(text) => *text == shown.fingerprint,
            Self::Key(data) => **data == *shown.key,
        }
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Fingerprint(_) => None,
            Self::Key(data) => Some(data.algorithm()),
        }
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::key::safe_rng;

    use super::*;

    #[tokio::test]
    async fn first_use_of_a_key_that_was_looked_at_accepts_no_other() {
        let made = || PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let (looked_at, other) = (made(), made());
        let name = format!("alknet-first-{}-{:x}", std::process::id(), fastrand::u64(..));
        let file = std::env::temp_dir().join(name);
        let server = HostPort { host: "host".into(), port: 22 };
        let files = [KeySource::Path(file.clone())];
        let host_keys = HostKeys::new(&[], Some(&files), Trust::FirstUse, &server).unwrap();
        let host_keys = host_keys.first_use_of(Some(fingerprint(looked_at.public_key())));
        let error = host_keys.check("host:22", other.public_key()).await.unwrap_err();
        assert_eq!(error.code(), Code::HostKeyChanged);
        assert!(!file.exists());
        assert!(host_keys.check("host:22", looked_at.public_key()).await.is_ok());
        assert!(file.exists());
        std::fs::remove_file(file).unwrap();
    }
}
