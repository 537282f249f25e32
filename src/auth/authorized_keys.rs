//! Who may log in: the lines of an `authorized_keys` file.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use super::file::{self, Stamp};
use super::key::KeySource;
use super::key_line::{self, Authority, Line};
use super::key_rules::KeyRules;
use crate::error::{Code, Error, Phase, Result};

/// The public keys that may log in, and under which rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthorizedKeys {
    keys: HashMap<KeyData, Arc<KeyRules>>,
    authorities: Vec<Authority>,
    warnings: Vec<String>,
}

impl AuthorizedKeys {
    /// Reads the list. A line that is not understood, be it an option, is left out and told of: a restriction that is not
    /// understood must not become a permission. The first line with a key decides. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` for a private key and for a file that others may change; the file's own failure.
    pub(super) fn load(
        source: &KeySource,
        insecure_permissions: bool,
    ) -> Result<(Self, Option<Stamp>)> {
        let path = match source {
            KeySource::Memory(bytes) => return Self::parse(source, bytes).map(|list| (list, None)),
            KeySource::Path(path) => path,
        };
        let contents = file::read(path)?;
        if !insecure_permissions {
            contents.must_be_trusted(path)?;
        }
        let list = Self::parse(source, &contents.bytes)?;
        Ok((list, Some(contents.stamp())))
    }

    fn parse(source: &KeySource, bytes: &[u8]) -> Result<Self> {
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN OPENSSH PRIVATE KEY") {
            let message = format!("{source:?}: this is a private key; public keys are needed");
            return Err(Error::new(Code::KeyInvalid, message)
                .at(Phase::Config)
                .hint("the public key is in the file with .pub"));
        }
        let mut list = Self::default();
        // Comments may be in any encoding.
        for (number, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
            match key_line::parse(line) {
                Ok(None) => {}
                Ok(Some(Line::Key(key, rules))) => {
                    list.keys.entry(key).or_insert_with(|| Arc::new(rules));
                }
                Ok(Some(Line::Authority(authority))) => {
                    list.authorities.push(authority);
                    list.warn(number + 1, "certificates cannot log in yet");
                }
                Err(reason) => list.warn(number + 1, &reason),
            }
        }
        Ok(list)
    }

    /// # Errors
    /// `ERR_ALKNET_CONFIG` when no key can be used.
    pub(super) fn must_let_somebody_in(&self, source: &KeySource) -> Result<()> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        let hint = match self.warnings.first() {
            Some(first) => first.clone(),
            None => "a line is the content of a .pub file: ssh-ed25519 AAAA… comment".into(),
        };
        Err(Error::config(format!("{source:?} holds no usable public key")).hint(hint))
    }

    /// Whether there is no line but comments.
    pub(super) fn is_blank(&self) -> bool {
        self.keys.is_empty() && self.warnings.is_empty()
    }

    fn warn(&mut self, line: usize, reason: &str) {
        tracing::warn!(line, reason, "authorized_keys line refused");
        self.warnings.push(format!("authorized_keys line {line}: {reason}"));
    }

    /// The rules of `key` if it may log in from `source` at `now` (Unix seconds); else why not.
    pub(crate) fn admit(
        &self,
        key: &PublicKey,
        source: Option<IpAddr>,
        now: i64,
    ) -> Result<Arc<KeyRules>, &'static str> {
        let rules = self.keys.get(key.key_data()).ok_or("the key is not authorised")?;
        rules.admit(source, now).map(|()| Arc::clone(rules))
    }

    /// The lines that were left out, and why.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (PublicKey, String) {
        let key = crate::auth::HostKey::load_or_make(None).unwrap_or_else(|e| panic!("{e}"));
        (key.private.public_key().clone(), key.public)
    }

    fn load(text: &str) -> Result<AuthorizedKeys> {
        let source = KeySource::memory(text);
        let (list, _) = AuthorizedKeys::load(&source, false)?;
        list.must_let_somebody_in(&source)?;
        Ok(list)
    }

    #[test]
    fn comments_blank_lines_and_broken_lines_do_not_hide_a_key() -> Result<()> {
        let keys = load(&format!("# people\r\n\r\n  {}\r\nssh-ed25519 broken\n", key().1))?;
        assert_eq!(keys.keys.len(), 1);
        assert_eq!(keys.warnings(), ["authorized_keys line 4: the key is damaged"]);
        Ok(())
    }

    #[test]
    fn the_first_line_with_a_key_decides() -> Result<()> {
        let (public, line) = key();
        let keys = load(&format!("oops {line}\nrestrict {line}\n{line}\n"))?;
        assert!(keys.admit(&public, None, 0).is_ok_and(|rules| !rules.may_open("a", 1)));
        Ok(())
    }

    #[test]
    fn an_authority_never_logs_in_itself() -> Result<()> {
        let ((authority, line), (_, other)) = (key(), key());
        let keys = load(&format!("cert-authority {line}\n{other}\n"))?;
        assert!(keys.admit(&authority, None, 0).is_err());
        assert_eq!(keys.authorities.len(), 1);
        assert!(load(&format!("cert-authority {line}\n")).is_err());
        Ok(())
    }

    #[test]
    fn an_empty_list_is_an_error() {
        assert_eq!(
            load("\n# nobody\n").map_err(|e| e.code().as_str()).err(),
            Some("ERR_ALKNET_CONFIG")
        );
    }
}
