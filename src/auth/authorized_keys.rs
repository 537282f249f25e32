//! Who may log in: the lines of an `authorized_keys` file, the authorities whose certificates are believed, and what is revoked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey};

use super::certificate;
use super::file::{self, Stamp};
use super::key::KeySource;
use super::key_line::{self, Authority, Line, Reason};
use super::key_rules::KeyRules;
use super::revoked::Revoked;
use crate::error::{Code, Error, Phase, Result};

/// Where it is written who may log in.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyLists {
    /// `authorized_keys`.
    pub(crate) keys: Option<KeySource>,
    /// Lines of the same kind, each of which names an authority.
    pub(crate) authorities: Option<KeySource>,
    /// What may not log in whatever the others say.
    pub(crate) revoked: Option<KeySource>,
    /// Takes files whatever their owner and mode.
    pub(crate) insecure_permissions: bool,
}

impl KeyLists {
    /// Those that are given.
    pub(super) fn given(&self) -> impl Iterator<Item = &KeySource> {
        [&self.keys, &self.authorities, &self.revoked].into_iter().flatten()
    }

    /// Reads one of them. Blocks.
    fn read<T>(
        &self,
        source: Option<&KeySource>,
        stamps: &mut Vec<Stamp>,
        parse: impl FnOnce(&KeySource, &[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        let path = match source {
            None => return Ok(None),
            Some(source @ KeySource::Memory(bytes)) => return parse(source, bytes).map(Some),
            Some(KeySource::Path(path)) => path,
        };
        let contents = file::read(path)?;
        if !self.insecure_permissions {
            contents.must_be_trusted(path)?;
        }
        stamps.push(contents.stamp());
        parse(&KeySource::Path(path.clone()), &contents.bytes).map(Some)
    }
}

/// The public keys that may log in, and under which rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthorizedKeys {
    keys: HashMap<KeyData, Arc<KeyRules>>,
    authorities: Vec<Authority>,
    revoked: Revoked,
    warnings: Vec<String>,
}

impl AuthorizedKeys {
    /// Reads the lists, and tells the states of their files. A line that is not understood, be it an option, is left out and told of:
    /// a restriction that is not understood must not become a permission. The first line with a key decides. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` for a private key, for a file that others may change, and for a line of what is revoked that is not
    /// understood; the file's own failure.
    pub(super) fn load(lists: &KeyLists) -> Result<(Self, Vec<Stamp>)> {
        let mut list = Self::default();
        let mut stamps = Vec::new();
        let parse = key_line::parse as fn(&str) -> Result<Option<Line>, Reason>;
        for (source, name, parse) in [
            (&lists.keys, "authorized_keys", parse),
            (&lists.authorities, "certAuthority", key_line::parse_authority),
        ] {
            lists.read(source.as_ref(), &mut stamps, |source, bytes| {
                list.add(source, bytes, name, parse)
            })?;
        }
        let revoked = lists.read(lists.revoked.as_ref(), &mut stamps, Revoked::parse)?;
        list.revoked = revoked.unwrap_or_default();
        Ok((list, stamps))
    }

    fn add(
        &mut self,
        source: &KeySource,
        bytes: &[u8],
        name: &str,
        parse: impl Fn(&str) -> Result<Option<Line>, Reason>,
    ) -> Result<()> {
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN OPENSSH PRIVATE KEY") {
            let message = format!("{source:?}: this is a private key; public keys are needed");
            return Err(Error::new(Code::KeyInvalid, message)
                .at(Phase::Config)
                .hint("the public key is in the file with .pub"));
        }
        // Comments may be in any encoding.
        for (number, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
            match parse(line) {
                Ok(None) => {}
                Ok(Some(Line::Key(key, rules))) => {
                    self.keys.entry(key).or_insert_with(|| Arc::new(rules));
                }
                Ok(Some(Line::Authority(authority))) => self.authorities.push(authority),
                Err(reason) => self.warn(name, number + 1, &reason),
            }
        }
        Ok(())
    }

    /// # Errors
    /// `ERR_ALKNET_CONFIG` when no key can be used.
    pub(super) fn must_let_somebody_in(&self, lists: &KeyLists) -> Result<()> {
        if !self.keys.is_empty() || !self.authorities.is_empty() {
            return Ok(());
        }
        let hint = match self.warnings.first() {
            Some(first) => first.clone(),
            None => "a line is the content of a .pub file: ssh-ed25519 AAAA… comment".into(),
        };
        let shown: Vec<_> = lists.given().take(2).map(|source| format!("{source:?}")).collect();
        let message = format!("{} holds no usable public key", shown.join(" and "));
        Err(Error::config(message).hint(hint))
    }

    /// Whether there is no line but comments.
    pub(super) fn is_blank(&self) -> bool {
        self.keys.is_empty() && self.authorities.is_empty() && self.warnings.is_empty()
    }

    fn warn(&mut self, list: &str, line: usize, reason: &str) {
        tracing::warn!(list, line, reason, "line refused");
        self.warnings.push(format!("{list} line {line}: {reason}"));
    }

    /// The rules of `key` if it may log in from `source` at `now` (Unix seconds); else why not.
    pub(crate) fn admit(
        &self,
        key: &PublicKey,
        source: Option<IpAddr>,
        now: i64,
    ) -> Result<Arc<KeyRules>, &'static str> {
        let rules = self.keys.get(key.key_data()).ok_or("the key is not authorised")?;
        if self.revoked.has_key(key.key_data()) {
            return Err("the key is revoked");
        }
        rules.admit(source, now).map(|()| Arc::clone(rules))
    }

    /// The same for a certificate: the first line with its authority that lets `user` in decides.
    pub(crate) fn admit_certificate(
        &self,
        certificate: &Certificate,
        user: &str,
        source: Option<IpAddr>,
        now: i64,
    ) -> Result<Arc<KeyRules>, &'static str> {
        if self.revoked.has(certificate) {
            return Err("the certificate is revoked");
        }
        let mut why = "the certificate is of no authority that is believed";
        for authority in self.authorities.iter().filter(|a| a.key == *certificate.signature_key()) {
            match certificate::user_rules(certificate, authority, user, source, now) {
                Ok(rules) => return Ok(Arc::new(rules)),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// Whether certificates of anybody are believed.
    pub(crate) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
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
        let lists = KeyLists { keys: Some(KeySource::memory(text)), ..KeyLists::default() };
        let (list, _) = AuthorizedKeys::load(&lists)?;
        list.must_let_somebody_in(&lists)?;
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
        assert!(load(&format!("cert-authority {line}\n")).is_ok());
        Ok(())
    }

    #[test]
    fn a_revoked_key_stays_out_and_a_list_that_is_not_understood_lets_nobody_pass_by() -> Result<()>
    {
        let ((one, first), (other, second)) = (key(), key());
        let with = |revoked: &str| {
            let keys = Some(KeySource::memory(format!("{first}\n{second}\n")));
            let revoked = Some(KeySource::memory(revoked));
            AuthorizedKeys::load(&KeyLists { keys, revoked, ..KeyLists::default() })
        };
        let (list, _) = with(&first)?;
        assert_eq!(list.admit(&one, None, 0).err(), Some("the key is revoked"));
        assert!(list.admit(&other, None, 0).is_ok());
        assert!(with("a line of no meaning").is_err());
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
