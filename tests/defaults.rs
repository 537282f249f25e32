//! docs/defaults.md and index.d.ts against the code: whoever changes a default changes what is said of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its files has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use alknet::event::{DEFAULT_MAX_FRAME, LARGEST_MAX_FRAME};
use alknet::{
    ConnectOptions, ForwardOptions, ForwardPolicy, Keepalive, Limits, Penalties, ServeOptions,
    TlsVersion,
};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// `1 048 576` as it is counted, and anything else as it is.
fn plain(text: &str) -> String {
    let text = text.trim().trim_matches('`');
    let digits: String = text.chars().filter(|sign| !sign.is_whitespace()).collect();
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits } else { text.to_owned() }
}

/// Option to default, from all tables of the page.
fn page() -> BTreeMap<String, String> {
    let page = read("docs/defaults.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let row = |row: &str| {
        let mut cells = row.trim_matches('|').split('|').map(plain);
        (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    };
    rows.map(row).collect()
}

/// Option to the number or `word` that its comment calls the default, of one interface of index.d.ts.
fn declared(interface: &str) -> BTreeMap<String, String> {
    let types = read("index.d.ts");
    let (_, rest) = types.split_once(&format!("export interface {interface} ")).expect(interface);
    let (body, _) = rest.split_once("\n}").expect("its end");
    let mut found = BTreeMap::new();
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if line.starts_with('/') || line.starts_with('*') {
            comment += line;
        } else if let Some((name, _)) = line.split_once("?:") {
            let default: Option<String> =
                comment.split_once("Default ").map(|(_, rest)| match rest.strip_prefix('`') {
                    Some(word) => word.chars().take_while(|sign| *sign != '`').collect(),
                    None => rest
                        .chars()
                        .take_while(|sign| sign.is_ascii_digit() || *sign == ' ')
                        .collect(),
                });
            found.insert(name.to_owned(), plain(&default.unwrap_or_default()));
            comment.clear();
        }
    }
    found
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}

/// `20s`, `300ms` or `1.5s`, as `Duration` prints itself, in milliseconds; a number as it is.
fn value(printed: &str) -> String {
    let of = |number: &str, unit: f64| {
        number.parse::<f64>().ok().map(|number| format!("{}", number * unit))
    };
    let milliseconds = printed.strip_suffix("ms").and_then(|number| of(number, 1.0));
    let seconds = || printed.strip_suffix('s').and_then(|number| of(number, 1000.0));
    milliseconds.or_else(seconds).unwrap_or_else(|| printed.to_owned())
}

/// The fields of a struct, whatever they are by now, but for those that are structs.
fn fields(printed: &str) -> BTreeMap<String, String> {
    let field = |line: &str| {
        let (name, printed) = line.strip_prefix("    ")?.trim_end_matches(',').split_once(": ")?;
        (!name.starts_with(' ') && printed != "Some(" && printed != "[]")
            .then(|| (camel(name), value(printed)))
    };
    printed.lines().filter_map(field).collect()
}

#[test]
fn the_bounds_of_a_server_are_those_of_the_types_and_of_the_page() {
    let limits = fields(&format!("{:#?}", Limits::default()));
    assert!(limits.len() >= 14, "{limits:?}");
    let mut typed = declared("AlknetLimits");
    assert!(typed.remove("penalties").is_some() && typed.remove("exempt").is_some());
    assert_eq!(typed, limits, "index.d.ts and src/auth/limits.rs");
    let penalties = fields(&format!("{:#?}", Penalties::default()));
    assert_eq!(declared("AlknetPenalties"), penalties, "index.d.ts and src/auth/limits.rs");
    for (prefix, code) in [("limits.", limits), ("penalties.", penalties)] {
        let said = page().into_iter();
        let said: BTreeMap<_, _> = said
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
            .collect();
        assert_eq!(said, code, "docs/defaults.md and src/auth/limits.rs");
    }
}

#[test]
fn what_a_server_forwards_is_what_the_types_and_the_page_say() {
    assert!(ServeOptions::default().forwarding.is_none());
    assert_eq!(declared("AlknetServeOptions")["forwarding"], "false");
    let policy = fields(&format!("{:#?}", ForwardPolicy::default()));
    assert_eq!(policy.len(), 7);
    assert_eq!(declared("AlknetForwardPolicy"), policy, "index.d.ts and src/server/forward.rs");
    let mut said = page();
    assert_eq!(said.remove("forwarding").as_deref(), Some("false"));
    let said: BTreeMap<_, _> = said
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("forwarding.")?.to_owned(), value)))
        .collect();
    assert_eq!(said, policy, "docs/defaults.md and src/server/forward.rs");
}

#[test]
fn the_other_defaults_are_those_of_the_types_and_of_the_page() {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    let connect = ConnectOptions::default();
    let keepalive = Keepalive::default();
    let connections = ForwardOptions::default().max_connections.to_string();
    let udp_idle = milliseconds(ForwardOptions::default().udp_idle);
    assert_eq!(connect.window, ServeOptions::default().window);
    let tls_min = |version: TlsVersion| format!("'{}'", version.as_str());
    let (asked, served) = (tls_min(connect.tls_min), tls_min(ServeOptions::default().tls_min));
    let page = page();
    for (option, interface, code) in [
        ("listen", None, ServeOptions::default().listen.join(",")),
        ("user", None, connect.user),
        ("connectTimeout", Some("AlknetConnectOptions"), milliseconds(connect.timeout)),
        ("keepalive.interval", Some("AlknetKeepalive"), milliseconds(keepalive.interval)),
        ("keepalive.count", Some("AlknetKeepalive"), keepalive.count.to_string()),
        ("tlsMin", Some("AlknetConnectOptions"), asked),
        ("tlsMin", Some("AlknetServeOptions"), served),
        ("maxConnections", Some("AlknetForwardOptions"), connections.clone()),
        ("maxConnections", Some("AlknetSocksOptions"), connections),
        ("udpIdleTimeout", Some("AlknetForwardOptions"), udp_idle),
        ("maxFrame", Some("AlknetEventTargetOptions"), DEFAULT_MAX_FRAME.to_string()),
        ("maxFrame", Some("FrameStreamOptions"), DEFAULT_MAX_FRAME.to_string()),
    ] {
        assert_eq!(page.get(option), Some(&code), "docs/defaults.md, {option}");
        let name = option.split('.').next_back().unwrap_or(option);
        if let Some(interface) = interface {
            let declared = declared(interface);
            assert_eq!(declared.get(name), Some(&code), "index.d.ts, {interface}.{name}");
        }
    }
    assert_eq!(page["window"], connect.window.to_string());
    assert_eq!(page["maxBuffered"], declared("AlknetEventTargetOptions")["maxBuffered"]);
    let text = read("docs/defaults.md");
    assert!(plain(&text.replace(' ', "")).contains(&LARGEST_MAX_FRAME.to_string()));
}
