//! What must hold of every parser and decoder whatever it is given: one function each, for the fuzzer (`fuzz/`) and for the tests,
//! which replay what the fuzzer has found.
//!
//! Not part of the API. The functions panic when a property does not hold.
#![allow(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

use std::str;

use crate::auth::fuzz as auth;
use crate::auth::fuzz_certificate as certificates;
use crate::client::ConnectOptions;
use crate::event::fuzz as event;
use crate::ssh::fuzz as ssh;
use crate::target::{HostPort, Target};
#[cfg(feature = "ws")]
use crate::tunnel::fuzz as tunnel;

/// Panics when what must hold does not.
pub type Property = fn(&[u8]);

/// Every target: its name, which is that of its binary and of its folder of inputs in `fuzz/`, and what must hold.
pub const TARGETS: &[(&str, Property)] = &[
    ("authorized_keys", authorized_keys),
    ("certificate", certificate),
    ("connection_string", connection_string),
    ("envelope", envelope),
    ("frames", frames),
    ("greeting", greeting),
    ("host_keys", host_keys),
    ("known_hosts", known_hosts),
    ("private_key", private_key),
    ("revoked_keys", revoked_keys),
    ("spare", spare),
    ("target", target),
    #[cfg(feature = "ws")]
    ("tunnel", tunnel),
];

/// A target, and an address with and without a port: they print as they parse.
pub fn target(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(target.to_string().parse::<Target>().ok().as_ref(), Some(&target));
        if let Some((host, port)) = target.to_open() {
            assert_eq!(Target::from_open(&host, port).ok(), Some(target));
        }
    }
    for default_port in [None, Some(22)] {
        let Ok(at) = HostPort::parse(text, default_port) else { continue };
        assert!(!at.host.is_empty() && !at.host.contains(char::is_whitespace));
        assert_eq!(HostPort::parse(&at.to_string(), None).ok().as_ref(), Some(&at));
        assert_eq!(HostPort::parse(text, Some(22)).ok(), Some(at), "a default changes nothing");
    }
    if let Some((port, host)) = data.split_first_chunk() {
        opened(&String::from_utf8_lossy(host), u32::from_be_bytes(*port));
    }
    opened(text, 80);
}

/// What a peer may ask for is dialled as it was asked, or not at all; reserved names never are.
fn opened(host: &str, port: u32) {
    let Ok(target) = Target::from_open(host, port) else { return };
    let again = target.to_open().expect("what came in an open goes into one");
    match &target {
        Target::Tcp(at) | Target::Udp(at) => {
            assert_eq!((again.0.as_str(), again.1), (host, port));
            assert!(host.ends_with(&at.host) && !at.host.is_empty());
            assert_eq!(u32::from(at.port), port);
            assert!(port != 0 && !at.host.trim().to_ascii_lowercase().starts_with("alknet-"));
        }
        Target::Reserved(name) => assert_eq!(name, host),
        Target::Unix(_) => unreachable!("a path has an open of its own"),
    }
}

/// A connection string says what it says when it is put together again.
pub fn connection_string(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let parse = |text: &str| ConnectOptions::default().connection_string(text);
    let Ok(options) = parse(text) else { return };
    let at = options.server.split('/').next().unwrap_or_default();
    HostPort::parse(at, Some(22)).expect("a server's address");
    let keys = options.host_keys.iter().map(|key| format!("host-key={key}"));
    let transports = options.transport.iter().map(|name| format!("transport={name}"));
    let query: Vec<_> = keys.chain(transports).collect();
    let again = parse(&format!("alknet://{}?{}", options.server, query.join("&"))).expect("again");
    // Blanks around the whole are nobody's, and keys are read without.
    let trimmed =
        |keys: &[String]| keys.iter().map(|key| key.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!((&again.server, &again.transport), (&options.server, &options.transport));
    assert_eq!(trimmed(&again.host_keys), trimmed(&options.host_keys));
}

/// Frames. The first byte says how the stream is cut, the second the limit: a power of two up to 64 MiB.
pub fn frames(data: &[u8]) {
    let Some((limit, data)) = data.split_first() else { return };
    event::frames(1 << (limit % 27), &pieces(data));
}

/// Messages of the tunnel, each behind its length in one byte.
#[cfg(feature = "ws")]
pub fn tunnel(data: &[u8]) {
    tunnel::messages(data);
}

/// An event frame's body.
pub fn envelope(data: &[u8]) {
    event::envelope(data);
}

/// What a peer says before SSH begins. The first byte says how it is cut.
pub fn greeting(data: &[u8]) {
    ssh::greeting(&pieces(data));
}

/// What comes first on a channel that was opened in advance, in pieces.
pub fn spare(data: &[u8]) {
    ssh::spare(&pieces(data));
}

/// An expected host key.
pub fn host_keys(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        auth::host_keys(text);
    }
}

/// An `authorized_keys` file.
pub fn authorized_keys(data: &[u8]) {
    auth::authorized_keys(data);
}

/// A certificate: its file, what a peer sends, or a description of one that is then signed.
pub fn certificate(data: &[u8]) {
    certificates::certificates(data);
}

/// A list of what is revoked.
pub fn revoked_keys(data: &[u8]) {
    certificates::revoked_keys(data);
}

/// A `known_hosts` file.
pub fn known_hosts(data: &[u8]) {
    auth::known_hosts(data);
}

/// A private key file, whole and without its coat.
pub fn private_key(data: &[u8]) {
    auth::private_key(data);
}

/// Cuts what follows the first byte into pieces of lengths that it decides: 1 to 1 + its value.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let Some((&seed, mut rest)) = data.split_first() else { return Vec::new() };
    let seed = u32::from(seed);
    let mut state = seed;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + ((state >> 8) % (seed + 1)) as usize;
        let (piece, left) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

#[cfg(test)]
mod tests;
