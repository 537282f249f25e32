//! What is said before the key exchange: our identification, the client's and, where it decides something, what the client offers.
//!
//! A session's offer is fixed before russh hears the client. But chacha20-poly1305 is safe with strict key exchange only
//! (CVE-2023-48795, "Terrapin"), so a client that does not offer that must not be offered this cipher. Clients whose version
//! is known to have it are not waited for: the key exchange signs the identification, so nobody in between can lend it to another.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::elastic::READ_BUFFER;
use super::greeting::KEXINIT;
use super::settings::IDENT;
use crate::io::BoxIo;

/// For the client's identification (reference table: log-in deadline, banner).
const IDENT_LIMIT: Duration = Duration::from_secs(5);

/// For the client's KEXINIT, where that decides. A client may wait for ours first; so it comes after this, with the ciphers that
/// are safe with everybody.
const KEXINIT_LIMIT: Duration = Duration::from_millis(500);

/// Longest identification line with its end (RFC 4253 §4.2).
const LONGEST_IDENT: usize = 255;

/// What a client that knows strict key exchange puts among its key exchange methods (OpenSSH's PROTOCOL §1.10).
const STRICT: &[u8] = b"kex-strict-c-v00@openssh.com";

/// What was heard, and said: our identification and the end of its line.
pub(super) struct Prelude {
    pub(super) heard: Vec<u8>,
    pub(super) said: usize,
    /// The client does strict key exchange.
    pub(super) is_strict: bool,
}

/// Why there was no identification.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// The client went away.
    Gone,
    Slow,
    /// It does not speak SSH 2.
    Nonsense,
}

/// Says who we are and hears who the client is.
pub(super) async fn prelude(io: &mut BoxIo) -> Result<Prelude, Unheard> {
    hear(io, IDENT_LIMIT, KEXINIT_LIMIT).await
}

async fn hear(
    io: &mut BoxIo,
    ident_limit: Duration,
    kexinit_limit: Duration,
) -> Result<Prelude, Unheard> {
    let said = format!("{IDENT}\r\n");
    let mut heard = Vec::with_capacity(READ_BUFFER);
    let identify = async {
        io.write_all(said.as_bytes()).await.map_err(|_| Unheard::Gone)?;
        loop {
            if let Some(end) = end_of_ident(&heard)? {
                return Ok(end);
            }
            read_some(io, &mut heard).await?;
        }
    };
    let end = tokio::time::timeout(ident_limit, identify).await.unwrap_or(Err(Unheard::Slow))?;
    let mut is_strict = is_known_strict(&heard[..end]);
    if !is_strict {
        let offer = async {
            loop {
                match offers_strict(&heard[end..]) {
                    None if heard.len() < READ_BUFFER => read_some(io, &mut heard).await?,
                    found => return Ok(found.unwrap_or(false)),
                }
            }
        };
        is_strict = tokio::time::timeout(kexinit_limit, offer).await.unwrap_or(Ok(false))?;
    }
    Ok(Prelude { heard, said: said.len(), is_strict })
}

/// Cancel-safe.
async fn read_some(io: &mut BoxIo, heard: &mut Vec<u8>) -> Result<(), Unheard> {
    let mut room = (&mut *io).take((READ_BUFFER - heard.len()) as u64);
    match room.read_buf(heard).await {
        Ok(n) if n > 0 => Ok(()),
        _ => Err(Unheard::Gone),
    }
}

/// Where the identification line ends, once it does.
fn end_of_ident(heard: &[u8]) -> Result<Option<usize>, Unheard> {
    let begins = |start: &[u8]| {
        let common = start.len().min(heard.len());
        heard[..common] == start[..common]
    };
    if !begins(b"SSH-2.0-") && !begins(b"SSH-1.99-") {
        return Err(Unheard::Nonsense);
    }
    let line = heard.iter().take(LONGEST_IDENT).position(|b| *b == b'\n');
    match line {
        Some(at) if std::str::from_utf8(&heard[..at]).is_ok() => Ok(Some(at + 1)),
        None if heard.len() < LONGEST_IDENT => Ok(None),
        _ => Err(Unheard::Nonsense),
    }
}

/// alknet, and OpenSSH from 9.6 on.
fn is_known_strict(ident: &[u8]) -> bool {
    let Ok(ident) = std::str::from_utf8(ident) else { return false };
    if ident.starts_with("SSH-2.0-alknet_") {
        return true;
    }
    let version = ident.strip_prefix("SSH-2.0-OpenSSH_").and_then(|rest| rest.split_once('.'));
    let Some((major, rest)) = version else { return false };
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    matches!((major.parse::<u32>(), minor.parse::<u32>()), (Ok(major), Ok(minor)) if (major, minor) >= (9, 6))
}

/// Whether the first packet offers strict key exchange, once enough of it is there: uint32 length, byte padding, byte KEXINIT, byte[16]
/// cookie, and the first name-list.
fn offers_strict(packet: &[u8]) -> Option<bool> {
    if packet.get(5).is_some_and(|kind| *kind != KEXINIT) {
        return Some(false);
    }
    let (length, rest) = packet.get(22..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let names = rest.get(..length);
    match names {
        Some(names) => Some(names.split(|b| *b == b',').any(|name| name == STRICT)),
        None if length > READ_BUFFER => Some(false),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit(names: &str) -> Vec<u8> {
        let mut packet = vec![0, 0, 1, 0, 4, KEXINIT];
        packet.extend([7; 16]);
        packet.extend((names.len() as u32).to_be_bytes());
        packet.extend(names.as_bytes());
        packet.extend([0; 40]);
        packet
    }

    /// What a client that says `bytes`, `chunk` at a time, and then waits gets.
    async fn heard(bytes: &[u8], chunk: usize, limit: u64) -> Result<Prelude, Unheard> {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut near: BoxIo = Box::new(near);
        let limit = Duration::from_millis(limit);
        let talk = async {
            for part in bytes.chunks(chunk) {
                far.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            heard = hear(&mut near, limit, limit) => heard,
            () = talk => unreachable!(),
        }
    }

    #[tokio::test]
    async fn an_offer_is_understood_wherever_it_is_cut() {
        for (names, is_strict) in [
            ("curve25519-sha256,kex-strict-c-v00@openssh.com,ext-info-c", true),
            ("curve25519-sha256,kex-strict-s-v00@openssh.com", false),
            ("xkex-strict-c-v00@openssh.com", false),
            ("", false),
        ] {
            for chunk in [1, 7, 100_000] {
                let said = [b"SSH-2.0-other\r\n".to_vec(), kexinit(names)].concat();
                let prelude = heard(&said, chunk, 20_000).await.unwrap_or_else(|e| panic!("{e:?}"));
                assert_eq!(prelude.is_strict, is_strict, "{names} by {chunk}");
                assert!(said.starts_with(&prelude.heard));
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_for_us_is_taken_for_one_without() {
        let prelude =
            heard(b"SSH-2.0-libssh_0.7\r\n", 100, 200).await.unwrap_or_else(|e| panic!("{e:?}"));
        assert!(!prelude.is_strict);
    }

    #[test]
    fn known_versions_are_not_waited_for() {
        for (ident, is_strict) in [
            ("SSH-2.0-alknet_0\r\n", true),
            ("SSH-2.0-OpenSSH_9.6\r\n", true),
            ("SSH-2.0-OpenSSH_9.6p1 Ubuntu-3\n", true),
            ("SSH-2.0-OpenSSH_10.0p2\r\n", true),
            ("SSH-2.0-OpenSSH_9.5\r\n", false),
            ("SSH-2.0-OpenSSH_8.10\r\n", false),
            ("SSH-2.0-OpenSSH_\r\n", false),
            ("SSH-2.0-notalknet_0\r\n", false),
        ] {
            assert_eq!(is_known_strict(ident.as_bytes()), is_strict, "{ident}");
        }
    }

    #[tokio::test]
    async fn what_is_not_ssh_2_is_refused_at_once_and_silence_after_a_while() {
        let long = [b"SSH-2.0-".to_vec(), vec![b'x'; 300], b"\r\n".to_vec()].concat();
        for (said, why) in [
            (&b"SSH-1.5-old\r\n"[..], Unheard::Nonsense),
            (b"GET / HTTP/1.1\r\n", Unheard::Nonsense),
            (b"\x16\x03\x01\x02\x00", Unheard::Nonsense),
            (b"\r\nSSH-2.0-x\r\n", Unheard::Nonsense),
            (b"SSH-2.0-\xff\xfe\r\n", Unheard::Nonsense),
            (&long, Unheard::Nonsense),
            (b"SSH-2.0-no-end", Unheard::Slow),
            (b"", Unheard::Slow),
        ] {
            assert_eq!(heard(said, 9, 200).await.err(), Some(why), "{said:?}");
        }
    }
}
