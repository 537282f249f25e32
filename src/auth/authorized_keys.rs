//! Who may log in: the lines of an `authorized_keys` file.

use std::collections::HashSet;

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::KeySource;
use crate::error::{Error, Result};

/// The public keys that may log in.
#[derive(Debug, Default)]
pub(crate) struct AuthorizedKeys {
    keys: HashSet<KeyData>,
}

impl AuthorizedKeys {
    /// Reads the list. A line that is not a plain key, options included, is left out and logged: a restriction that
    /// is not understood must not become a permission.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when no usable key is left; the file's own failure.
    pub(crate) fn load(source: &KeySource) -> Result<Self> {
        let text = source.read()?;
        let mut keys = HashSet::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match PublicKey::from_openssh(line) {
                Ok(key) => {
                    keys.insert(key.key_data().clone());
                }
                Err(_) => tracing::warn!(line = number + 1, "authorized_keys line refused"),
            }
        }
        if keys.is_empty() {
            return Err(Error::config(format!("{source:?} holds no usable public key"))
                .hint("a line is the content of a .pub file: ssh-ed25519 AAAA… comment"));
        }
        Ok(Self { keys })
    }

    pub(crate) fn allows(&self, key: &PublicKey) -> bool {
        self.keys.contains(key.key_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        let key = crate::auth::HostKey::load_or_make(None).unwrap_or_else(|e| panic!("{e}"));
        format!("{} user@example.com", key.public)
    }

    fn load(text: &str) -> Result<AuthorizedKeys> {
        AuthorizedKeys::load(&KeySource::memory(text))
    }

    #[test]
    fn comments_blank_lines_and_broken_lines_do_not_hide_a_key() -> Result<()> {
        let keys = load(&format!("# people\r\n\r\n  {}\r\nssh-ed25519 broken\n", key()))?;
        assert_eq!(keys.keys.len(), 1);
        Ok(())
    }

    #[test]
    fn a_line_with_options_is_refused_rather_than_taken_without_them() {
        for line in [
            format!("restrict {}", key()),
            format!("from=\"10.0.0.0/8\" {}", key()),
            format!("cert-authority {}", key()),
        ] {
            assert!(load(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_empty_list_is_an_error() {
        assert_eq!(
            load("\n# nobody\n").map_err(|e| e.code().as_str()).err(),
            Some("ERR_ALKNET_CONFIG")
        );
    }
}
