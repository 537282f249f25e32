//! Private keys in OpenSSH format, from a file or from memory.

use std::path::PathBuf;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::error::{Code, Error, Phase, Result};

/// A key file is a few kilobytes; anything longer is something else.
const LONGEST_KEY_FILE: u64 = 64 * 1024;

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

    /// The contents as text.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>> {
        let bytes = match self {
            Self::Memory(bytes) => bytes.clone(),
            Self::Path(path) => {
                let shown = path.display().to_string();
                let failed = |e| Error::system("open", &shown, e).at(Phase::Config);
                let file = std::fs::File::open(path).map_err(failed)?;
                let meta = file.metadata().map_err(failed)?;
                if !meta.is_file() || meta.len() > LONGEST_KEY_FILE * 16 {
                    return Err(Error::new(Code::KeyInvalid, format!("{shown} is not a key file"))
                        .at(Phase::Config));
                }
                let mut bytes = Zeroizing::new(Vec::new());
                std::io::Read::read_to_end(&mut &file, &mut bytes).map_err(failed)?;
                bytes
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::new(Code::KeyInvalid, format!("{self:?} is not text")).at(Phase::Config)
        })?;
        Ok(Zeroizing::new(text.to_owned()))
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

/// Loads a private key.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID` for PEM (with the command that converts it), encrypted and broken keys; the file's own failure otherwise.
pub(crate) fn load_private(source: &KeySource) -> Result<PrivateKey> {
    let text = source.read()?;
    let text = text.trim();
    let invalid =
        |why: &str| Error::new(Code::KeyInvalid, format!("{source:?}: {why}")).at(Phase::Config);
    if text.starts_with("-----BEGIN ") && !text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        let path = match source {
            KeySource::Path(path) => path.display().to_string(),
            KeySource::Memory(_) => "KEYFILE".to_owned(),
        };
        return Err(invalid("PEM keys are not supported, only OpenSSH's format")
            .hint(format!("convert a copy of it with: ssh-keygen -p -f {path}")));
    }
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        return Err(invalid("this is a public key; the private key is needed"));
    }
    let key = PrivateKey::from_openssh(text).map_err(|_| invalid("not an OpenSSH private key"))?;
    if key.is_encrypted() {
        return Err(invalid("the key is encrypted, and passphrases are not supported yet")
            .hint("use a key without a passphrase, protected by its file mode"));
    }
    Ok(key)
}

/// `SHA256:…`, as OpenSSH prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A server's identity.
pub(crate) struct HostKey {
    pub(crate) private: PrivateKey,
    pub(crate) fingerprint: String,
    /// `ssh-ed25519 AAAA…`, without a comment.
    pub(crate) public: String,
}

impl HostKey {
    /// Loads the key, or makes an Ed25519 one that lives as long as the process.
    pub(crate) fn load_or_make(source: Option<&KeySource>) -> Result<Self> {
        let broken = |e: russh::keys::ssh_key::Error| {
            Error::new(Code::KeyInvalid, format!("host key: {e}")).at(Phase::Config)
        };
        let mut private = match source {
            Some(source) => load_private(source)?,
            None => PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
                .map_err(broken)?,
        };
        private.set_comment("");
        let public = private.public_key();
        let fingerprint = fingerprint(public);
        let public = public.to_openssh().map_err(broken)?.trim().to_owned();
        Ok(Self { private, fingerprint, public })
    }
}
