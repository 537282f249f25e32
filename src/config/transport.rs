//! How bytes travel, and the places that transports reach or listen at.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::target::HostPort;

/// How a session's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP, as SSH itself does.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// Binary messages of a WebSocket, over HTTP.
    Ws,
    /// The same over HTTPS.
    Wss,
    /// Peer to peer by endpoint id, over QUIC.
    Iroh,
}

impl Transport {
    /// All there are, in the order in which help texts name them.
    pub(crate) const ALL: &[Self] = &[Self::Tcp, Self::Tls, Self::Ws, Self::Wss, Self::Iroh];

    /// Its name, as options and connection strings spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Iroh => "iroh",
        }
    }

    /// The port of an address that names none: that of SSH (RFC 4253 §4.1), of HTTP or HTTPS (RFC 9110 §4.2). Where iroh listens does not matter
    /// to those who know its id.
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 22,
            Self::Ws => 80,
            Self::Tls | Self::Wss => 443,
            Self::Iroh => 0,
        }
    }

    /// Whether addresses may have a path.
    pub(crate) const fn has_path(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
            Error::config(format!("transport {text:?}: must be one of {}", known.join(", ")))
        })
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) and 1.3, for what stands between and knows no better. With AEAD ciphers and ephemeral keys only.
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    #[default]
    Tls13,
}

impl TlsVersion {
    /// `1.2` or `1.3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TlsVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(Error::config(format!("TLS version {text:?}: must be 1.2 or 1.3"))),
        }
    }
}

/// The path of a WebSocket whose address names none.
const PATH: &str = "/alknet";

/// Where a transport reaches or listens: `host:port`, `host`, or with the transport's name in front, `tcp://host:port`; for a WebSocket
/// with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) transport: Transport,
    pub(crate) at: HostPort,
    /// Where [`Transport::has_path`], else empty.
    pub(crate) path: String,
}

impl Place {
    /// `text`, by `transport` unless it names another.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(crate) fn parse(text: &str, transport: Transport) -> Result<Self> {
        let (transport, rest) = match text.split_once("://") {
            Some((name, rest)) => (name.parse::<Transport>()?, rest),
            None => (transport, text),
        };
        let rest = rest.trim_end_matches('/');
        let (at, path) = match rest.find('/').filter(|_| transport.has_path()) {
            Some(slash) => (&rest[..slash], rest[slash..].to_owned()),
            None => (rest, if transport.has_path() { PATH.to_owned() } else { String::new() }),
        };
        let is_path = |c: char| c.is_ascii_graphic() && !"#\"<>\\^`{|}".contains(c);
        if !path.chars().all(is_path) {
            return Err(Error::config(format!("address {text:?}: that path cannot be asked for")));
        }
        Ok(Self { transport, at: HostPort::parse(at, Some(transport.default_port()))?, path })
    }

    /// One text and many transports: that place by each of them. As many texts as transports: one of each. One transport, or none, which
    /// is TCP: every text by it.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`, also when the numbers do not fit.
    pub(crate) fn all(texts: &[String], transports: &[Transport]) -> Result<Vec<Self>> {
        let made = |(text, transport): (&String, &Transport)| Self::parse(text, *transport);
        match (texts, transports) {
            (texts, []) => texts.iter().map(|text| Self::parse(text, Transport::Tcp)).collect(),
            (texts, [one]) => texts.iter().map(|text| Self::parse(text, *one)).collect(),
            // A place that names its transport is by that one alone.
            ([text], _) if text.contains("://") => Ok(vec![Self::parse(text, transports[0])?]),
            ([text], _) => transports.iter().map(|one| made((text, one))).collect(),
            _ if texts.len() == transports.len() => {
                texts.iter().zip(transports).map(made).collect()
            }
            _ => Err(Error::config(format!(
                "{} addresses and {} transports: give one of either, or as many",
                texts.len(),
                transports.len()
            ))),
        }
    }
}

/// Places that are one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) first: Place,
    /// What else listens there.
    pub(crate) also: Option<Place>,
}

impl Places {
    /// Puts together what is told apart by what its clients say: TLS and a WebSocket in TLS at one address. Port 0 is one port when all
    /// are `of_one_text`.
    pub(crate) fn of(places: Vec<Place>, of_one_text: bool) -> Vec<Self> {
        let mut ports: Vec<Self> = Vec::new();
        for place in places {
            let fits = |port: &&mut Self| {
                let pair = [port.first.transport, place.transport];
                port.also.is_none()
                    && port.first.at == place.at
                    && (of_one_text || place.at.port != 0)
                    && matches!(
                        pair,
                        [Transport::Tls, Transport::Wss] | [Transport::Wss, Transport::Tls]
                    )
            };
            match ports.iter_mut().find(fits) {
                Some(port) => port.also = Some(place),
                None => ports.push(Self { first: place, also: None }),
            }
        }
        ports
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.first).chain(&self.also)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str], transports: &[Transport]) -> Result<Vec<String>> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let places = Place::all(&texts, transports)?;
        let shown = |place: &Place| format!("{}://{}{}", place.transport, place.at, place.path);
        Ok(places.iter().map(shown).collect())
    }

    #[test]
    fn transports_print_as_they_parse() {
        for transport in Transport::ALL {
            assert_eq!(transport.as_str().parse::<Transport>().ok(), Some(*transport));
        }
        let error = "udp".parse::<Transport>().unwrap_err();
        assert!(error.to_string().contains("tcp"), "{error}");
    }

    #[test]
    fn a_place_has_its_transport_and_that_ones_port() {
        for text in ["host", "host:22", "tcp://host", "tcp://host:22/", "host//"] {
            assert_eq!(all(&[text], &[]).unwrap(), ["tcp://host:22"], "{text}");
        }
        assert_eq!(all(&["[::1]"], &[Transport::Tcp]).unwrap(), ["tcp://[::1]:22"]);
        for text in ["", "udp://host", "tcp://host/path", "tcp://", "a b", "host:x"] {
            assert!(all(&[text], &[]).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_websocket_has_a_path() {
        for (text, shown) in [
            ("ws://host", "ws://host:80/alknet"),
            ("wss://host/", "wss://host:443/alknet"),
            ("wss://[::1]:8443/a/b?c=d", "wss://[::1]:8443/a/b?c=d"),
        ] {
            assert_eq!(all(&[text], &[]).unwrap(), [shown]);
        }
        assert_eq!(all(&["host/x"], &[Transport::Wss]).unwrap(), ["wss://host:443/x"]);
        assert!(all(&["ws://host/a b"], &[]).is_err());
    }

    #[test]
    fn addresses_and_transports_go_together_one_to_all_or_one_to_one() {
        let tcp = Transport::Tcp;
        assert_eq!(all(&["a", "b"], &[tcp]).unwrap(), ["tcp://a:22", "tcp://b:22"]);
        assert_eq!(all(&["a"], &[tcp, tcp]).unwrap(), ["tcp://a:22", "tcp://a:22"]);
        assert_eq!(all(&["a", "b"], &[tcp, tcp]).unwrap(), ["tcp://a:22", "tcp://b:22"]);
        assert!(all(&["a", "b", "c"], &[tcp, tcp]).is_err());
        assert_eq!(all(&[], &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn tls_and_a_websocket_in_it_are_one_port_at_one_address() {
        use Transport::{Tcp, Tls, Ws, Wss};
        let ports = |texts: &[&str], transports: &[Transport]| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            let places = Place::all(&texts, transports).unwrap();
            let shown = |port: &Places| -> Vec<_> { port.iter().map(|p| p.transport).collect() };
            Places::of(places, texts.len() == 1).iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(ports(&["h:1"], &[Tls, Wss]), [[Tls, Wss]]);
        assert_eq!(ports(&["h:0"], &[Wss, Tls]), [[Wss, Tls]]);
        assert_eq!(ports(&["h"], &[Tcp, Wss, Tls]), [vec![Tcp], vec![Wss, Tls]]);
        assert_eq!(ports(&["tls://h", "wss://h/p"], &[]), [[Tls, Wss]]);
        assert_eq!(ports(&["tls://h:0", "wss://h:0"], &[]), [[Tls], [Wss]]);
        assert_eq!(ports(&["tls://h:1", "wss://h:2"], &[]), [[Tls], [Wss]]);
        assert_eq!(ports(&["h:1"], &[Tcp, Ws]), [[Tcp], [Ws]]);
    }
}
