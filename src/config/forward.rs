//! Forward specs: `[bind:]port:host:port` and its relatives, as `ssh -L` and `ssh -R` take them, and `udp:` before them.
//!
//! ```text
//! spec      = [ "udp:" ] [ bind ":" ] port ":" host ":" port
//!           | [ bind ":" ] port ":" socket-path
//!           | socket-path ":" host ":" port
//!           | socket-path ":" socket-path
//! bind,host = name | IPv4 | "[" IPv6 "]"            bind alone: "*" and ""
//! ```
//!
//! A socket path begins with `/`, or with `@` for an abstract socket of Linux. As the first part it ends at the next colon; as the
//! last it may have colons in it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::target::{HostPort, Target, is_path, parse_port};

/// Where a forward listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// A port.
    Port {
        /// `None` and `localhost`: loopback, IPv4 and IPv6. `*` and the empty text: every address. Else a name or an address, without
        /// brackets.
        host: Option<String>,
        /// 0 takes a free one.
        port: u16,
    },
    /// The path of a Unix socket, or `@name`.
    Unix(String),
}

/// A forward: where it listens and where that leads. Parses and prints to the same text.
///
/// `8080:db.internal:5432`, `*:8080:db:5432`, `[::1]:8080:[2001:db8::1]:80`, `8080:/run/app.sock`, `/tmp/near.sock:db:5432`,
/// `udp:5353:dns.internal:53`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortForwardSpec {
    listen: Bind,
    target: Target,
}

impl PortForwardSpec {
    /// A forward from `listen` to `target`.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when the two do not go together: UDP needs a port on both sides, and reserved names are no targets.
    pub fn new(listen: Bind, target: Target) -> Result<Self> {
        match (&listen, &target) {
            (_, Target::Reserved(name)) => {
                Err(Error::config(format!("forward to {name:?}: reserved names have no port")))
            }
            (Bind::Unix(_), Target::Udp(_)) => {
                Err(Error::config("a UDP forward listens on a port, not on a socket path"))
            }
            _ => Ok(Self { listen, target }),
        }
    }

    /// Where it listens.
    pub fn listen(&self) -> &Bind {
        &self.listen
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl FromStr for PortForwardSpec {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self> {
        let bad = |why: String| Error::config(format!("forward {spec:?}: {why}"));
        let parsed = match spec.strip_prefix("udp:") {
            Some(rest) => parse(rest).and_then(|(listen, target)| match target {
                Target::Tcp(at) => Ok((listen, Target::Udp(at))),
                _ => Err("a UDP forward leads to a host and a port".into()),
            }),
            None => parse(spec),
        };
        let (listen, target) = parsed.map_err(bad)?;
        Self::new(listen, target).map_err(|e| bad(e.to_string()))
    }
}

impl fmt::Display for PortForwardSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Udp(at) => write!(f, "udp:{}:{at}", self.listen),
            target => write!(f, "{}:{target}", self.listen),
        }
    }
}

impl FromStr for Bind {
    type Err = Error;

    /// `port`, `bind:port` or a socket path.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::config(format!("listen {text:?}: {why}"));
        if is_path(text) {
            Target::from_path(text).map_err(|e| bad(e.to_string()))?;
            return Ok(Self::Unix(text.to_owned()));
        }
        let fields = split(text).map_err(bad)?;
        bind(&fields).map_err(bad)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { host: None, port } => write!(f, "{port}"),
            Self::Port { host: Some(host), port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Port { host: Some(host), port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

type Why<T> = Result<T, String>;

/// A part between colons.
#[derive(Clone, Copy)]
struct Field<'a> {
    text: &'a str,
    /// It stood in brackets, which are gone.
    bracketed: bool,
}

fn parse(spec: &str) -> Why<(Bind, Target)> {
    if is_path(spec) {
        let (path, target) = spec.split_once(':').ok_or("it leads nowhere: add a target")?;
        return Ok((Bind::Unix(socket(path)?), parse_target(target)?));
    }
    if let Some((listen, path)) = split_at_path(spec) {
        return Ok((bind(&split(listen)?)?, Target::Unix(socket(path)?)));
    }
    let fields = split(spec)?;
    match fields.len() {
        0..=2 => Err("give a port, a host and a port, as in 8080:localhost:80".into()),
        3 | 4 => {
            let (listen, target) = fields.split_at(fields.len() - 2);
            Ok((bind(listen)?, target_of(target)?))
        }
        _ => Err("too many colons: an IPv6 address needs brackets, as in 8080:[::1]:80".into()),
    }
}

/// A target after a socket path.
fn parse_target(text: &str) -> Why<Target> {
    if is_path(text) {
        return Ok(Target::Unix(socket(text)?));
    }
    let fields = split(text)?;
    match fields.len() {
        2 => target_of(&fields),
        _ => Err("the target is no host:port and no socket path".into()),
    }
}

/// Splits before the first part that is a path.
fn split_at_path(spec: &str) -> Option<(&str, &str)> {
    let at = spec.match_indices(':').map(|(at, _)| at).find(|at| is_path(&spec[at + 1..]))?;
    Some((&spec[..at], &spec[at + 1..]))
}

fn socket(path: &str) -> Why<String> {
    match Target::from_path(path) {
        Ok(_) => Ok(path.to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// Splits at colons outside of brackets.
fn split(text: &str) -> Why<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let field;
        (field, rest) = match text.strip_prefix('[') {
            Some(inner) => {
                let (inner, after) = inner.split_once(']').ok_or("a bracket is not closed")?;
                inner
                    .parse::<std::net::Ipv6Addr>()
                    .map_err(|_| format!("{inner:?} is no IPv6 address"))?;
                let after = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or("no colon after a bracket")?),
                };
                (Field { text: inner, bracketed: true }, after)
            }
            None => match text.split_once(':') {
                Some((field, after)) => (Field { text: field, bracketed: false }, Some(after)),
                None => (Field { text, bracketed: false }, None),
            },
        };
        fields.push(field);
    }
    Ok(fields)
}

fn bind(fields: &[Field<'_>]) -> Why<Bind> {
    let (host, port) = match fields {
        [port] => (None, port),
        [host, port] => (Some(host), port),
        _ => return Err("an address to listen on is [bind:]port".into()),
    };
    let number = match port.bracketed {
        true => None,
        false => parse_port(port.text),
    };
    let port = number.ok_or_else(|| format!("{:?} is no port from 0 to 65535", port.text))?;
    let host = match host {
        None => None,
        Some(host) if host.text.is_empty() || host.text == "*" => Some(host.text.to_owned()),
        Some(host) => Some(name(host)?),
    };
    Ok(Bind::Port { host, port })
}

fn target_of(fields: &[Field<'_>]) -> Why<Target> {
    let [host, port] = fields else { return Err("a target is host:port".into()) };
    let number = parse_port(port.text).filter(|number| *number != 0 && !port.bracketed);
    let port = number.ok_or_else(|| format!("{:?} is no port from 1 to 65535", port.text))?;
    let at = HostPort { host: name(host)?, port };
    // What a target may be is decided in one place.
    at.to_string().parse().map_err(|e: Error| e.to_string())
}

fn name(host: &Field<'_>) -> Why<String> {
    if host.text.is_empty() {
        return Err("the target's host is missing".into());
    }
    if host.text.chars().any(|c| c.is_whitespace() || c.is_control() || "[]*".contains(c)) {
        return Err(format!("{:?} is no host name and no address", host.text));
    }
    Ok(host.text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn port(host: Option<&str>, port: u16) -> Bind {
        Bind::Port { host: host.map(String::from), port }
    }

    #[test]
    fn specs_print_as_they_parse_and_mean_what_ssh_means() {
        for (text, listen, target) in [
            ("5432:db.internal:5432", port(None, 5432), "db.internal:5432"),
            ("9736:hub:9736", port(None, 9736), "hub:9736"),
            ("127.0.0.1:80:h:81", port(Some("127.0.0.1"), 80), "h:81"),
            ("localhost:80:h:81", port(Some("localhost"), 80), "h:81"),
            ("*:80:h:81", port(Some("*"), 80), "h:81"),
            (":80:h:81", port(Some(""), 80), "h:81"),
            ("0:h:81", port(None, 0), "h:81"),
            ("[::1]:80:[2001:db8::1]:81", port(Some("::1"), 80), "[2001:db8::1]:81"),
            ("[::]:0:10.0.0.1:81", port(Some("::"), 0), "10.0.0.1:81"),
            ("8080:/run/app.sock", port(None, 8080), "/run/app.sock"),
            ("8080:/tmp/with:colon", port(None, 8080), "/tmp/with:colon"),
            ("[::1]:8080:@name", port(Some("::1"), 8080), "@name"),
            ("/tmp/near.sock:db:5432", Bind::Unix("/tmp/near.sock".into()), "db:5432"),
            ("/tmp/near.sock:[::1]:1", Bind::Unix("/tmp/near.sock".into()), "[::1]:1"),
            ("/tmp/near.sock:/far.sock", Bind::Unix("/tmp/near.sock".into()), "/far.sock"),
            ("@near:@far", Bind::Unix("@near".into()), "@far"),
            ("udp:5353:dns.internal:53", port(None, 5353), "udp:dns.internal:53"),
            ("udp:*:53:[::1]:53", port(Some("*"), 53), "udp:[::1]:53"),
        ] {
            let spec: PortForwardSpec = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(spec.listen(), &listen, "{text}");
            assert_eq!(spec.target().to_string(), target, "{text}");
            assert_eq!(spec.to_string(), text);
        }
    }

    #[test]
    fn a_spec_that_is_wrong_is_quoted_with_the_reason() {
        for (text, reason) in [
            ("", "give a port"),
            ("8080", "give a port"),
            ("8080:80", "give a port"),
            ("8080:h:0", "\"0\" is no port from 1"),
            ("8080:h:65536", "\"65536\" is no port"),
            ("65536:h:1", "\"65536\" is no port"),
            ("-1:h:1", "\"-1\" is no port"),
            ("+1:h:1", "\"+1\" is no port"),
            ("8080::1", "host is missing"),
            ("8080:h:", "\"\" is no port"),
            ("80:::1:80", "too many colons"),
            ("::1:80:h:80", "too many colons"),
            ("8080:*:80", "\"*\" is no host name"),
            ("[::1:80:h:80", "not closed"),
            ("[x]:80:h:80", "no IPv6 address"),
            ("[::1]80:h:80", "no colon after a bracket"),
            ("80:[::1]80", "no colon after a bracket"),
            ("a b:80:h:80", "no host name"),
            ("80:h h:80", "no host name"),
            ("/tmp/a", "leads nowhere"),
            ("/tmp/a:b", "no host:port"),
            ("80:80:80:/a", "[bind:]port"),
            ("80:alknet-control:1", "reserved"),
            ("udp:80:/a", "host and a port"),
            ("udp:/a:h:1", "listens on a port"),
            ("80:/", "must begin"),
        ] {
            let error = text.parse::<PortForwardSpec>().expect_err(text);
            assert_eq!(error.code().as_str(), "ERR_ALKNET_CONFIG");
            let said = error.to_string();
            assert!(said.contains(reason) && said.contains(&format!("{text:?}")), "{said}");
        }
        let long = format!("80:/{}", "x".repeat(107));
        assert!(long.parse::<PortForwardSpec>().is_err());
    }

    #[test]
    fn a_place_to_listen_stands_alone_too() {
        for text in ["1080", "127.0.0.1:1080", "[::1]:0", "*:1080", ":1080", "/tmp/s", "@s"] {
            let bind: Bind = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(bind.to_string(), text);
        }
        for text in ["", "x", "a:b", "1:2:3", "::1:80", "/"] {
            assert!(text.parse::<Bind>().is_err(), "{text:?} was accepted");
        }
    }

    const ATOMS: &[&str] = &[
        ":",
        ":",
        ":",
        ":",
        "80",
        "0",
        "443",
        "65536",
        "h",
        "db.internal",
        "127.0.0.1",
        "[::1]",
        "[",
        "]",
        "*",
        "localhost",
        "/a",
        "/run/x.sock",
        "@n",
        "udp:",
        "é",
        " ",
        "\0",
        "alknet-x",
    ];

    /// Texts made of what specs are made of, right and wrong.
    fn specs() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(ATOMS), 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

        #[test]
        fn what_parses_prints_and_parses_again(text in specs()) {
            if let Ok(spec) = text.parse::<PortForwardSpec>() {
                prop_assert_eq!(&spec.to_string(), &text);
                prop_assert_eq!(spec.to_string().parse::<PortForwardSpec>().expect("its own text"), spec);
            }
            if let Ok(bind) = text.parse::<Bind>() {
                prop_assert_eq!(bind.to_string(), &text[..]);
            }
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string(), &text[..]);
            }
        }

        #[test]
        fn every_whole_spec_parses(
            bind in prop::sample::select(&["", ":", "*:", "localhost:", "10.1.2.3:", "[fe80::1]:"][..]),
            listen in 0_u16..,
            host in prop::sample::select(&["h", "10.1.2.3", "[::]", "a.b-c"][..]),
            port in 1_u16..,
            udp in prop::bool::ANY,
        ) {
            let text = format!("{}{bind}{listen}:{host}:{port}", if udp { "udp:" } else { "" });
            let spec: PortForwardSpec = text.parse().expect("a spec");
            prop_assert_eq!(spec.to_string(), text);
        }
    }
}
