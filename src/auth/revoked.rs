//! What has been revoked: a list of keys, fingerprints, and the numbers and names of certificates, in the words of `ssh-keygen`'s
//! "KEY REVOCATION LISTS". Unlike a line that lets somebody in, one that is not understood makes the whole list unusable.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PublicKey};

use super::key::KeySource;
use crate::error::{Code, Error, Phase, Result};

/// What the binary lists of `ssh-keygen -k` begin with.
const KRL: &[u8] = b"SSHKRL\n\0";

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    keys: HashSet<KeyData>,
    /// `SHA256:…`, without padding.
    fingerprints: HashSet<String>,
    serials: Vec<RangeInclusive<u64>>,
    ids: HashSet<String>,
}

impl Revoked {
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` with the number of the first line that is not understood, never with its text.
    pub(super) fn parse(source: &KeySource, bytes: &[u8]) -> Result<Self> {
        if bytes.starts_with(KRL) {
            let message = format!("{source:?}: binary revocation lists are not supported");
            let hint = "give the list that it was made from: the text that ssh-keygen -k takes";
            return Err(Error::new(Code::KeyInvalid, message).at(Phase::Config).hint(hint));
        }
        let mut list = Self::default();
        for (number, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') && list.add(line).is_none() {
                let number = number + 1;
                let message = format!("{source:?}: line {number} does not say what is revoked");
                let hint = "a line is a public key, SHA256:…, serial: N, serial: N-M or id: NAME";
                return Err(Error::new(Code::KeyInvalid, message).at(Phase::Config).hint(hint));
            }
        }
        Ok(list)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(':').unwrap_or(("", line));
        match (word.to_ascii_lowercase().as_str(), rest.trim()) {
            ("serial", numbers) => self.serials.push(range(numbers)?),
            ("id", "") => return None,
            ("id", name) => {
                self.ids.insert(name.to_owned());
            }
            ("hash", print) => self.add_fingerprint(print.strip_prefix("SHA256:")?)?,
            ("sha256", rest) if !rest.contains(' ') => self.add_fingerprint(rest)?,
            ("sha256" | "key", key) => self.add_key(key)?,
            _ => self.add_key(line)?,
        }
        Some(())
    }

    fn add_fingerprint(&mut self, digest: &str) -> Option<()> {
        let digest = digest.trim_end_matches('=');
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        if digest.len() != 43 || !digest.bytes().all(is_base64) {
            return None;
        }
        self.fingerprints.insert(format!("SHA256:{digest}"));
        Some(())
    }

    /// A certificate stands for the key in it, as in `ssh-keygen -k`'s plain lists.
    fn add_key(&mut self, text: &str) -> Option<()> {
        let key = match text.split(' ').next()?.contains("-cert-v01@") {
            true => super::presented::parse(text)?.public_key().clone(),
            false => PublicKey::from_openssh(text).ok()?.key_data().clone(),
        };
        self.keys.insert(key);
        Some(())
    }

    /// Whether `key` may not be used, whatever else is said of it.
    pub(super) fn has_key(&self, key: &KeyData) -> bool {
        self.keys.contains(key)
            || (!self.fingerprints.is_empty()
                && self.fingerprints.contains(&key.fingerprint(HashAlg::Sha256).to_string()))
    }

    /// Whether `certificate` may not be used: itself, the key in it, or its authority is revoked.
    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        let serial = certificate.serial();
        self.has_key(certificate.public_key())
            || self.has_key(certificate.signature_key())
            || self.ids.contains(certificate.key_id())
            || self.serials.iter().any(|range| range.contains(&serial))
    }
}

/// `N` or `N-M`. 0 is every certificate whose authority does not count, and is refused as in `ssh-keygen`.
fn range(text: &str) -> Option<RangeInclusive<u64>> {
    let number = |text: &str| {
        let text = text.trim();
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?,
        };
        parsed.filter(|number| *number > 0)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

    fn parse(text: &str) -> Result<Revoked> {
        Revoked::parse(&KeySource::memory(text), text.as_bytes())
    }

    #[test]
    fn a_key_is_revoked_in_every_way_it_can_be_written() {
        let key = PublicKey::from_openssh(KEY).expect("a key");
        let print = key.fingerprint(HashAlg::Sha256).to_string();
        for line in [
            KEY.to_owned(),
            format!("# why\r\n\r\n  {KEY} comment\r\n"),
            format!("key: {KEY}"),
            format!("sha256: {KEY}"),
            print.clone(),
            format!("{print}="),
            format!("hash: {print}"),
        ] {
            let list = parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(list.has_key(key.key_data()), "{line}");
        }
        assert!(!parse("serial: 1\nid: x").expect("a list").has_key(key.key_data()));
    }

    #[test]
    fn a_line_that_is_not_understood_makes_the_list_unusable_and_is_not_shown() {
        for line in [
            "serial: 0",
            "serial: 5-4",
            "serial: x",
            "serial: -1",
            "serial: +1",
            "serial:",
            "id:",
            "SHA256:short",
            "hash: MD5:00",
            "ssh-ed25519 AAAA",
            "nonsense",
            "from=\"10.0.0.1\" ssh-ed25519 AAAA",
        ] {
            let error = parse(&format!("{KEY}\n{line}\n")).expect_err(line);
            assert_eq!(error.code().as_str(), "ERR_ALKNET_KEY_INVALID");
            assert!(error.to_string().contains("line 2"), "{error}");
        }
        assert!(parse("SSHKRL\n\0\0\0\0\x01").is_err_and(|e| e.to_string().contains("binary")));
    }
}
