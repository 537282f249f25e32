//! What must hold of keys and lists of keys whatever the text is.
#![allow(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

use futures_util::FutureExt;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PublicKey};

use super::known_hosts::{Found, KnownHosts, Verdict};
use super::{AuthorizedKeys, HostKeys, KeyLists, KeySource, Locked, Trust, Use, fingerprint};
use crate::error::Result;
use crate::target::HostPort;

/// Longest message about a key, in bytes: what a log line bears.
pub(super) const LONGEST_MESSAGE: usize = 1024;

/// An expected host key accepts itself however it is written, and no other key.
pub(crate) fn host_keys(text: &str) {
    let expected = match pinned(text) {
        Ok(expected) => expected,
        Err(error) => return assert!(error.to_string().len() <= LONGEST_MESSAGE, "{error}"),
    };
    let other = PublicKey::from_openssh(OTHER).expect("a key");
    assert_eq!(accepts(&expected, &other), means(text, &other), "{text:?}");
    let Ok(key) = PublicKey::from_openssh(text.trim()) else { return };
    assert!(accepts(&expected, &key));
    assert!(accepts(&pinned(&fingerprint(&key)).expect("a fingerprint"), &key));
}

/// A file is searched to its end whatever is in it; each line means the same alone, and hides nothing before or after it.
pub(crate) fn known_hosts(text: &[u8]) {
    let other = PublicKey::from_openssh(OTHER).expect("a key");
    let named = ["host ", OTHER].concat();
    let revoked = ["@revoked * ", OTHER].concat();
    for port in [22, 2222] {
        let at = HostPort { host: "host".into(), port };
        let alone: Vec<_> = text.split(|byte| *byte == b'\n').map(|line| keys(&at, line)).collect();
        assert_eq!(sorted(keys(&at, text)), sorted(alone.concat()));
        for around in [[text, named.as_bytes()], [named.as_bytes(), text]] {
            let found = search(&at, &around.join(&b'\n'));
            match found.verdict(other.key_data()) {
                Verdict::Known | Verdict::Revoked(_) => {}
                Verdict::Changed(_) | Verdict::Unknown => unreachable!("a good line was lost"),
            }
            let told = found.remarks();
            assert!(told.len() <= 6 && told.concat().len() <= LONGEST_MESSAGE, "{told:?}");
            let found = search(&at, &[&around.join(&b'\n'), revoked.as_bytes()].join(&b'\n'));
            assert!(found.revoked(other.key_data()).is_some(), "a revoked key was let through");
        }
    }
}

/// A list is read to its end whatever is in it: a good line lets its key in and no other, and a bad one harms no other.
pub(crate) fn authorized_keys(text: &[u8]) {
    let key = PublicKey::from_openssh(OTHER).expect("a key");
    let list = |bytes: &[u8]| {
        let keys = Some(KeySource::memory(bytes));
        AuthorizedKeys::load(&KeyLists { keys, ..KeyLists::default() })
    };
    let named = String::from_utf8_lossy(text).lines().any(|line| line.contains(BLOB));
    for around in [[text, OTHER.as_bytes()], [OTHER.as_bytes(), text]] {
        // What begins as a private key is refused as a whole.
        let Ok((found, _)) = list(&around.join(&b'\n')) else { continue };
        assert!(named || found.admit(&key, None, 0).is_ok(), "a good line was lost");
        let lines = String::from_utf8_lossy(text).lines().count();
        assert!(found.warnings().len() <= lines, "{:?}", found.warnings());
        for warning in found.warnings() {
            assert!(warning.len() <= LONGEST_MESSAGE, "{warning}");
            assert!(!warning.contains(char::is_control), "{warning:?}");
        }
    }
    if let Ok((found, _)) = list(text) {
        assert!(named || found.admit(&key, None, 0).is_err(), "nobody named this key");
    }
}

/// A private key that loads is the same after it was written; one that does not is refused without a word of it.
pub(crate) fn private_key(bytes: &[u8]) {
    load(bytes);
    load(armoured(bytes).as_bytes());
}

fn load(bytes: &[u8]) {
    match load_private(bytes) {
        Ok(key) => {
            let text = key.to_openssh(LineEnding::LF).expect("a key that loads can be written");
            let again = load_private(text.as_bytes()).expect("and read again");
            assert_eq!(again.public_key().key_data(), key.public_key().key_data());
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() <= LONGEST_MESSAGE, "{told}");
            assert!(told.starts_with("the key given in memory"), "{told}");
        }
    }
}

fn load_private(bytes: &[u8]) -> Result<super::key::SharedKey> {
    let source = KeySource::memory(bytes);
    Locked { source: &source, passphrase: None, insecure_permissions: false }.load(Use::User)
}

/// `bytes` in the coat of an OpenSSH private key, so that what is inside is reached too.
fn armoured(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for line in bytes.chunks(52) {
        for group in line.chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - group.len()));
            for at in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
                text.push(if at <= group.len() { char::from(digit) } else { '=' });
            }
        }
        text.push('\n');
    }
    text + "-----END OPENSSH PRIVATE KEY-----\n"
}

fn pinned(text: &str) -> Result<HostKeys> {
    let server = HostPort { host: "host".into(), port: 22 };
    HostKeys::new(&[text.to_owned()], Some(&[]), Trust::Strict, &server)
}

fn accepts(expected: &HostKeys, key: &PublicKey) -> bool {
    let checked = expected.check("host", key).now_or_never().expect("pins are compared at once");
    checked.is_ok_and(|shown| shown == fingerprint(key))
}

/// Whether `text` is this key or its fingerprint.
fn means(text: &str, key: &PublicKey) -> bool {
    let digest = |text: &str| text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let text = text.trim();
    match text.strip_prefix("SHA256:") {
        Some(print) => fingerprint(key).strip_prefix("SHA256:") == Some(&digest(print)),
        None => PublicKey::from_openssh(text).is_ok_and(|found| found.key_data() == key.key_data()),
    }
}

fn search(at: &HostPort, text: &[u8]) -> Found {
    KnownHosts::new(Some(&[KeySource::memory(text)]), at).search().expect("bytes in memory")
}

/// The types of the keys that `text` has for a server.
fn keys(at: &HostPort, text: &[u8]) -> Vec<Algorithm> {
    search(at, text).algorithms()
}

fn sorted(mut types: Vec<Algorithm>) -> Vec<Algorithm> {
    types.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    types
}

/// RFC 8032, §7.1, test 1: nobody's key.
pub(super) const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

/// What every line with that key has in it, however its blanks are.
const BLOB: &str = "AAAAINdamAGCsQq31Uv";
