//! Making keys, and telling which keys there are.

#[cfg(feature = "iroh")]
use std::fs::File;
use std::fs::OpenOptions;
#[cfg(all(feature = "iroh", unix))]
use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::file;
use super::key::{KeySource, fingerprint};
#[cfg(feature = "iroh")]
use super::key::{Locked, Use};
use crate::error::{Code, Error, Phase, Result};

/// What may be told of a key.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// `SHA256:…`.
    pub(crate) fingerprint: String,
    /// `ED25519`, `ECDSA`, `RSA`, …, as ssh-keygen(1) prints it.
    pub(crate) algorithm: String,
    /// Size of the key, where that says something.
    pub(crate) bits: Option<usize>,
    pub(crate) comment: String,
}

impl From<&PublicKey> for Shown {
    fn from(key: &PublicKey) -> Self {
        let algorithm = key.algorithm();
        let (name, bits) = match &algorithm {
            Algorithm::Ed25519 => ("ED25519", Some(256)),
            Algorithm::SkEd25519 => ("ED25519-SK", Some(256)),
            Algorithm::SkEcdsaSha2NistP256 => ("ECDSA-SK", Some(256)),
            Algorithm::Ecdsa { curve } => ("ECDSA", Some(curve_bits(*curve))),
            Algorithm::Rsa { .. } => ("RSA", rsa_bits(key)),
            other => (other.as_str(), None),
        };
        Self {
            fingerprint: fingerprint(key),
            algorithm: name.to_owned(),
            bits,
            comment: key.comment().to_string(),
        }
    }
}

fn curve_bits(curve: EcdsaCurve) -> usize {
    match curve {
        EcdsaCurve::NistP256 => 256,
        EcdsaCurve::NistP384 => 384,
        EcdsaCurve::NistP521 => 521,
    }
}

fn rsa_bits(key: &PublicKey) -> Option<usize> {
    let modulus = key.key_data().rsa()?.n().as_positive_bytes()?;
    let leading = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - leading)
}

/// Makes an Ed25519 key pair: `path`, which only its owner can read, and `path.pub`.
///
/// # Errors
/// `EEXIST` when one of the two is there and `replace` is not given; the files' own failures.
pub(crate) fn make_key_pair(path: &Path, comment: &str, replace: bool) -> Result<Shown> {
    let public_path = with_pub(path);
    if !replace && (path.exists() || public_path.exists()) {
        let message = format!("{} or its .pub is there already", path.display());
        return Err(Error::new(Code::System("EEXIST"), message)
            .at(Phase::Config)
            .hint("choose another name; --force replaces the key for good"));
    }
    let mut key = new_key()?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF).map_err(|e| broken(&e))?;
    let public = key.public_key().to_openssh().map_err(|e| broken(&e))?;
    write(path, private.as_bytes(), 0o600, replace)?;
    write(&public_path, format!("{public}\n").as_bytes(), 0o644, replace)?;
    Ok(key.public_key().into())
}

/// Who an iroh endpoint is.
#[cfg(feature = "iroh")]
pub(crate) struct Identity {
    pub(crate) secret: Zeroizing<[u8; 32]>,
    /// While it is there, no other server of this machine is the same endpoint.
    pub(crate) held: Option<File>,
}

/// The Ed25519 key in the file `path`, which is made if it is not there; one made afresh without a path. Blocks.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID` for a key of another kind; `EADDRINUSE` when another server has it; the file's own failure.
#[cfg(feature = "iroh")]
pub(crate) fn endpoint_key(path: Option<&Path>, insecure_permissions: bool) -> Result<Identity> {
    let Some(path) = path else {
        return Ok(Identity { secret: secret(&new_key()?)?, held: None });
    };
    if !path.exists() {
        match make_key_pair(path, "alknet endpoint", false) {
            // Another process was faster.
            Err(e) if e.code() == Code::System("EEXIST") => {}
            made => drop(made?),
        }
    }
    let source = KeySource::Path(path.to_owned());
    let locked = Locked { source: &source, passphrase: None, insecure_permissions };
    let secret = secret(&*locked.load(Use::Host)?)?;
    Ok(Identity { secret, held: hold(path)? })
}

/// Of two servers with one id, a relay and the clients find now the one, now the other.
#[cfg(all(feature = "iroh", unix))]
fn hold(path: &Path) -> Result<Option<File>> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|e| Error::system("open", &shown, e).at(Phase::Config))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let message = format!("listen for iroh: another server is the endpoint of {shown}");
            Err(Error::new(Code::System("EADDRINUSE"), message)
                .at(Phase::Listen)
                .by("listen")
                .hint("a second server needs a key of its own"))
        }
        // A file system that knows no locks.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// There, a lock keeps others from reading too.
#[cfg(all(feature = "iroh", not(unix)))]
fn hold(_: &Path) -> Result<Option<File>> {
    Ok(None)
}

#[cfg(feature = "iroh")]
fn secret(key: &PrivateKey) -> Result<Zeroizing<[u8; 32]>> {
    let pair = key.key_data().ed25519().ok_or_else(|| {
        Error::new(Code::KeyInvalid, "an endpoint's key must be Ed25519").at(Phase::Config)
    })?;
    Ok(Zeroizing::new(pair.private.to_bytes()))
}

/// An Ed25519 key for one connection on which nobody logs in.
///
/// # Errors
/// None that is known.
pub(crate) fn throwaway_key() -> Result<KeySource> {
    let text = new_key()?.to_openssh(LineEnding::LF).map_err(|e| broken(&e))?;
    Ok(KeySource::Memory(Zeroizing::new(text.as_bytes().to_vec())))
}

/// The keys of a file: a private key (encrypted or not), public keys, or authorised keys.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID` when there are none; the file's own failure.
pub(crate) fn shown_keys(source: &KeySource) -> Result<Vec<Shown>> {
    let text = match source {
        KeySource::Memory(bytes) => bytes.clone(),
        KeySource::Path(path) => file::read(path)?.bytes,
    };
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    if text.trim_start().starts_with("-----BEGIN ") {
        let key = PrivateKey::from_openssh(text.trim()).map_err(|_| {
            Error::new(Code::KeyInvalid, format!("{source:?}: not an OpenSSH private key"))
                .at(Phase::Config)
        })?;
        return Ok(vec![key.public_key().into()]);
    }
    let keys: Vec<Shown> = text.lines().filter_map(public_key).map(|key| (&key).into()).collect();
    if keys.is_empty() {
        return Err(
            Error::new(Code::KeyInvalid, format!("{source:?} has no key")).at(Phase::Config)
        );
    }
    Ok(keys)
}

/// The key on a line, whatever stands before it: options, host names.
fn public_key(line: &str) -> Option<PublicKey> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let starts = line
        .match_indices(|sign: char| !sign.is_whitespace())
        .filter(|(at, _)| *at == 0 || line[..*at].ends_with(char::is_whitespace));
    starts.map(|(at, _)| &line[at..]).find_map(|rest| PublicKey::from_openssh(rest).ok())
}

fn new_key() -> Result<PrivateKey> {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
        .map_err(|e| broken(&e))
}

fn broken(error: &russh::keys::ssh_key::Error) -> Error {
    Error::new(Code::KeyInvalid, format!("new key: {error}")).at(Phase::Config)
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Writes a file that is whole or not there. Beside it first, so that a key being replaced is never half gone.
fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> Result<()> {
    let shown = path.display().to_string();
    let failed = |e| Error::system("write", &shown, e).at(Phase::Config);
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:08x}", fastrand::u32(..)));
    let target = if replace { PathBuf::from(beside) } else { path.to_owned() };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&target).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let written = match replace {
        true => written.and_then(|()| std::fs::rename(&target, path)),
        false => written,
    };
    written.map_err(|e| {
        let _ = std::fs::remove_file(&target);
        failed(e)
    })
}
