//! What has been revoked: a list of keys, fingerprints, and the numbers and names of certificates, in the words of `ssh-keygen`'s
//! "KEY REVOCATION LISTS", or the binary list that it makes of them (`krl.rs`). Unlike a line that lets somebody in, one that is not
//! understood makes the whole list unusable.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_encoding::base64::{Base64, Encoding};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PublicKey};
use sha1::{Digest, Sha1};

use super::key::KeySource;
use super::krl;
use crate::error::{Code, Error, Phase, Result};

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked {
    /// As they are on the wire (RFC 4253 §6.6).
    pub(super) keys: HashSet<Vec<u8>>,
    /// Digests of the same.
    pub(super) sha256: HashSet<[u8; 32]>,
    pub(super) sha1: HashSet<[u8; 20]>,
    /// By the key of the authority; the empty one stands for all of them.
    pub(super) books: HashMap<Vec<u8>, Books>,
}

/// What is revoked of what an authority has signed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) serials: Vec<Serials>,
    pub(super) ids: HashSet<Vec<u8>>,
}

/// Numbers of certificates.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Serials {
    Range(RangeInclusive<u64>),
    /// A bit for each number from `first` on; the lowest is the last one.
    Bitmap {
        first: u64,
        bits: Vec<u8>,
    },
}

impl Revoked {
    /// # Errors
    /// `ERR_ALKNET_KEY_INVALID` with the number of the first line that is not understood, never with its text; for a binary list, with
    /// what is wrong with it.
    pub(super) fn parse(source: &KeySource, bytes: &[u8]) -> Result<Self> {
        let mut list = Self::default();
        if bytes.starts_with(krl::MAGIC) {
            return krl::parse(bytes, &mut list).map(|()| list).map_err(|why| {
                let message =
                    format!("{source:?}: this binary revocation list is not usable: {why}");
                let hint = "make it again with ssh-keygen -k, or give the text that it takes";
                Error::new(Code::KeyInvalid, message).at(Phase::Config).hint(hint)
            });
        }
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
            ("serial", numbers) => self.of_all().serials.push(Serials::Range(range(numbers)?)),
            ("id", "") => return None,
            ("id", name) => {
                self.of_all().ids.insert(name.as_bytes().to_vec());
            }
            ("hash", print) => self.add_fingerprint(print.strip_prefix("SHA256:")?)?,
            ("sha256", rest) if !rest.contains(' ') => self.add_fingerprint(rest)?,
            ("sha256" | "sha1" | "key", key) => self.add_key(key)?,
            _ => self.add_key(line)?,
        }
        Some(())
    }

    fn of_all(&mut self) -> &mut Books {
        self.books.entry(Vec::new()).or_default()
    }

    fn add_fingerprint(&mut self, digest: &str) -> Option<()> {
        let mut padded = digest.trim_end_matches('=').to_owned();
        padded.push('=');
        self.sha256.insert(Base64::decode_vec(&padded).ok()?.try_into().ok()?);
        Some(())
    }

    /// A certificate stands for the key in it, as in `ssh-keygen -k`'s plain lists.
    fn add_key(&mut self, text: &str) -> Option<()> {
        let key = match text.split(' ').next()?.contains("-cert-v01@") {
            true => super::presented::parse(text)?.public_key().clone(),
            false => PublicKey::from_openssh(text).ok()?.key_data().clone(),
        };
        self.keys.insert(key.encode_vec().ok()?);
        Some(())
    }

    /// Whether `key` may not be used, whatever else is said of it.
    pub(super) fn has_key(&self, key: &KeyData) -> bool {
        // What cannot be written can be in no list, and no signature of it was ever checked.
        let Ok(blob) = key.encode_vec() else { return true };
        let sha256 = || key.fingerprint(HashAlg::Sha256).sha256();
        self.keys.contains(&blob)
            || (!self.sha256.is_empty() && sha256().is_none_or(|d| self.sha256.contains(&d)))
            || (!self.sha1.is_empty()
                && self.sha1.contains::<[u8; 20]>(&Sha1::digest(&blob).into()))
    }

    /// Whether `certificate` may not be used: itself, the key in it, or its authority is revoked.
    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        let authority = certificate.signature_key();
        let Ok(signer) = authority.encode_vec() else { return true };
        let books = [self.books.get(&signer), self.books.get(&Vec::new())];
        self.has_key(certificate.public_key())
            || self.has_key(authority)
            || books.into_iter().flatten().any(|books| books.have(certificate))
    }
}

impl Books {
    fn have(&self, certificate: &Certificate) -> bool {
        let serial = certificate.serial();
        self.ids.contains(certificate.key_id().as_bytes())
            || self.serials.iter().any(|serials| serials.have(serial))
    }
}

impl Serials {
    pub(super) fn have(&self, serial: u64) -> bool {
        match self {
            Self::Range(range) => range.contains(&serial),
            Self::Bitmap { first, bits } => {
                let Some(at) = serial.checked_sub(*first) else { return false };
                let byte = usize::try_from(at / 8).ok().and_then(|at| bits.iter().rev().nth(at));
                byte.is_some_and(|byte| byte >> (at % 8) & 1 != 0)
            }
        }
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
            format!("sha1: {KEY}"),
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
            "sha1: AAAA",
            "ssh-ed25519 AAAA",
            "nonsense",
            "from=\"10.0.0.1\" ssh-ed25519 AAAA",
        ] {
            let error = parse(&format!("{KEY}\n{line}\n")).expect_err(line);
            assert_eq!(error.code().as_str(), "ERR_ALKNET_KEY_INVALID");
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
