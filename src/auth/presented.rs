//! A certificate as its owner has it: a `-cert.pub` file of `ssh-keygen -s`, beside the key or elsewhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use russh::keys::ssh_encoding::base64::{Base64, Encoding};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PrivateKey};

use super::file;
use super::key::{KeySource, Use};
use crate::error::{Code, Error, Phase, Result};

/// Levels of certificates that are signed by certificates. There is one: the rest would only serve to exhaust the decoder's stack.
const DEEPEST: usize = 1;

/// A private key's certificate, wherever it is. Clones share what was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Papers {
    place: Place,
    last: Arc<Mutex<Option<Certificate>>>,
}

#[derive(Clone, Debug, Default)]
enum Place {
    /// The key has none.
    #[default]
    Nowhere,
    /// It must be there and must be usable.
    Given(KeySource),
    /// It may be there, as ssh has it: `KEY-cert.pub`. What cannot be used is told in the log, and left out.
    Beside(PathBuf),
}

impl Papers {
    /// What was given, or what lies beside the key.
    pub(crate) fn of(given: Option<&KeySource>, key: Option<&KeySource>) -> Self {
        let place = match (given, key) {
            (Some(given), _) => Place::Given(given.clone()),
            (None, Some(KeySource::Path(path))) => Place::Beside(beside(path)),
            (None, _) => Place::Nowhere,
        };
        Self { place, last: Arc::default() }
    }

    /// Reads the certificate, which may be a newer one than the last time. What cannot be used then, as it is just being written,
    /// leaves the last one. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` when it is none, or not for this key and purpose; the file's own failure.
    pub(crate) fn load(&self, key: &PrivateKey, purpose: Use) -> Result<Option<Certificate>> {
        let read = match &self.place {
            Place::Nowhere => return Ok(None),
            Place::Given(source) => load(source, key, purpose),
            Place::Beside(path) if !path.exists() => return Ok(None),
            Place::Beside(path) => load(&KeySource::Path(path.clone()), key, purpose),
        };
        let mut last = self.last.lock();
        match (read, &self.place) {
            (Ok(certificate), _) => *last = Some(certificate),
            (Err(error), Place::Given(_)) if last.is_none() => return Err(error),
            (Err(error), _) => {
                tracing::warn!(%error, "a certificate that cannot be used is left out")
            }
        }
        Ok(last.clone())
    }
}

fn load(source: &KeySource, key: &PrivateKey, purpose: Use) -> Result<Certificate> {
    let invalid = |why: &str| {
        Error::new(Code::KeyInvalid, format!("{}: {why}", shown(source))).at(Phase::Config)
    };
    let contents;
    let bytes = match source {
        KeySource::Memory(bytes) => bytes,
        KeySource::Path(path) => {
            contents = file::read(path)?;
            &contents.bytes
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not text"))?.trim();
    let certificate = parse(text).ok_or_else(|| {
        invalid("this is no OpenSSH certificate")
            .hint("it is the file that ssh-keygen -s makes, NAME-cert.pub")
    })?;
    if certificate.public_key() != key.public_key().key_data() {
        return Err(invalid("the certificate is for another key"));
    }
    match (certificate.cert_type(), purpose) {
        (CertType::User, Use::User) | (CertType::Host, Use::Host) => Ok(certificate),
        (CertType::Host, Use::User) => {
            Err(invalid("the certificate is for a host, not for a user"))
        }
        (CertType::User, Use::Host) => {
            Err(invalid("the certificate is for a user, not for a host")
                .hint("ssh-keygen -s CA -h -I NAME -n HOST KEY.pub"))
        }
    }
}

/// A certificate on one line, `ssh-ed25519-cert-v01@openssh.com AAAA… comment`.
pub(super) fn parse(text: &str) -> Option<Certificate> {
    let mut words = text.split_ascii_whitespace();
    let (kind, blob) = (words.next()?, words.next()?);
    if !kind.as_bytes().windows(MARK.len()).any(|found| found == MARK) {
        return None;
    }
    let blob = Base64::decode_vec(blob).ok()?;
    let marks = blob.windows(MARK.len()).filter(|found| *found == MARK).count();
    if marks > DEEPEST {
        return None;
    }
    let certificate = Certificate::from_bytes(&blob).ok()?;
    (certificate.algorithm().to_certificate_type() == kind).then_some(certificate)
}

/// In the type of every certificate.
const MARK: &[u8] = b"-cert-v01@";

fn beside(key: &Path) -> PathBuf {
    let mut name = OsString::from(key);
    name.push("-cert.pub");
    name.into()
}

/// In memory it is no key.
fn shown(source: &KeySource) -> String {
    match source {
        KeySource::Path(path) => path.display().to_string(),
        KeySource::Memory(_) => "the certificate given in memory".to_owned(),
    }
}
