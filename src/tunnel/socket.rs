//! The tunnel's WebSockets (RFC 6455): who is asked for what, with which token, and what is announced. Knows byte streams, dials nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};

use super::frame::MAX_MESSAGE;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{
    self, Head, HeaderValue, Socket, SocketLimits, SocketRules, Upgrade, bearer, upgrade,
};
use crate::io::BoxIo;
use crate::target::HostPort;

/// Announces credits and half-close; the originals do not look at it.
const PROTOCOL: &str = "alknet-tunnel.1";

/// What a sub-protocol begins with that is none, but a token: its UTF-8 in base64url (RFC 4648 §5), for web pages, which can set no
/// header of a WebSocket.
const TOKEN: &str = "alknet-token.";

/// Longest upgrade, here or there (reference table: log-in deadline, WS upgrade).
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// Longest text of a terminal's user that is taken, in bytes: what the originals' users take themselves.
const MAX_TEXT: usize = 1024 * 1024;

/// Messages of the tunnel, many of which are written in one go.
const LIMITS: SocketLimits =
    SocketLimits { message: MAX_MESSAGE, buffered: 1024 * 1024, batch: 128 * 1024 };

/// `ws://host[:port][/path]`, or with `wss`, `http`, `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) secure: bool,
    pub(crate) at: HostPort,
    /// Without slashes at its end.
    pub(crate) path: String,
}

/// Where the originals' host listens (seed systems: pieces and ports).
const HOST_PORT: u16 = 8000;

impl Url {
    /// A host as people name it: a URL, or a name or address with or without a port.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(crate) fn of_host(text: &str) -> Result<Self> {
        if text.contains("://") {
            return text.parse();
        }
        Ok(Self { secure: false, at: HostPort::parse(text, Some(HOST_PORT))?, path: String::new() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.at, self.path)
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("URL {text:?}: {why}"));
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("as in ws://host:8001"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(bad("the scheme is ws or wss")),
        };
        let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if path.contains(['?', '#']) || path.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(bad("a path alone may follow the port"));
        }
        let at = HostPort::parse(place, Some(if secure { 443 } else { 80 }))?;
        Ok(Self { secure, at, path: path.trim_end_matches('/').to_owned() })
    }
}

/// Asks for `path` at the far end of `io`. Also says whether that end knows what is ours.
///
/// # Errors
/// `ERR_ALKNET_AUTH_REJECTED` for a token that is missing or wrong, `ERR_ALKNET_PROTOCOL` for any other answer,
/// `ERR_ALKNET_HANDSHAKE_TIMEOUT` after 10 s.
pub(crate) async fn ask(
    io: BoxIo,
    host: &HostPort,
    path: &str,
    token: Option<&str>,
) -> Result<(Socket, bool)> {
    let wanted = Upgrade {
        authority: host.to_string(),
        path: path.to_owned(),
        authorization: token.map(|token| format!("Bearer {token}")),
        protocol: Some(PROTOCOL),
        limits: LIMITS,
    };
    let asking = tokio::time::timeout(UPGRADE_LIMIT, upgrade(io, &wanted));
    let answered = asking.await.unwrap_or_else(|_| {
        let late = Error::new(Code::HandshakeTimeout, "no answer to the WebSocket request in 10 s");
        Err(late.at(Phase::Upgrade))
    });
    answered.map_err(|error| match error.code() {
        Code::AuthRejected => Error::new(Code::AuthRejected, "the token was not accepted")
            .at(Phase::Auth)
            .hint("give the token that belongs to this name: --token-file, or ALKNET_TUNNEL_TOKEN"),
        _ => error,
    })
}

/// Who may open a socket that is called `name`: programs, and pages of this very server.
pub(crate) fn rules(name: &'static str) -> SocketRules {
    SocketRules {
        own_pages: true,
        is_hidden: true,
        protocols: &[PROTOCOL],
        limits: LIMITS,
        ..SocketRules::new(name)
    }
}

/// The same, for a terminal: its users may paste.
pub(crate) fn terminal_rules(name: &'static str) -> SocketRules {
    SocketRules { limits: SocketLimits { message: MAX_TEXT, ..LIMITS }, ..rules(name) }
}

/// The token that a request comes with: in its `Authorization`, else as a sub-protocol, else in its query.
pub(crate) fn token(head: &Head) -> Option<String> {
    let offered = || head.headers.get_all("sec-websocket-protocol").iter().find_map(in_protocols);
    bearer(head).map(str::to_owned).or_else(offered).or_else(|| http::query(head, "token"))
}

fn in_protocols(offered: &HeaderValue) -> Option<String> {
    let offered = offered.to_str().ok()?.split(',');
    let encoded = offered.filter_map(|name| name.trim().strip_prefix(TOKEN)).next()?;
    String::from_utf8(Base64UrlUnpadded::decode_vec(encoded).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_websockets() {
        let url: Url = "ws://[::1]:8001/base/".parse().expect("a URL");
        assert_eq!((url.at.port, url.path.as_str(), url.secure), (8001, "/base", false));
        assert_eq!("wss://runner".parse::<Url>().expect("a URL").at.port, 443);
        for text in ["runner:8001", "ftp://x", "ws://", "ws://x/?a=b", "ws://x:1/a b"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_in_the_header_or_among_the_protocols_or_in_the_query() {
        let head = |uri: &str, header: &'static str, value: &'static str| {
            let request = http::Request::get(uri).header(header, value);
            request.body(()).expect("a request").into_parts().0
        };
        assert_eq!(token(&head("/a?token=q", "authorization", "Bearer t")).as_deref(), Some("t"));
        assert_eq!(token(&head("/a?token=q", "host", "h")).as_deref(), Some("q"));
        assert_eq!(token(&head("/a", "authorization", "Basic t")), None);
        let offers = |value| token(&head("/a?token=q", "sec-websocket-protocol", value));
        assert_eq!(offers("alknet-tunnel.1, alknet-token.dMO8a2Vu").as_deref(), Some("tüken"));
        for none in ["alknet-tunnel.1", "alknet-token.!", "alknet-token._w"] {
            assert_eq!(offers(none).as_deref(), Some("q"), "{none}");
        }
    }
}
