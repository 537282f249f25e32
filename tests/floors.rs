//! What must not be in the lock files: versions with a known hole, crates we decided against, addresses of a registry.
#![allow(clippy::expect_used, reason = "a test that cannot read its files has failed")]

use std::fs;
use std::path::Path;

/// Oldest version without the advisory named. Where several release lines were mended, each line has its floor.
const FLOORS: &[(&str, &[&str], &str)] = &[
    ("aws-lc-sys", &["0.39.0"], "RUSTSEC-2026-0044 to -0048"),
    ("bytes", &["1.11.1"], "RUSTSEC-2026-0007"),
    ("ctutils", &["0.4.4"], "RUSTSEC-2026-0385"),
    ("h2", &["0.4.16"], "RUSTSEC-2026-0258"),
    ("idna", &["1.0.0"], "RUSTSEC-2024-0421"),
    ("napi", &["3.16.0"], "a leak when an async function fails; unloading while a worker ends"),
    ("quinn-proto", &["0.11.18"], "RUSTSEC-2026-0037, -0185, -0338 to -0343"),
    ("rand", &["0.8.6", "0.9.3", "0.10.1"], "RUSTSEC-2026-0097"),
    ("russh", &["0.65.1"], "CVE-2026-116774, CVE-2026-116794 and all before"),
    ("rustls", &["0.23.46"], "RUSTSEC-2026-0285, -0346, -0348, -0349"),
    ("rustls-webpki", &["0.103.16"], "RUSTSEC-2026-0382"),
    ("tokio", &["1.44.2"], "RUSTSEC-2025-0023"),
    ("tracing-subscriber", &["0.3.20"], "RUSTSEC-2025-0055"),
    ("tungstenite", &["0.20.1"], "RUSTSEC-2023-0065"),
    ("webpki-roots", &["1.0.10"], "RUSTSEC-2026-0381"),
];

/// Crates that must not be there at all.
const BANNED: &[(&str, &str)] = &[
    ("flate2", "SSH compression is a bomb before log-in (CVE-2026-46702)"),
    ("native-tls", "one TLS stack"),
    ("openssl-sys", "no C library of the system"),
];

type Version = (u64, u64, u64);

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a lock file")
}

fn parse(text: &str) -> Version {
    let plain = text.split(['-', '+']).next().unwrap_or(text);
    let mut parts = plain.split('.').map(|part| part.parse().expect("a number"));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// Versions that promise to be compatible share a line: the major number, or the minor of 0.x.
fn line((major, minor, _): Version) -> (u64, u64) {
    if major == 0 { (0, minor) } else { (major, 0) }
}

fn is_safe(version: Version, floors: &[Version]) -> bool {
    match floors.iter().find(|floor| line(**floor) == line(version)) {
        Some(floor) => version >= *floor,
        None => floors.iter().all(|floor| version > *floor),
    }
}

/// Each crate and its version, of the product and of the fuzzer.
fn locked() -> Vec<(String, String)> {
    let lock = read("Cargo.lock") + &read("fuzz/Cargo.lock");
    let quoted = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches([' ', '=', '"']).to_owned())
    };
    lock.split("[[package]]")
        .skip(1)
        .filter_map(|block| Some((quoted(block, "name")?, quoted(block, "version")?)))
        .collect()
}

#[test]
fn no_locked_crate_is_older_than_its_floor() {
    for (name, version) in locked() {
        let Some((_, floors, why)) = FLOORS.iter().find(|(floor, ..)| *floor == name) else {
            continue;
        };
        let parsed: Vec<Version> = floors.iter().map(|floor| parse(floor)).collect();
        assert!(is_safe(parse(&version), &parsed), "{name} {version} < {floors:?}: {why}");
    }
}

#[test]
fn no_banned_crate_is_locked() {
    for (name, version) in locked() {
        let banned = BANNED.iter().find(|(banned, _)| *banned == name);
        assert!(banned.is_none(), "{name} {version} is banned: {banned:?}");
    }
}

#[test]
fn a_floor_holds_in_its_release_line() {
    let floors = [(0, 8, 6), (0, 9, 3)];
    assert!(is_safe((0, 8, 6), &floors) && is_safe((0, 9, 4), &floors));
    assert!(is_safe((0, 10, 0), &floors) && is_safe((1, 0, 0), &floors));
    assert!(!is_safe((0, 8, 5), &floors) && !is_safe((0, 9, 2), &floors));
    assert!(!is_safe((0, 7, 9), &floors));
}

#[test]
fn npm_locks_name_no_registry() {
    for name in ["package-lock.json", "benches/package-lock.json"] {
        let lock = read(name);
        assert!(
            !lock.contains("\"resolved\""),
            "{name}: `npm install` with the .npmrc of the root"
        );
        assert!(lock.contains("\"integrity\""), "{name} pins by hash");
    }
}

#[test]
fn the_npm_package_has_no_run_time_dependencies() {
    let package: serde_json::Value =
        serde_json::from_str(&read("package.json")).expect("package.json");
    for kind in ["dependencies", "peerDependencies", "bundleDependencies"] {
        assert!(package.get(kind).is_none(), "package.json has {kind}");
    }
    for kind in ["install", "preinstall", "postinstall"] {
        let script = package.pointer(&format!("/scripts/{kind}"));
        assert!(script.is_none(), "whoever installs alknet must not run a {kind} script");
    }
    for (name, version) in package["devDependencies"].as_object().expect("dev dependencies") {
        let version = version.as_str().expect("a version");
        let exact = version.starts_with(|sign: char| sign.is_ascii_digit());
        assert!(exact, "{name} {version} is not an exact version");
    }
}
