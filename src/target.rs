//! Where a stream leads and where a server is: parsed once, valid ever after. Knows nothing but text.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The reserved name that `serve()` hands to its program, and the default target of `connect()`.
pub const CONTROL: &str = "alknet-control";

/// Host names with this prefix belong to alknet and never go to a name server.
const RESERVED_PREFIX: &str = "alknet-";

/// What a UDP target's host is prefixed with in a channel open (docs/wire.md); itself a reserved name.
const UDP_PREFIX: &str = "alknet-udp:";

/// Longest path of a Unix socket, in bytes: `sun_path` less its final zero on Linux, the largest there is.
const MAX_PATH: usize = 107;

/// A host and a port, as a user types them: `host:port`, `[v6]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// 1–65535, or 0 where a listener may choose.
    pub port: u16,
}

impl HostPort {
    /// Parses `host:port`, `[v6]:port`, and, if `default_port` is given, a bare host.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` with the reason.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("address {text:?}: {why}"));
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| bad("no closing bracket"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| bad("not an IPv6 address"))?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or_else(|| bad("no port after ]"))?),
                };
                (host, port)
            }
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => {
                    return Err(bad("an IPv6 address needs brackets: [::1]:22"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("no host"));
        }
        if host.contains(['/', '?', '#', '@', '\\', '[', ']']) {
            let error = bad("no host name has such a sign in it: / ? # @ \\ [ ]");
            return Err(match host.contains('@') {
                true => error.hint("who logs in goes into the option `user`"),
                false => error,
            });
        }
        let port = match (port, default_port) {
            (Some(port), _) => parse_port(port).ok_or_else(|| bad("port must be 0 to 65535"))?,
            (None, Some(port)) => port,
            (None, None) => return Err(bad("no port").hint("give it as HOST:PORT")),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Digits only, and as they are printed: neither `+80` nor `080` is a port.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let plain = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    plain.then(|| text.parse().ok()).flatten()
}

/// What a channel is asked to lead to. Parses and prints to the same text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A name the server keeps for itself, such as [`CONTROL`]; it is never dialled.
    Reserved(String),
    /// A TCP address dialled by the server: `host:port`.
    Tcp(HostPort),
    /// A UDP address: `udp:host:port`. The stream carries datagrams, each behind its length as two bytes, big-endian.
    Udp(HostPort),
    /// A Unix socket: `/path`, or `@name` for an abstract one of Linux.
    Unix(String),
}

impl Target {
    /// The target that `serve()` hands to its program.
    pub fn control() -> Self {
        Self::Reserved(CONTROL.to_owned())
    }

    /// What a `direct-tcpip` open asks for. Any spelling of a reserved name stays reserved, so that
    /// `ALKNET-control.` does not reach a name server.
    pub(crate) fn from_open(host: &str, port: u32) -> Result<Self> {
        let udp = udp_host(host);
        if udp.is_none() && is_reserved(host) {
            return Ok(Self::Reserved(host.to_owned()));
        }
        let host = udp.unwrap_or(host);
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        match port {
            Some(port) if !host.is_empty() && !is_reserved(host) => {
                let at = HostPort { host: host.to_owned(), port };
                Ok(if udp.is_some() { Self::Udp(at) } else { Self::Tcp(at) })
            }
            _ => Err(Error::config("a target needs a host and a port from 1 to 65535")),
        }
    }

    /// A host and a port in the words of a `direct-tcpip` open; `None` for a Unix socket, which has an open of its own.
    pub(crate) fn to_open(&self) -> Option<(String, u32)> {
        match self {
            Self::Reserved(name) => Some((name.clone(), 0)),
            Self::Tcp(at) => Some((at.host.clone(), u32::from(at.port))),
            Self::Udp(at) => Some((udp_name(&at.host), u32::from(at.port))),
            Self::Unix(_) => None,
        }
    }

    /// The path of a Unix socket, as `direct-streamlocal@openssh.com` carries it.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when no socket can have that path.
    pub(crate) fn from_path(path: &str) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("socket path {path:?}: {why}"));
        if !is_path(path) || path.len() < 2 {
            return Err(bad("must begin with / or @"));
        }
        if path.len() > MAX_PATH {
            return Err(bad("longer than 107 bytes"));
        }
        if path.contains('\0') {
            return Err(bad("has a zero byte in it"));
        }
        Ok(Self::Unix(path.to_owned()))
    }

    fn dialled(text: &str, at: HostPort, wrap: fn(HostPort) -> Self) -> Result<Self> {
        if is_reserved(&at.host) {
            return Err(Error::config(format!("target {text:?}: reserved names have no port")));
        }
        if at.port == 0 {
            return Err(Error::config(format!("target {text:?}: port must be 1 to 65535")));
        }
        Ok(wrap(at))
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_path(text) {
            return Self::from_path(text);
        }
        if is_reserved(text) && !text.contains(':') {
            return Ok(Self::Reserved(text.to_owned()));
        }
        // `udp:53` is port 53 of a host with that name.
        match text.strip_prefix("udp:").filter(|rest| rest.contains(':')) {
            Some(rest) => Self::dialled(text, HostPort::parse(rest, None)?, Self::Udp),
            None => Self::dialled(text, HostPort::parse(text, None)?, Self::Tcp),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(name) => f.write_str(name),
            Self::Tcp(at) => at.fmt(f),
            Self::Udp(at) => write!(f, "udp:{at}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

/// What a request to listen for UDP names: like the host of a UDP target.
pub(crate) fn udp_name(host: &str) -> String {
    format!("{UDP_PREFIX}{host}")
}

/// The host in such a name.
pub(crate) fn udp_host(name: &str) -> Option<&str> {
    name.strip_prefix(UDP_PREFIX)
}

/// Whether `text` names a Unix socket rather than a host.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with(['/', '@'])
}

fn is_reserved(host: &str) -> bool {
    host.trim()
        .get(..RESERVED_PREFIX.len())
        .is_some_and(|p| p.eq_ignore_ascii_case(RESERVED_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_print_as_they_parse() {
        for text in [
            "alknet-control",
            "db.internal:5432",
            "127.0.0.1:80",
            "[::1]:443",
            "/run/app.sock",
            "/tmp/with:colon",
            "@abstract",
            "udp:dns.internal:53",
            "udp:[fe80::1]:53",
            "udp:53",
        ] {
            let target: Target = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn malformed_targets_are_refused() {
        for text in [
            "",
            "db",
            "db:",
            "db:0",
            "db:65536",
            "::1:80",
            "[::1:80",
            "[x]:1",
            ":80",
            "a b:1",
            "alknet-control:1",
            "[::1]443",
            "db:+80",
            "db:080",
            "/",
            "@",
            "udp:db:0",
            "udp:alknet-control:1",
            "user@db:1",
            "db/x:1",
            "a]:1",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn no_spelling_of_a_reserved_name_reaches_a_name_server() {
        for host in ["alknet-control", "ALKNET-Control", "alknet-x.", " alknet-control "] {
            assert!(matches!(Target::from_open(host, 80), Ok(Target::Reserved(_))), "{host:?}");
        }
        assert!(matches!(Target::from_open("alknet.example.com", 80), Ok(Target::Tcp(_))));
        for host in ["ALKNET-UDP:dns", "alknet-udp", " alknet-udp:dns", "alknet-udp.dns"] {
            assert!(matches!(Target::from_open(host, 53), Ok(Target::Reserved(_))), "{host:?}");
        }
        assert!(Target::from_open("alknet-udp:alknet-control", 53).is_err());
        assert!(Target::from_open("alknet-udp:", 53).is_err());
    }

    #[test]
    fn an_open_asks_for_what_the_target_says() {
        for text in ["db:5432", "[::1]:443", "udp:dns:53", "udp:[::1]:53", "alknet-control"] {
            let target: Target = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let (host, port) = target.to_open().expect("no socket path");
            assert_eq!(Target::from_open(&host, port).expect("a target"), target);
        }
    }

    #[test]
    fn ports_are_checked_and_never_cut() {
        assert!(Target::from_open("h", 65_558).is_err());
        assert!(Target::from_open("h", 0).is_err());
    }
}
