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
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
    }

    fn entries(path: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn stems(path: &Path) -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries(path).iter().map(stem).collect()
    }

    #[test]
    fn everything_the_fuzzer_has_kept_still_holds() {
        for (name, holds) in TARGETS {
            let inputs = entries(&folder("corpus").join(name));
            assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
            for path in inputs {
                // Shown when the property does not hold.
                println!("{}", path.display());
                holds(&fs::read(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_target_has_a_binary_and_inputs_and_there_are_no_others() {
        let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(stems(&folder("targets")), names, "fuzz/targets");
        assert_eq!(stems(&folder("corpus")), names, "fuzz/corpus");
        let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
        for name in names {
            let source = fs::read_to_string(folder("targets").join(format!("{name}.rs"))).unwrap();
            assert!(source.contains(&format!("alknet::fuzz::{name}(")), "fuzz/targets/{name}.rs");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml: {name}");
        }
    }

    #[test]
    fn what_is_kept_stays_small() {
        let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
        let all: u64 = TARGETS
            .iter()
            .map(|(name, _)| entries(&folder("corpus").join(name)).iter().map(size).sum::<u64>())
            .sum();
        assert!(all < 300 * 1024, "fuzz/corpus has {all} bytes");
    }

    #[test]
    fn pieces_are_the_whole() {
        let data: Vec<u8> = (0..=255).collect();
        for seed in 0..=255 {
            let data = [&[seed], &data[..]].concat();
            let cut = pieces(&data);
            assert_eq!(cut.concat(), data[1..]);
            assert!(cut.iter().all(|piece| (1..=usize::from(seed) + 1).contains(&piece.len())));
        }
    }

    /// Text with a good share of what these parsers look for.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            prop::sample::select(vec![
                ":",
                "[",
                "]",
                "::1",
                "[::1]",
                "/",
                "?",
                "&",
                "=",
                "@",
                "%",
                " ",
                "\n",
                "\0",
                "+",
                "-",
                "0",
                "22",
                "65535",
                "65536",
                "alknet-",
                "ALKNET-control",
                "alknet://",
                "host",
                "host-key=",
                "SHA256:",
                "udp:",
                "ssh-ed25519 ",
                "restrict ",
                "\u{a0}",
                "é",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    /// A section of a binary list of what is revoked, right more often than not.
    fn section() -> impl Strategy<Value = Vec<u8>> {
        let string = |data: Vec<u8>| [&(data.len() as u32).to_be_bytes()[..], &data].concat();
        let bytes = prop::collection::vec(any::<u8>(), 0..24);
        let facts = (0x1f_u8..0x25, bytes.clone(), 1_u64..9);
        let inner = facts.prop_map(move |(kind, data, number)| {
            let number = number.to_be_bytes().to_vec();
            let data = match kind {
                0x20 => number,
                0x21 => [number, vec![0xff; 8]].concat(),
                0x22 => [number, string(data)].concat(),
                0x23 => string(data),
                _ => data,
            };
            [vec![kind], string(data)].concat()
        });
        let of_all = inner.prop_map(move |inner| [vec![0; 8], inner].concat());
        let hash = (20_usize..33).prop_map(move |length| string(vec![7; length]));
        let data = prop_oneof![of_all.clone(), of_all, hash, bytes.prop_map(string)];
        (prop::sample::select(vec![1_u8, 1, 1, 2, 3, 5, 4, 255, 9]), data)
            .prop_map(move |(kind, data)| [vec![kind], string(data)].concat())
    }

    /// Facts of a certificate, right more often than not.
    fn facts() -> impl Strategy<Value = Vec<&'static str>> {
        let one = |facts: &'static [&'static str]| prop::sample::select(facts);
        let options = [
            "",
            "options restrict",
            r#"options principals="anna,cora""#,
            r#"options from="10.0.0.0/8""#,
            r#"options expiry-time="19700101Z""#,
            "options permit-port-forwarding",
            "options frmo",
        ];
        let critical = [
            "",
            "",
            "critical force-command date",
            "critical source-address 10.0.0.0/8",
            "critical source-address 10.*",
            "critical source-address ::1,!10.0.0.1",
            "critical verify-required",
            "critical shiny",
        ];
        let rest = [
            "",
            "",
            "extension permit-port-forwarding",
            "extension permit-pty",
            "host",
            "after 100",
            "before 100",
            "principal cora",
            "source ::1",
            "source 10.0.0.1",
        ];
        let fixed = [
            one(&["user anna", "user berta"]).boxed(),
            one(&["principal anna", "principal berta", ""]).boxed(),
            one(&["now 150", "now 99", "now 100", "now -5"]).boxed(),
            one(&["before 200", "before 18446744073709551615", "before 0"]).boxed(),
            prop::sample::select(options.to_vec()).boxed(),
            prop::sample::select(critical.to_vec()).boxed(),
            prop::sample::select(rest.to_vec()).boxed(),
            prop::sample::select(rest.to_vec()).boxed(),
        ];
        Vec::from(fixed)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1_000, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn addresses_print_as_they_parse(text in text()) {
            target(text.as_bytes());
        }

        #[test]
        fn what_prints_as_an_address_parses_as_one(
            host in "[a-z0-9.-]{1,30}", address in any::<std::net::Ipv6Addr>(), port in 1_u16..,
        ) {
            for host in [format!("x{host}"), address.to_string()] {
                let at = HostPort { host, port };
                prop_assert_eq!(HostPort::parse(&at.to_string(), None).unwrap(), at.clone());
                prop_assert_eq!(at.to_string().parse::<Target>().unwrap(), Target::Tcp(at));
            }
        }

        #[test]
        fn connection_strings_say_what_they_say(text in text(), query in text()) {
            connection_string(format!("alknet://{text}").as_bytes());
            connection_string(format!("alknet://host:1?host-key={query}").as_bytes());
        }

        #[test]
        fn certificates_let_in_whom_they_should_and_nobody_else(facts in facts()) {
            certificate(facts.join("\n").as_bytes());
        }

        #[test]
        fn what_is_revoked_is_read_or_refused(text in text(), number in "[0-9x-]{0,8}") {
            revoked_keys(text.as_bytes());
            revoked_keys(format!("serial: {number}\nid: {text}").as_bytes());
        }

        #[test]
        fn binary_lists_are_read_or_refused(
            sections in prop::collection::vec(section(), 0..4), cut in 0_usize..64,
        ) {
            let list = [&b"SSHKRL\n\0\0\0\0\x01"[..], &[0; 32], &sections.concat()].concat();
            revoked_keys(&list[..list.len() - cut.saturating_sub(32)]);
        }

        #[test]
        fn host_keys_are_read_or_refused(text in text()) {
            host_keys(text.as_bytes());
            private_key(text.as_bytes());
        }
    }
}
