//! Which host keys a client accepts. Nothing is ever accepted without being named.

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::fingerprint;
use crate::error::{Code, Error, Phase, Result};

/// The expected host keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostKeys {
    expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
enum Expected {
    Fingerprint(String),
    Key(Box<KeyData>),
}

impl HostKeys {
    /// Parses `SHA256:…` fingerprints and public keys.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for anything else, private keys above all.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        texts
            .iter()
            .map(|text| Expected::parse(text.trim()))
            .collect::<Result<_>>()
            .map(|expected| Self { expected })
    }

    /// Compares the key a server proved with the expected ones. Returns its fingerprint.
    ///
    /// # Errors
    /// `ERR_ALKNET_HOST_KEY_UNKNOWN`, `ERR_ALKNET_HOST_KEY_CHANGED`.
    pub(crate) fn check(&self, server: &str, key: &PublicKey) -> Result<String> {
        let shown = fingerprint(key);
        let matches = |expected: &Expected| match expected {
            Expected::Fingerprint(text) => *text == shown,
            Expected::Key(data) => **data == *key.key_data(),
        };
        if self.expected.iter().any(matches) {
            return Ok(shown);
        }
        let error = match self.expected.is_empty() {
            true => Error::new(
                Code::HostKeyUnknown,
                format!("no host key is known for {server}; it showed {shown}"),
            )
            .hint(format!("if that is the right key, pass it in hostKeys: {shown}")),
            false => Error::new(
                Code::HostKeyChanged,
                format!("{server} showed host key {shown}, which is not the expected one"),
            )
            .hint("either the server has a new key, or somebody is in between"),
        };
        Err(error.at(Phase::HostKey).fingerprint(shown))
    }
}

impl Expected {
    fn parse(text: &str) -> Result<Self> {
        if let Some(digest) = text.strip_prefix("SHA256:") {
            let digest = digest.trim_end_matches('=').replace('-', "+").replace('_', "/");
            let is_base64 =
                digest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
            if digest.len() != 43 || !is_base64 {
                return Err(Error::config(format!(
                    "host key fingerprint {text:?} is not 43 characters of base64"
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
}
