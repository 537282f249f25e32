//! Where a stream leads and where a server is: parsed once, valid ever after. Knows nothing but text.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The reserved name that `serve()` hands to its program, and the default target of `connect()`.
pub const CONTROL: &str = "alknet-control";

/// Host names with this prefix belong to alknet and never go to a name server.
const RESERVED_PREFIX: &str = "alknet-";

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
        let port = match (port, default_port) {
            (Some(port), _) => port.parse().map_err(|_| bad("port must be 0 to 65535"))?,
            (None, Some(port)) => port,
            (None, None) => return Err(bad("no port")),
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

/// What a channel is asked to lead to. Parses and prints to the same text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A name the server keeps for itself, such as [`CONTROL`]; it is never dialled.
    Reserved(String),
    /// A TCP address dialled by the server.
    Tcp(HostPort),
}

impl Target {
    /// The target that `serve()` hands to its program.
    pub fn control() -> Self {
        Self::Reserved(CONTROL.to_owned())
    }

    /// What a `direct-tcpip` open asks for. Any spelling of a reserved name stays reserved, so that
    /// `ALKNET-control.` does not reach a name server.
    pub(crate) fn from_open(host: &str, port: u32) -> Result<Self> {
        if is_reserved(host) {
            return Ok(Self::Reserved(host.to_owned()));
        }
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        match port {
            Some(port) if !host.is_empty() => {
                Ok(Self::Tcp(HostPort { host: host.to_owned(), port }))
            }
            _ => Err(Error::config("a target needs a host and a port from 1 to 65535")),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if is_reserved(text) && !text.contains(':') {
            return Ok(Self::Reserved(text.to_owned()));
        }
        let at = HostPort::parse(text, None)?;
        if is_reserved(&at.host) {
            return Err(Error::config(format!("target {text:?}: reserved names have no port")));
        }
        if at.port == 0 {
            return Err(Error::config(format!("target {text:?}: port must be 1 to 65535")));
        }
        Ok(Self::Tcp(at))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(name) => f.write_str(name),
            Self::Tcp(at) => at.fmt(f),
        }
    }
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
        for text in ["alknet-control", "db.internal:5432", "127.0.0.1:80", "[::1]:443"] {
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
    }

    #[test]
    fn ports_are_checked_and_never_cut() {
        assert!(Target::from_open("h", 65_558).is_err());
        assert!(Target::from_open("h", 0).is_err());
    }
}
