//! Replays what the fuzzer has found, and feeds each property with text of its own.

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
