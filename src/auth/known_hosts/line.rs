//! One line of a `known_hosts` file: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_encoding::base64::{Base64, Encoding};
use russh::keys::ssh_key::public::KeyData;
use sha1::Sha1;

use crate::auth::pattern::glob;

/// The longest line that is looked at. An RSA key of 16,384 bits takes 3 KiB, which leaves 60 KiB for names.
const LONGEST_LINE: usize = 64 * 1024;

/// The only kind of hash there is: HMAC-SHA1 of the name under the salt.
const HASH: &[u8] = b"|1|";

/// Bytes of a hash, and of the salt that ssh makes for it.
const HASH_LENGTH: usize = 20;

/// Key types we can check. A line with another one is left alone: it is for programs that can.
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];

/// What a line says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// The hosts have this key.
    Plain,
    /// `@revoked`: nobody may use this key.
    Revoked,
    /// `@cert-authority`: the key signs host certificates, and is no host's own.
    CertAuthority,
}

/// A line that is whole, its key apart, which is parsed only when the line is about the host that is looked for.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) marker: Marker,
    hosts: Hosts<'a>,
    key_type: &'a [u8],
    blob: Vec<u8>,
}

#[derive(Debug)]
enum Hosts<'a> {
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
    Patterns(&'a [u8]),
}

/// Why a line cannot be used.
pub(super) type Broken = &'static str;

impl<'a> Line<'a> {
    /// Parses a line, with or without its end. `None` for blank lines and comments.
    pub(super) fn parse(line: &'a [u8]) -> Result<Option<Self>, Broken> {
        let mut fields =
            line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).peekable();
        match fields.peek() {
            None => return Ok(None),
            Some(first) if first.starts_with(b"#") => return Ok(None),
            Some(_) if line.len() > LONGEST_LINE => return Err("longer than 64 KiB"),
            Some(_) if line.contains(&0) => return Err("has a zero byte, as no text has"),
            Some(_) => {}
        }
        let marker = match fields.next_if(|field| field.starts_with(b"@")) {
            None => Marker::Plain,
            Some(b"@revoked") => Marker::Revoked,
            Some(b"@cert-authority") => Marker::CertAuthority,
            Some(_) => return Err("an unknown marker"),
        };
        if fields.peek().is_some_and(|field| field.starts_with(b"@")) {
            return Err("more than one marker");
        }
        let hosts = Hosts::parse(fields.next().ok_or("no host after the marker")?)?;
        let key_type = fields.next().ok_or("no key after the host")?;
        if key_type.iter().all(u8::is_ascii_digit) {
            return Err("a key of SSH version 1");
        }
        let key = fields.next().ok_or("a key type without a key")?;
        let blob = decode(key).ok_or("the key is not base64")?;
        if blob_type(&blob) != Some(key_type) {
            return Err("the key is cut off or not of the type named");
        }
        Ok(Some(Self { marker, hosts, key_type, blob }))
    }

    /// Whether the line is about `name`, which is in lower case.
    pub(super) fn is_for(&self, name: &str) -> bool {
        match &self.hosts {
            Hosts::Hashed { salt, hash } => hash_of(salt, name).as_deref() == Some(&hash[..]),
            Hosts::Patterns(list) => {
                let name_bytes = name.as_bytes();
                patterns(list).any(|(not, pattern)| !not && glob(pattern, name_bytes))
                    && !self.is_not_for(name)
            }
        }
    }

    /// Whether the line says that it is not about `name`, which is in lower case.
    pub(super) fn is_not_for(&self, name: &str) -> bool {
        let Hosts::Patterns(list) = self.hosts else { return false };
        patterns(list).any(|(not, pattern)| not && glob(pattern, name.as_bytes()))
    }

    /// The key; `None` when it is of a type that we do not offer to servers.
    pub(super) fn key(&self) -> Result<Option<KeyData>, Broken> {
        if !KEY_TYPES.iter().any(|known| known.as_bytes() == self.key_type) {
            return Ok(None);
        }
        match russh::keys::key::parse_public_key(&self.blob) {
            Ok(key) => Ok(Some(key.key_data().clone())),
            Err(_) => Err("the key is damaged"),
        }
    }
}

impl<'a> Hosts<'a> {
    fn parse(field: &'a [u8]) -> Result<Self, Broken> {
        if !patterns(field).any(|(_, pattern)| pattern.starts_with(b"|")) {
            return Ok(Self::Patterns(field));
        }
        let hashed = field.strip_prefix(HASH).ok_or("an unknown kind of hashed name")?;
        if hashed.contains(&b',') {
            return Err("a hashed name must stand alone");
        }
        let at =
            hashed.iter().position(|byte| *byte == b'|').ok_or("a hashed name without hash")?;
        let salt = decode(&hashed[..at]).filter(|salt| !salt.is_empty());
        let hash = decode(&hashed[at + 1..]).filter(|hash| hash.len() == HASH_LENGTH);
        match (salt, hash) {
            (Some(salt), Some(hash)) => Ok(Self::Hashed { salt, hash }),
            _ => Err("a damaged hashed name"),
        }
    }
}

/// The line that says that `name` has `key`, hashed, so that the file does not tell where its owner goes.
pub(super) fn hashed(name: &str, key: &KeyData) -> Option<String> {
    use russh::keys::ssh_key::rand_core::Rng;
    let mut salt = [0; HASH_LENGTH];
    russh::keys::key::safe_rng().fill_bytes(&mut salt);
    let hash = hash_of(&salt, name)?;
    let key = russh::keys::PublicKey::from(key.clone()).to_openssh().ok()?;
    let (salt, hash) = (Base64::encode_string(&salt), Base64::encode_string(&hash));
    Some(format!("|1|{salt}|{hash} {}\n", key.trim()))
}

fn hash_of(salt: &[u8], name: &str) -> Option<Vec<u8>> {
    let hmac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    Some(hmac.chain_update(name).finalize().into_bytes().to_vec())
}

fn decode(base64: &[u8]) -> Option<Vec<u8>> {
    Base64::decode_vec(std::str::from_utf8(base64).ok()?).ok()
}

/// The type a key carries inside itself.
fn blob_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..u32::from_be_bytes(*length) as usize)
}

/// The patterns of a list, and whether each begins with `!`.
fn patterns(list: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    list.split(|byte| *byte == b',').map(|pattern| match pattern.strip_prefix(b"!") {
        Some(pattern) => (true, pattern),
        None => (false, pattern),
    })
}

#[cfg(test)]
mod tests {
    use russh::keys::{Algorithm, PrivateKey};

    use super::*;

    fn key() -> String {
        let mut rng = russh::keys::key::safe_rng();
        let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).expect("a key");
        key.public_key().to_openssh().expect("its text").trim().to_owned()
    }

    fn parse(text: &str) -> Result<Option<Line<'_>>, Broken> {
        Line::parse(text.as_bytes())
    }

    fn is_for(hosts: &str, name: &str) -> bool {
        let text = format!("{hosts} {}", key());
        parse(&text).expect("a whole line").expect("a line").is_for(name)
    }

    #[test]
    fn names_match_as_patterns_without_regard_to_case() {
        for (hosts, name) in [
            ("a.example", "a.example"),
            ("A.Example", "a.example"),
            ("b.example,a.example", "a.example"),
            ("*.example", "a.example"),
            ("*", "[a.example]:2222"),
            ("?.example", "a.example"),
            ("[a.example]:2222", "[a.example]:2222"),
            ("[*.example]:*", "[a.example]:2222"),
            ("*a*a*a*b", "aaaaaaaaab"),
            ("a.example,,", "a.example"),
            ("*.example,!b.example", "a.example"),
        ] {
            assert!(is_for(hosts, name), "{hosts} for {name}");
        }
        for (hosts, name) in [
            ("a.example", "[a.example]:2222"),
            ("[a.example]:2222", "a.example"),
            ("[a.example]:2222", "[a.example]:222"),
            ("?.example", "ab.example"),
            ("*.example", "example"),
            ("*.example,!a.example", "a.example"),
            ("!a.example,*.example", "a.example"),
            ("!b.example", "a.example"),
            (",", "a.example"),
            ("*a*a*a*b", "aaaaaaaaaa"),
        ] {
            assert!(!is_for(hosts, name), "{hosts} for {name}");
        }
    }

    #[test]
    fn patterns_that_could_take_for_ever_do_not() {
        assert!(!is_for(&"*a".repeat(8_000), &"a".repeat(7_999)));
    }

    #[test]
    fn hashed_names_match_only_what_was_hashed() {
        // As `ssh-keygen -H` wrote it for `[127.0.0.1]:2222`.
        let known = "|1|o7oeOhcdRaFZJdnc2m2R3xIugXM=|EQc7CqJZHCxjDvVvRmLIvVmwAmo=";
        assert!(is_for(known, "[127.0.0.1]:2222"));
        assert!(!is_for(known, "127.0.0.1"));
    }

    #[test]
    fn lines_that_are_written_are_read_again_and_never_look_alike() {
        let key = russh::keys::PublicKey::from_openssh(&key()).expect("a key").key_data().clone();
        let [text, other] = [(); 2].map(|()| hashed("[h]:2222", &key).expect("a line"));
        let line = parse(&text).expect("whole").expect("a line");
        assert!(line.is_for("[h]:2222") && !line.is_for("h"));
        assert_eq!(line.key(), Ok(Some(key)));
        assert_ne!(text[..32], other[..32]);
    }

    #[test]
    fn tabs_carriage_returns_comments_and_other_types_are_no_obstacle() {
        let key = key();
        for text in [
            format!("\th \t {}\tcomment of several words # here\r\n", key.replace(' ', "\t")),
            format!("  h {key}"),
        ] {
            let line = parse(&text).expect("whole").expect("a line");
            assert!(line.is_for("h") && line.key().expect("whole").is_some(), "{text:?}");
        }
        for text in ["", " \t\r\n", "# h ssh-ed25519 AAAA", "\t#", "#"] {
            assert!(parse(text).expect("not broken").is_none(), "{text:?}");
        }
        let sk = Base64::encode_string(b"\0\0\0\x07ssh-new\0\0\0\x01x");
        let text = format!("h ssh-new {sk}");
        assert_eq!(parse(&text).expect("whole").expect("a line").key(), Ok(None));
    }

    #[test]
    fn markers_are_told_apart() {
        for (text, marker) in [
            ("", Marker::Plain),
            ("@revoked ", Marker::Revoked),
            ("@cert-authority\t", Marker::CertAuthority),
        ] {
            let text = format!("{text}h {}", key());
            assert_eq!(parse(&text).expect("whole").expect("a line").marker, marker);
        }
    }

    #[test]
    fn broken_lines_are_told_with_their_reason() {
        let key = key();
        let cut = &key[..key.len() - 12];
        let long = format!("{} {key}", "h,".repeat(40_000));
        for (text, reason) in [
            (format!("@unknown h {key}"), "an unknown marker"),
            (format!("@revoked @revoked h {key}"), "more than one marker"),
            ("@revoked".to_owned(), "no host after the marker"),
            ("h".to_owned(), "no key after the host"),
            ("h ssh-ed25519".to_owned(), "a key type without a key"),
            ("h 1024 35 1234".to_owned(), "a key of SSH version 1"),
            ("h ssh-ed25519 no*base64".to_owned(), "the key is not base64"),
            (format!("h {key}x"), "the key is not base64"),
            ("h ssh-ed25519 AAAA".to_owned(), "the key is cut off or not of the type named"),
            (
                format!("h {}", key.replace("ssh-ed25519", "ssh-rsa")),
                "the key is cut off or not of the type named",
            ),
            (format!("|2|AAAA|AAAA {key}"), "an unknown kind of hashed name"),
            (format!("!|1|AAAA|AAAA {key}"), "an unknown kind of hashed name"),
            (format!("|1|AAAA|AAAA,h {key}"), "a hashed name must stand alone"),
            (format!("h,|1|AAAA|AAAA {key}"), "an unknown kind of hashed name"),
            (format!("|1|AAAA {key}"), "a hashed name without hash"),
            (format!("|1|AAAA|AAAA {key}"), "a damaged hashed name"),
            (format!("|1||AAAA {key}"), "a damaged hashed name"),
            (format!("h\0 {key}"), "has a zero byte, as no text has"),
            (long, "longer than 64 KiB"),
        ] {
            assert_eq!(parse(&text).err(), Some(reason), "{text:.60}");
        }
        let text = format!("h {cut}");
        let line = parse(&text).expect("its frame is whole").expect("a line");
        assert_eq!(line.key().err(), Some("the key is damaged"));
    }
}
