//! What must hold of certificates, and of what is revoked, whatever the text is.
#![allow(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Certificate, PrivateKey, PublicKey};

use super::fuzz::{LONGEST_MESSAGE, OTHER};
use super::key_line::{self, Authority, Line};
use super::krl;
use super::revoked::Revoked;
use super::{AuthorizedKeys, KeyLists, KeySource, certificate, presented};
use crate::error::Result;

/// What nobody has signed lets nobody in, be it the text of a file or what a peer sends; and what an authority has signed is read as
/// it was meant.
pub(crate) fn certificates(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for found in [presented::parse(&text), Certificate::from_bytes(data).ok()] {
        let Some(found) = found else { continue };
        let user = found.valid_principals().first().cloned().unwrap_or_default();
        let now = i64::try_from(found.valid_after()).unwrap_or(i64::MAX);
        assert!(admits(&found, &user, None, now).is_err(), "the authority has signed nothing");
    }
    judged(&text);
}

/// A certificate as `text` describes it, a line for a fact: `user`, `principal`, `now`, `after`, `before`, `source`, `critical NAME VALUE`,
/// `extension NAME VALUE`, `host`, `options` of the authority's line.
fn judged(text: &str) {
    let mut wish = Wish::default();
    for line in text.lines().take(32) {
        wish.read(line);
    }
    let Some(built) = wish.build() else { return };
    let Some(line) = line(&wish.options) else { return };
    let verdict = certificate::user_rules(&built, &line, &wish.user, wish.source, wish.now);
    let now = u64::try_from(wish.now).unwrap_or(0);
    let stands = |name: &String| match &line.principals {
        Some(wanted) => wanted.contains(name),
        None => *name == wish.user,
    };
    let named = wish.principals.iter().any(stands);
    let in_time = (wish.after..wish.before).contains(&now);
    let sound = !wish.host && named && in_time;
    let known = ["source-address", "force-command", "verify-required"];
    let understood = wish.critical.iter().all(|(name, _)| known.contains(&name.as_str()));
    match verdict {
        Ok(rules) => {
            assert!(sound && understood, "{text:?} was let in");
            let extension = |(name, _): &(String, String)| name == "permit-port-forwarding";
            if rules.may_open("host", 1) || rules.may_listen("", 1) {
                assert!(wish.extensions.iter().any(extension), "{text:?} forwards");
                assert!(!wish.critical.iter().any(|(name, _)| name == "force-command"));
            }
            if let Some((_, list)) = wish.critical.iter().find(|(name, _)| name == known[0]) {
                assert!(wish.source.is_some() && !list.contains(['*', '?', '!']), "{text:?}");
            }
        }
        Err(_) if wish.critical.is_empty() && wish.options.is_empty() => {
            assert!(!sound, "{text:?} was kept out");
        }
        Err(_) => {}
    }
}

/// A list that is understood says the same whatever stands beside it; one that is not never counts as an empty one.
pub(crate) fn revoked_keys(data: &[u8]) {
    let parse = |bytes: &[u8]| Revoked::parse(&KeySource::memory(bytes), bytes);
    let key = PublicKey::from_openssh(OTHER).expect("a key");
    if data.starts_with(krl::MAGIC) {
        return binary(data, parse(data), &key);
    }
    let around = [data, b"\n", OTHER.as_bytes()].concat();
    match (parse(data), parse(&around)) {
        (Ok(_), Ok(both)) => assert!(both.has_key(key.key_data()), "a line was lost"),
        (Err(error), Err(_)) => {
            let told = error.to_string();
            assert!(told.len() <= LONGEST_MESSAGE && !told.contains(char::is_control), "{told:?}");
        }
        (Ok(_), Err(error)) => unreachable!("a good line made the list bad: {error}"),
        (Err(error), Ok(_)) => unreachable!("a good line made the list good: {error}"),
    }
}

/// A binary list that is understood keeps what it says when a section is added.
fn binary(data: &[u8], parsed: Result<Revoked>, key: &PublicKey) {
    match parsed {
        Ok(list) => {
            let string = |bytes: &[u8]| {
                let length = u32::try_from(bytes.len()).expect("a length");
                [&length.to_be_bytes(), bytes].concat()
            };
            let blob = key.to_bytes().expect("its bytes");
            let section = [&[2][..], &string(&string(&blob))].concat();
            let more = [data, &section].concat();
            let more = Revoked::parse(&KeySource::memory(&*more), &more).expect("a longer list");
            assert!(more.has_key(key.key_data()), "a section was lost");
            let named = data.windows(blob.len()).any(|at| at == blob);
            assert!(
                named
                    || !list.has_key(key.key_data())
                    || !list.sha1.is_empty()
                    || !list.sha256.is_empty()
            );
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() <= LONGEST_MESSAGE && !told.contains(char::is_control), "{told:?}");
        }
    }
}

/// Facts of a certificate.
#[derive(Default)]
struct Wish {
    user: String,
    principals: Vec<String>,
    now: i64,
    after: u64,
    before: u64,
    source: Option<IpAddr>,
    critical: Vec<(String, String)>,
    extensions: Vec<(String, String)>,
    host: bool,
    options: String,
}

impl Wish {
    fn read(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            (name.to_owned(), value.to_owned())
        };
        match word {
            "user" => rest.clone_into(&mut self.user),
            "principal" => self.principals.push(rest.to_owned()),
            "now" => self.now = rest.parse().unwrap_or(0),
            "after" => self.after = rest.parse().unwrap_or(0),
            "before" => self.before = rest.parse().unwrap_or(0),
            "source" => self.source = rest.parse().ok(),
            "critical" => self.critical.push(pair()),
            "extension" => self.extensions.push(pair()),
            "host" => self.host = true,
            "options" => rest.clone_into(&mut self.options),
            _ => {}
        }
    }

    /// `None` when there can be no such certificate.
    fn build(&self) -> Option<Certificate> {
        let subject = authority().public_key().key_data().clone();
        let mut builder = Builder::new(vec![0; 16], subject, self.after, self.before).ok()?;
        if self.host {
            builder.cert_type(CertType::Host).ok()?;
        }
        if self.principals.is_empty() {
            builder.all_principals_valid().ok()?;
        }
        for name in &self.principals {
            builder.valid_principal(name.clone()).ok()?;
        }
        for (name, value) in &self.critical {
            builder.critical_option(name.clone(), value.clone()).ok()?;
        }
        for (name, value) in &self.extensions {
            builder.extension(name.clone(), value.clone()).ok()?;
        }
        builder.sign(&**authority()).ok()
    }
}

/// A key that everybody knows.
fn authority() -> &'static Arc<PrivateKey> {
    static KEY: OnceLock<Arc<PrivateKey>> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&[1; 32]));
        Arc::new(PrivateKey::new(pair, "").expect("a key"))
    })
}

fn line(options: &str) -> Option<Authority> {
    let key = authority().public_key().to_openssh().expect("its text");
    match key_line::parse_authority(&format!("{options} {key}")) {
        Ok(Some(Line::Authority(authority))) => Some(authority),
        _ => None,
    }
}

fn admits(
    found: &Certificate,
    user: &str,
    source: Option<IpAddr>,
    now: i64,
) -> Result<(), &'static str> {
    static LIST: OnceLock<AuthorizedKeys> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let authorities = Some(KeySource::memory(OTHER));
        let lists = KeyLists { authorities, ..KeyLists::default() };
        AuthorizedKeys::load(&lists).expect("a list").0
    });
    list.admit_certificate(found, user, source, now).map(|_| ())
}
