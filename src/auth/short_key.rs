//! The one ECDSA key on P-256 in 256 whose private number begins with a zero byte: OpenSSH leaves the byte out, and the decoder
//! underneath wants it. Reads such a key, and no other.

use russh::keys::ssh_encoding::Decode;
use russh::keys::ssh_encoding::base64::{Base64, Encoding};
use russh::keys::ssh_key::private::{EcdsaKeypair, EcdsaPrivateKey, KeypairData};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::sec1::EncodedPoint;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};
use zeroize::Zeroizing;

/// What every file begins with (PROTOCOL.key).
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Bytes of a private number on P-256 that is whole.
const WHOLE: usize = 32;

/// Bytes of the tag behind what is encrypted with one.
const TAG: usize = 16;

pub(super) const P256: Algorithm = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };

/// Reads a key file without passphrase.
#[inline(never)]
pub(super) fn read(text: &str) -> Option<PrivateKey> {
    let bytes = without_coat(text)?;
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let [cipher, _kdf, _options] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?];
    let count = u32::decode(&mut rest).ok()?;
    let (public, section) = (take(&mut rest)?, take(&mut rest)?);
    if cipher != b"none" || count != 1 {
        return None;
    }
    parse(section, &KeyData::decode(&mut &*public).ok()?)
}

/// Reads a key that was read but for what its passphrase hides.
#[inline(never)]
pub(super) fn decrypt(key: &PrivateKey, passphrase: &[u8]) -> Option<PrivateKey> {
    let cipher = key.cipher();
    let mut section = Zeroizing::new(key.key_data().encrypted()?.to_vec());
    let file = key.to_bytes().ok()?;
    let tag = cipher.has_tag().then(|| file.last_chunk::<TAG>()).flatten();
    let (secret, iv) = key.kdf().derive_key_and_iv(cipher, passphrase).ok()?;
    cipher.decrypt(&secret, &iv, &mut section, tag.map(|tag| (*tag).into())).ok()?;
    parse(&section, key.public_key().key_data())
}

/// Reads the private part of a file: PROTOCOL.key, §3.
fn parse(section: &[u8], public: &KeyData) -> Option<PrivateKey> {
    let mut rest = section;
    let checks = [u32::decode(&mut rest).ok()?, u32::decode(&mut rest).ok()?];
    let [kind, curve, point] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?];
    let (number, comment) = (take(&mut rest)?, take(&mut rest)?);
    let is_padding = (1..).zip(rest).all(|(count, byte)| count == *byte);
    if checks[0] != checks[1] || kind != b"ecdsa-sha2-nistp256" || curve != b"nistp256" {
        return None;
    }
    if number.len() >= WHOLE || rest.len() > TAG || !is_padding {
        return None;
    }
    let mut whole = Zeroizing::new([0; WHOLE]);
    whole[WHOLE - number.len()..].copy_from_slice(number);
    let public_point = EncodedPoint::from_bytes(point).ok()?;
    let private = EcdsaPrivateKey::from(*whole);
    let pair = EcdsaKeypair::NistP256 { public: public_point, private };
    let comment = String::from_utf8_lossy(comment).into_owned();
    let key = PrivateKey::new(KeypairData::Ecdsa(pair), comment).ok()?;
    (key.public_key().key_data() == public).then_some(key)
}

/// The bytes between the first and the last line.
fn without_coat(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
    for line in text.lines().filter(|line| !line.starts_with("-----")) {
        encoded.push_str(line.trim());
    }
    let mut bytes = Zeroizing::new(vec![0; encoded.len()]);
    let length = Base64::decode(&*encoded, &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// The next string: four bytes of length, then as many.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::decode(rest).ok()?;
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use russh::keys::signature::{Signer, Verifier};

    use super::*;
    use crate::auth::{KeySource, Locked, Passphrase, Use};

    /// What ssh-keygen made at the 258th attempt: plain, and with the passphrase `zero` under AES-CTR and AES-GCM.
    const FILES: [&str; 3] = [
        "-----BEGIN OPENSSH PRIVATE KEY-----\n\
         b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS\n\
         1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQSQir0zd8+U0rtgpB1CABiStfjE+Qt3\n\
         7nJXYEhHWc/YKGFDtHi+KTg9T4dLfk6HYh5kLobJja+xV9I5r7/lcxCSAAAAoDkFnz85BZ\n\
         8/AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJCKvTN3z5TSu2Ck\n\
         HUIAGJK1+MT5C3fucldgSEdZz9goYUO0eL4pOD1Ph0t+TodiHmQuhsmNr7FX0jmvv+VzEJ\n\
         IAAAAfKxo/yS+7uE0K5TRUbrFUNo5O9MTfFE73z2E06mHxzgAAAAVzaG9ydAECAwQ=\n\
         -----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n\
         b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAPrBxkKg\n\
         tTIL6vmrN+QVFSAAAABAAAAAEAAABoAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlz\n\
         dHAyNTYAAABBBJCKvTN3z5TSu2CkHUIAGJK1+MT5C3fucldgSEdZz9goYUO0eL4pOD1Ph0\n\
         t+TodiHmQuhsmNr7FX0jmvv+VzEJIAAACg3el9VwMST2QRX+gSVZNNpTeJbnNvRYA4kwFl\n\
         Ii7InpC9qGUVsxWt+zDCdN3fKFmsKGHnYJMNYb84FcA733sgTo6dingR5N/QieRu/K6o7l\n\
         8wtQ667CJNDrpuC/OR+AJbt4+c2tFSzJGnEJFzXYAva+a+Ce74nUl9wv4hbXaKy8QzclF2\n\
         mJqYUvHR2161PtkkxLqVGPwmaYNs2Vtd5rvxAA==\n\
         -----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n\
         b3BlbnNzaC1rZXktdjEAAAAAFmFlczI1Ni1nY21Ab3BlbnNzaC5jb20AAAAGYmNyeXB0AA\n\
         AAGAAAABD1h+4JGius8dfjNkitfIhdAAAABAAAAAEAAABoAAAAE2VjZHNhLXNoYTItbmlz\n\
         dHAyNTYAAAAIbmlzdHAyNTYAAABBBJCKvTN3z5TSu2CkHUIAGJK1+MT5C3fucldgSEdZz9\n\
         goYUO0eL4pOD1Ph0t+TodiHmQuhsmNr7FX0jmvv+VzEJIAAACgOwfM4TNtjARqCc2HsLy+\n\
         a8NNe/nInhlkqBJx4x9gf5k4l5q8v40Rp5S/HwAUYPaSSdRpCSEMzv5SzupE5V5yso/1sj\n\
         LRXFfd//4mDWuxf6BkglYA227M+2q6NVqOWDoLpUwhhCGwGT79r4TReKVod7k0GlIR0yeS\n\
         Y5Sxr4k95dDT/ViXsjOWwdOg/lxsVNEsOJurj0puHOd3A0iocsghWjTIoS2e4xrR8zIwRF\n\
         cU0As=\n\
         -----END OPENSSH PRIVATE KEY-----",
    ];

    #[test]
    fn the_one_key_in_256_is_read_and_signs() {
        for text in FILES {
            let (source, passphrase) = (KeySource::memory(text), Passphrase::new("zero"));
            let passphrase = Some(&passphrase);
            let locked = Locked { source: &source, passphrase, insecure_permissions: false };
            let key = locked.load(Use::User).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(
                crate::auth::fingerprint(key.public_key()),
                "SHA256:lTK5fh0LTVfYwV391ABoKvCc4vIqTjy5FIEmaFdkOoE"
            );
            assert_eq!(key.public_key().comment().as_str_lossy(), "short");
            let signature = key.key_data().try_sign(b"data").expect("a signature");
            key.public_key().key_data().verify(b"data", &signature).expect("its own");
        }
    }

    #[test]
    fn a_wrong_passphrase_and_a_damaged_key_are_still_refused() {
        for (text, passphrase) in [
            (FILES[1].to_owned(), "null"),
            (FILES[2].to_owned(), "null"),
            (FILES[0].replace("ydAECAwQ=", "ydAECAwU="), ""),
            (FILES[0].replace("oDkFnz85BZ", "oDkFnz86BZ"), ""),
        ] {
            let (source, passphrase) = (KeySource::memory(text), Passphrase::new(passphrase));
            let passphrase = Some(&passphrase);
            let locked = Locked { source: &source, passphrase, insecure_permissions: false };
            assert!(locked.load(Use::User).is_err());
        }
    }

    #[test]
    fn no_cut_and_no_byte_in_the_way_makes_it_panic() {
        let whole = without_coat(FILES[0]).expect("its bytes");
        for end in 0..whole.len() {
            for odd in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[end] = odd;
                for bytes in [&bytes[..], &whole[..end]] {
                    let _ = read(&Base64::encode_string(bytes));
                }
            }
        }
    }
}
