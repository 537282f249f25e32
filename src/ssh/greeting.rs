//! What a side says in the clear before encryption: its identification and the cookie of its first KEXINIT (RFC 4253 §4.2, §7.1).
//!
//! The two cookies name a session alike on both ends: they are random, and the key exchange signs them.

/// Kept of a greeting: more than any identification, its preceding lines and a cookie need.
pub(super) const LONGEST: usize = 4 * 1024;

/// Message number of KEXINIT (RFC 4253 §12).
pub(super) const KEXINIT: u8 = 20;

/// Bytes of a KEXINIT cookie.
const COOKIE: usize = 16;

/// One side's greeting, as far as it has been heard.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    heard: Vec<u8>,
    cookie: Option<[u8; COOKIE]>,
}

impl Greeting {
    /// Listens in. Returns whether there is more to hear.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> bool {
        let room = LONGEST.saturating_sub(self.heard.len());
        self.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cookie = self.find_cookie();
        let more = self.cookie.is_none() && self.heard.len() < LONGEST;
        if self.cookie.is_some() {
            self.heard = Vec::new();
        }
        more
    }

    /// Bytes kept.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn held(&self) -> usize {
        self.heard.len()
    }

    /// The cookie, once a whole KEXINIT header has been heard.
    pub(super) fn cookie(&self) -> Option<[u8; COOKIE]> {
        self.cookie
    }

    /// What was said instead of an SSH greeting; `None` when nothing was, or nothing is wrong with it so far.
    pub(super) fn nonsense(&self) -> Option<String> {
        if self.cookie.is_some() || self.heard.is_empty() {
            return None;
        }
        if self.heard == self.identification().unwrap_or_default()
            && self.heard.starts_with(b"SSH-2.0-")
        {
            return None;
        }
        let start = String::from_utf8_lossy(&self.heard[..self.heard.len().min(40)]);
        Some(start.escape_debug().to_string())
    }

    /// The identification line, with its end.
    fn identification(&self) -> Option<&[u8]> {
        self.heard.split_inclusive(|b| *b == b'\n').find(|line| line.starts_with(b"SSH-"))
    }

    fn find_cookie(&self) -> Option<[u8; COOKIE]> {
        let mut end = 0;
        let line = self.heard.split_inclusive(|b| *b == b'\n').find(|line| {
            end += line.len();
            line.starts_with(b"SSH-")
        })?;
        // uint32 packet_length, byte padding_length, byte SSH_MSG_KEXINIT, byte[16] cookie
        let packet = self.heard.get(end..end + 6 + COOKIE)?;
        if !line.ends_with(b"\n") || packet[5] != KEXINIT {
            return None;
        }
        packet[6..].try_into().ok()
    }
}

/// A session's name from the client's and the server's cookie: 32 hex digits.
pub(super) fn session_id(client: &Greeting, server: &Greeting) -> String {
    let (client, server) =
        (client.cookie().unwrap_or_default(), server.cookie().unwrap_or_default());
    client.iter().zip(server).map(|(a, b)| format!("{:02x}", a ^ b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Vec<u8> {
        let mut bytes = b"hello\r\nSSH-2.0-x\r\n\0\0\x01\0\x04\x14".to_vec();
        bytes.extend(1..=16);
        bytes
    }

    #[test]
    fn a_cookie_is_found_wherever_the_greeting_is_cut() {
        let whole = greeting();
        for cut in 0..whole.len() {
            let mut heard = Greeting::default();
            assert!(heard.hear(&whole[..cut]));
            assert!(!heard.hear(&whole[cut..]), "cut at {cut}");
            assert_eq!(heard.cookie().map(|c| c[15]), Some(16));
        }
    }

    #[test]
    fn other_protocols_are_nonsense() {
        for (said, is_nonsense) in [
            (&b""[..], false),
            (b"SSH-2.0-x\r\n", false),
            (b"HTTP/1.1 400 Bad Request\r\n", true),
            (b"SSH-1.5-old\r\n", true),
            (b"SSH-2.0-x\r\n\0\0\0\x0c\0\0\0\x0c\0\0", true),
        ] {
            let mut heard = Greeting::default();
            heard.hear(said);
            assert_eq!(heard.nonsense().is_some(), is_nonsense, "{said:?}");
        }
    }
}
