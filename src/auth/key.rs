//! Private keys in OpenSSH format, from a file or from memory, with or without a passphrase.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Error as KeyError, Kdf};
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey};
use zeroize::{Zeroize, Zeroizing};

use super::Papers;
use super::file::{self, quoted};
use super::key_line::RSA_BITS;
use super::short_key;
use crate::error::{Code, Error, Phase, Result};

/// Bits of an RSA host key. It is used for years, by everybody, so it is longer than a user's has to be (NIST SP 800-57).
const RSA_HOST_BITS: RangeInclusive<u32> = 3072..=8192;

/// Rounds of key derivation that are worked off: `ssh-keygen` makes 24, and a thousand take half a minute. A file that asks
/// for billions must not keep a thread busy for ever.
const MOST_ROUNDS: u32 = 2048;

/// Where a key, or a list of keys, comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file.
    Path(PathBuf),
    /// The file's contents. Wiped from memory when dropped.
    Memory(Zeroizing<Vec<u8>>),
}

impl KeySource {
    /// Contents held in memory.
    pub fn memory(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Memory(Zeroizing::new(bytes.into()))
    }

    /// The contents as they are. With `is_secret`, a file must be its owner's alone.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` for a file that is none or that others may read; the system's own failure.
    #[cfg(any(feature = "iroh", feature = "ws"))]
    pub(crate) fn contents(&self, is_secret: bool) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::Path(path) => {
                let contents = file::read(path)?;
                if is_secret {
                    contents.must_be_secret()?;
                }
                Ok(contents.bytes)
            }
        }
    }

    /// As a shell takes it, for a command in a hint.
    fn shell(&self) -> String {
        match self {
            Self::Path(path) => quoted(&path.display().to_string()),
            Self::Memory(_) => "KEYFILE".to_owned(),
        }
    }
}

impl std::fmt::Debug for KeySource {
    /// Never the contents.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Memory(_) => f.write_str("the key given in memory"),
        }
    }
}

/// The passphrase of a private key. Wiped from memory when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are typed: no end of line.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The passphrase as text, to hand it on.
    #[cfg(all(unix, feature = "cli"))]
    pub(crate) fn text(&self) -> Option<Zeroizing<String>> {
        std::str::from_utf8(&self.0).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

impl std::fmt::Debug for Passphrase {
    /// Never the contents.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

/// What a private key says of itself without its passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Whether a passphrase is needed to use it.
    pub encrypted: bool,
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub algorithm: String,
    /// `SHA256:…` of the public key.
    pub fingerprint: String,
}

/// What a private key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Logging in.
    User,
    /// Being a server.
    Host,
}

/// Where a private key is, and how it is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Locked<'a> {
    pub(crate) source: &'a KeySource,
    pub(crate) passphrase: Option<&'a Passphrase>,
    /// Takes a file whatever its owner and mode.
    pub(crate) insecure_permissions: bool,
}

impl Locked<'_> {
    /// Loads the key. Blocks, for seconds when it is encrypted.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` for whatever is wrong with key, passphrase or file; the system's own failure.
    pub(crate) fn load(self, purpose: Use) -> Result<SharedKey> {
        let key = self.share(purpose);
        wipe_stack();
        key
    }

    /// The key is on no frame but this and those below, which are wiped after it.
    #[inline(never)]
    fn share(self, purpose: Use) -> Result<SharedKey> {
        self.open(purpose).map(Arc::new)
    }

    fn open(self, purpose: Use) -> Result<PrivateKey> {
        let key = self.read()?;
        self.check_kind(&key, purpose)?;
        if key.is_encrypted() { self.decrypt(&key) } else { Ok(key) }
    }

    /// Looks at the key without opening it.
    ///
    /// # Errors
    /// Those of [`Locked::load`], but for the passphrase's.
    pub(crate) fn inspect(self) -> Result<KeyInfo> {
        let key = self.read()?;
        Ok(KeyInfo {
            encrypted: key.is_encrypted(),
            algorithm: key.algorithm().to_string(),
            fingerprint: fingerprint(key.public_key()),
        })
    }

    fn read(self) -> Result<PrivateKey> {
        match self.source {
            KeySource::Memory(bytes) => self.parse(bytes),
            KeySource::Path(path) => {
                let contents = file::read(path)?;
                // Before the file's mode: of a public key everybody may know.
                let key = self.parse(&contents.bytes)?;
                if !self.insecure_permissions {
                    contents.must_be_secret()?;
                }
                Ok(key)
            }
        }
    }

    fn parse(self, bytes: &[u8]) -> Result<PrivateKey> {
        let text = std::str::from_utf8(bytes).map_err(|_| self.invalid("it is not text"))?.trim();
        if !text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
            return Err(self.not_a_key(text));
        }
        PrivateKey::from_openssh(text)
            .ok()
            .or_else(|| short_key::read(text))
            .ok_or_else(|| self.invalid("the key is damaged"))
    }

    fn not_a_key(self, text: &str) -> Error {
        let shell = self.source.shell();
        let first = text.lines().next().unwrap_or_default();
        let is_public = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| first.starts_with(start))
            || (first.starts_with("----") && first.contains("PUBLIC KEY"));
        if is_public {
            return self
                .invalid("this is a public key; the private key is needed")
                .hint("the private key is the file without .pub");
        }
        if first.starts_with("PuTTY-User-Key-File-") {
            return self.invalid("PuTTY keys are not supported, only OpenSSH's format").hint(format!(
                "convert it with: puttygen {shell} -O private-openssh-new -o NEWFILE (PuTTYgen: Conversions, Export OpenSSH key, new format)"
            ));
        }
        if first.starts_with("-----BEGIN ") && first.contains("PRIVATE KEY") {
            return self
                .invalid("PEM keys are not supported, only OpenSSH's format")
                .hint(format!("convert a copy of it with: ssh-keygen -p -f {shell}"));
        }
        self.invalid("not an OpenSSH private key")
            .hint("a key is made with: ssh-keygen -t ed25519 -f FILE")
    }

    fn check_kind(self, key: &PrivateKey, purpose: Use) -> Result<()> {
        let bits = match (key.public_key().key_data(), purpose) {
            (KeyData::Ed25519(_) | KeyData::Ecdsa(_), _) => return Ok(()),
            (KeyData::Rsa(rsa), _) if cfg!(feature = "rsa") => rsa.key_size(),
            (KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_), _) => {
                return Err(self.invalid("keys of security tokens (sk-) are not supported"));
            }
            _ => {
                let what = key.algorithm();
                return Err(self.invalid(&format!("{what} keys are not supported")));
            }
        };
        let (allowed, whose) = match purpose {
            Use::User => (RSA_BITS, "an RSA key"),
            Use::Host => (RSA_HOST_BITS, "an RSA host key"),
        };
        if allowed.contains(&bits) {
            return Ok(());
        }
        let (least, most) = (allowed.start(), allowed.end());
        let why = format!("{whose} must have {least} to {most} bits, this one has {bits}");
        Err(self.invalid(&why).hint("make a new one: ssh-keygen -t ed25519 -f FILE"))
    }

    fn decrypt(self, key: &PrivateKey) -> Result<PrivateKey> {
        let Some(passphrase) = self.passphrase else {
            return Err(self.invalid("the key is encrypted, and no passphrase was given").hint(
                "give it by passphrase or --passphrase-file, or have an ssh-agent hold the key",
            ));
        };
        if let Kdf::Bcrypt { rounds, .. } = key.kdf()
            && *rounds > MOST_ROUNDS
        {
            let why = format!("its passphrase takes {rounds} rounds, more than {MOST_ROUNDS}");
            let shell = self.source.shell();
            return Err(self.invalid(&why).hint(format!("ssh-keygen -p -a 100 -f {shell}")));
        }
        let failed = match key.decrypt(&passphrase.0) {
            Ok(key) => return Ok(key),
            Err(error) => error,
        };
        if key.algorithm() == short_key::P256
            && let Some(key) = short_key::decrypt(key, &passphrase.0)
        {
            return Ok(key);
        }
        Err(match failed {
            KeyError::AlgorithmUnknown | KeyError::AlgorithmUnsupported { .. } => {
                let why = format!("it is encrypted with {}, which is not supported", key.cipher());
                let shell = self.source.shell();
                self.invalid(&why).hint(format!("ssh-keygen -p -Z aes256-ctr -f {shell}"))
            }
            _ => {
                let hint = format!("try it with: ssh-keygen -y -f {}", self.source.shell());
                self.invalid("the passphrase is wrong, or the key is damaged").hint(hint)
            }
        })
    }

    fn invalid(self, why: &str) -> Error {
        Error::new(Code::KeyInvalid, format!("{:?}: {why}", self.source)).at(Phase::Config)
    }
}

/// `SHA256:…`, as OpenSSH prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A private key where it stays: moving the key itself would leave a copy of it at every place that it left. Wiped when dropped.
pub(crate) type SharedKey = Arc<PrivateKey>;

/// Overwrites what the calls before have left of their frames: a decoder moves a key by value, and only the last place is wiped.
#[inline(never)]
pub(crate) fn wipe_stack() {
    // Decoding, key exchange and signing were measured to reach less than half as deep.
    let mut frames = [0_u8; 128 * 1024];
    black_box(&mut frames).zeroize();
}

/// A server's identity.
pub(crate) struct HostKey {
    pub(crate) private: SharedKey,
    pub(crate) fingerprint: String,
    /// `ssh-ed25519 AAAA…`, without a comment.
    pub(crate) public: String,
    /// What an authority says of it.
    pub(crate) certificate: Option<Certificate>,
}

impl HostKey {
    /// Loads the key, or makes an Ed25519 one that lives as long as the process. Blocks like [`Locked::load`].
    pub(crate) fn load_or_make(locked: Option<Locked<'_>>) -> Result<Self> {
        let broken =
            |e: KeyError| Error::new(Code::KeyInvalid, format!("host key: {e}")).at(Phase::Config);
        let private = match locked {
            Some(locked) => locked.load(Use::Host)?,
            None => fresh().map_err(broken)?,
        };
        wipe_stack();
        // Without the comment.
        let public = PublicKey::from(private.public_key().key_data().clone());
        let fingerprint = fingerprint(&public);
        let public = public.to_openssh().map_err(broken)?.trim().to_owned();
        Ok(Self { private, fingerprint, public, certificate: None })
    }

    /// The same with its certificate, if it has one. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` for what is no host certificate of this key; the file's own failure.
    pub(crate) fn certified(self, papers: &Papers) -> Result<Self> {
        let certificate = papers.load(&self.private, Use::Host)?;
        Ok(Self { certificate, ..self })
    }
}

/// On frames of its own, which are wiped after it.
#[inline(never)]
fn fresh() -> Result<SharedKey, KeyError> {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).map(Arc::new)
}
