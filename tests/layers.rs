//! The walls of the house: which room may know which, who may see russh and sockets, how long a file may get.
//!
//! The table is that of docs/architecture.md. A room is a top-level module of `src/`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its files has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const GROUND: &[&str] =
    &["backoff", "config", "error", "io", "nats", "private", "runtime", "scope", "target"];
const SEAM: &[&str] = &["dial", "listen"];

/// Every room, and what it may know besides itself. Rooms of one level do not see each other, the ground floor excepted.
fn rooms() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut rooms = BTreeMap::new();
    let mut add = |names: &[&'static str], known: &[&[&'static str]]| {
        for name in names {
            rooms.insert(*name, known.concat());
        }
    };
    add(GROUND, &[GROUND]);
    add(SEAM, &[GROUND]);
    add(&["http"], &[GROUND, &["listen"]]);
    add(&["transport"], &[GROUND, SEAM, &["http"]]);
    add(&["auth", "event"], &[GROUND]);
    add(&["ssh"], &[GROUND, SEAM, &["auth"]]);
    add(&["forward"], &[GROUND, SEAM]);
    add(&["tunnel"], &[GROUND, SEAM, &["http", "transport"]]);
    let composed = ["auth", "event", "forward", "http", "ssh", "transport", "tunnel"];
    add(&["client", "server"], &[GROUND, SEAM, &composed]);
    add(&["fuzz"], &[GROUND, &["auth", "client", "event", "ssh", "tunnel"]]);
    add(&["manage"], &[GROUND, SEAM, &["client", "server", "transport"]]);
    add(
        &["agent", "cli", "main", "program"],
        &[GROUND, &["auth", "client", "event", "manage", "server", "ssh", "tunnel"]],
    );
    rooms
}

/// Names that only some rooms may spell.
const RESERVED: &[(&str, &[&str])] = &[
    ("russh", &["auth", "ssh"]),
    ("TcpStream", &["dial", "listen", "transport"]),
    ("TcpListener", &["dial", "listen", "transport"]),
    ("clap", &["cli", "main"]),
    ("pty_process", &["tunnel"]),
    ("hyper", &["http"]),
    ("tokio_tungstenite", &["http"]),
    ("tokio_rustls", &["transport"]),
    ("instant_acme", &["transport"]),
    ("async_nats", &["event", "nats", "tunnel"]),
];

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments, so that a doc link is not a dependency.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the house") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let inside = path.strip_prefix(&src).expect("a path under src/").with_extension("");
        let room = inside.iter().next().expect("a name").to_string_lossy().into_owned();
        let code: Vec<&str> =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        Source { room, code: code.join("\n"), path }
    };
    files("src", "rs").into_iter().map(read).collect()
}

/// The first names after each `crate::`, those of `crate::{a::…, b}` too.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(is_word) || code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(heads_of_group(group)),
            None => used.extend(head(rest)),
        }
    }
    used
}

fn heads_of_group(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads: Vec<String> = head(group).into_iter().collect();
    for (at, sign) in group.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}

fn head(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|sign| is_word(*sign)).collect();
    (!word.is_empty()).then_some(word)
}

/// The code before the tests at the end of the file.
fn production(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or(code)
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

fn spells(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(is_word) && !after.starts_with(is_word)
    })
}

#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn each_room_knows_only_what_the_table_allows() {
    let rooms = rooms();
    let mut faults = Vec::new();
    for Source { path, room, code, .. } in sources().iter().filter(|source| source.room != "lib") {
        let path = path.display();
        let Some(allowed) = rooms.get(room.as_str()) else {
            faults.push(format!("{path}: the room `{room}` is not in the table"));
            continue;
        };
        for used in rooms_used(code) {
            if !rooms.contains_key(used.as_str()) {
                faults.push(format!("{path}: `crate::{used}` hides a room; write the room's path"));
            } else if used != *room && !allowed.contains(&used.as_str()) {
                faults.push(format!("{path}: `{room}` must not know `{used}`"));
            }
        }
        if production(code).contains("super::super::") {
            faults.push(format!("{path}: `super::super::` hides a room; write the room's path"));
        }
    }
    assert_none(&faults);
}

#[test]
fn some_names_belong_to_some_rooms() {
    let mut faults = Vec::new();
    for Source { path, room, code, .. } in sources() {
        let production = production(&code);
        for (name, allowed) in RESERVED {
            if spells(production, name) && !allowed.contains(&room.as_str()) {
                faults.push(format!("{}: `{room}` must not spell `{name}`", path.display()));
            }
        }
        let beyond_keys = production.match_indices("russh::").any(|(at, _)| {
            let rest = &production[at + "russh::".len()..];
            !rest.starts_with("keys::")
        });
        if room == "auth" && beyond_keys {
            faults.push(format!("{}: `auth` may see russh::keys only", path.display()));
        }
    }
    assert_none(&faults);
}

#[test]
fn the_core_forbids_unsafe_code() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    assert!(lib.contains("#![forbid(unsafe_code)]"), "src/lib.rs must forbid unsafe code");
}

#[test]
fn the_binding_depends_on_the_core_and_napi_only() {
    let manifest = fs::read_to_string(root().join("binding/Cargo.toml")).expect("its manifest");
    let mut section = "";
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once('=') {
            let name = key.trim().split('.').next().unwrap_or_default();
            found.entry(section).or_default().insert(name);
        }
    }
    let listed = |section: &str| found.get(section).cloned().unwrap_or_default();
    let allowed = BTreeSet::from(["alknet", "mimalloc", "napi", "napi-derive", "tokio"]);
    assert_eq!(listed("dependencies"), allowed);
    assert_eq!(listed("build-dependencies"), BTreeSet::from(["napi-build"]));
    let others: Vec<_> = found.keys().filter(|name| name.contains("dependencies")).collect();
    assert_eq!(others.len(), 2, "no other dependency sections: {others:?}");
}

#[test]
fn no_file_outgrows_its_reader() {
    const LIMIT: usize = 400;
    let places = [("src", "rs"), ("binding", "rs"), ("ts", "ts"), ("scripts", "mjs")];
    let mut faults = Vec::new();
    for path in places.into_iter().flat_map(|(folder, extension)| files(folder, extension)) {
        let lines = fs::read_to_string(&path).expect("a source file").lines().count();
        if lines > LIMIT {
            faults.push(format!("{}: {lines} lines, the limit is {LIMIT}", path.display()));
        }
    }
    assert_none(&faults);
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let code = "use crate::{error::{Code, Error}, io::BoxIo};\nlet x = crate::ssh::y(); $crate::no";
    let expected = ["error", "io", "ssh"].map(String::from);
    assert_eq!(rooms_used(code), BTreeSet::from(expected));
    assert!(spells("a russh::b", "russh") && !spells("a russh_keys", "russh"));
}
