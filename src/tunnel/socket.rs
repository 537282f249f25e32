//! WebSockets for the tunnel (RFC 6455): who is asked for what, with which token, and what is announced. Knows byte streams, dials nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frame::MAX_MESSAGE;
use crate::error::{Code, Error, Phase, Result};
use crate::http::raw::socket;
use crate::io::BoxIo;
use crate::target::HostPort;

pub(crate) use crate::http::raw::Socket;

/// Announces credits and half-close; the originals do not look at it.
const PROTOCOL: &str = "alknet-tunnel.1";

/// RFC 6455 §1.3.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Longest upgrade, here or there (reference table: log-in deadline, WS upgrade).
pub(crate) const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// Longest head of a request or an answer, and most fields in it: what common servers take.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

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

// ---------------------------------------------------------------------- asking

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
    let asking = tokio::time::timeout(UPGRADE_LIMIT, ask_now(io, host, path, token));
    asking.await.unwrap_or_else(|_| {
        let late = Error::new(Code::HandshakeTimeout, "no answer to the WebSocket request in 10 s");
        Err(late.at(Phase::Tcp))
    })
}

async fn ask_now(
    mut io: BoxIo,
    host: &HostPort,
    path: &str,
    token: Option<&str>,
) -> Result<(Socket, bool)> {
    let key = Base64::encode_string(&std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
    );
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    head.push_str("\r\n");
    io.write_all(head.as_bytes()).await.map_err(gone)?;
    io.flush().await.map_err(gone)?;
    let (head, rest) = read_head(&mut io).await?;
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    answer.parse(&head).map_err(|_| Error::new(Code::Protocol, "no HTTP answer"))?;
    let field = |name: &str| field(answer.headers, name);
    match answer.code {
        Some(101) if field("sec-websocket-accept") == Some(accept_key(&key).as_str()) => {
            let extended = field("sec-websocket-protocol") == Some(PROTOCOL);
            Ok((socket(io, rest, true, MAX_MESSAGE).await, extended))
        }
        Some(401) => {
            Err(Error::new(Code::AuthRejected, "the token was not accepted").at(Phase::Auth).hint(
                "give the token that belongs to this name: --token-file, or ALKNET_TUNNEL_TOKEN",
            ))
        }
        code => {
            let message = format!("no WebSocket there: HTTP {}", code.unwrap_or_default());
            Err(Error::new(Code::Protocol, message).at(Phase::Tcp))
        }
    }
}

// ---------------------------------------------------------------------- being asked

/// A request whose answer is due.
pub(crate) struct Asked {
    /// Decoded parts between slashes.
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
    pub(crate) token: Option<String>,
    /// The asker knows what is ours.
    pub(crate) extended: bool,
    key: Option<String>,
    is_get: bool,
    io: BoxIo,
    rest: Vec<u8>,
}

/// Reads what is asked for. Requests of web pages from elsewhere are refused.
///
/// # Errors
/// `ERR_ALKNET_PROTOCOL` for what is no request, after it was answered.
pub(crate) async fn asked(mut io: BoxIo) -> Result<Asked> {
    let (head, rest) = read_head(&mut io).await?;
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let whole = matches!(request.parse(&head), Ok(httparse::Status::Complete(_)));
    let field = |name: &str| field(request.headers, name);
    let is_own = match (field("origin"), field("host")) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, at)| at.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    };
    if !whole || !is_own {
        let status = if whole { "403 Forbidden" } else { "400 Bad Request" };
        say(&mut io, status, "text/plain", "").await;
        return Err(Error::new(Code::Protocol, "a request that is not answered"));
    }
    let (path, query) =
        request.path.unwrap_or("/").split_once('?').unwrap_or((request.path.unwrap_or("/"), ""));
    let query: Vec<(String, String)> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    let bearer = field("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let in_query =
        || query.iter().find(|(name, _)| name == "token").map(|(_, value)| value.clone());
    let is_upgrade = field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let offered = field("sec-websocket-protocol").unwrap_or_default();
    let asked = Asked {
        path: path.split('/').skip(1).map(decoded).collect(),
        token: bearer.map(|token| token.trim().to_owned()).or_else(in_query),
        extended: offered.split(',').any(|name| name.trim() == PROTOCOL),
        key: field("sec-websocket-key").filter(|_| is_upgrade).map(str::to_owned),
        is_get: request.method == Some("GET"),
        query,
        io,
        rest,
    };
    Ok(asked)
}

impl Asked {
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_upgrade(&self) -> bool {
        self.is_get && self.key.is_some()
    }

    pub(crate) fn is_get(&self) -> bool {
        self.is_get
    }

    /// Makes a WebSocket of it; `extended` answers the announcement.
    ///
    /// # Errors
    /// `ERR_ALKNET_PROTOCOL` when none was asked for, or the asker has gone.
    pub(crate) async fn upgrade(self, extended: bool) -> Result<Socket> {
        let Self { key: Some(key), mut io, rest, extended: offered, .. } = self else {
            return Err(Error::new(Code::Protocol, "no WebSocket was asked for"));
        };
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept_key(&key)
        );
        if extended && offered {
            head.push_str(&format!("Sec-WebSocket-Protocol: {PROTOCOL}\r\n"));
        }
        head.push_str("\r\n");
        io.write_all(head.as_bytes()).await.map_err(gone)?;
        io.flush().await.map_err(gone)?;
        Ok(socket(io, rest, false, MAX_MESSAGE).await)
    }

    /// Answers with a body, and that is all.
    pub(crate) async fn answer(mut self, status: &str, kind: &str, body: &str) {
        say(&mut self.io, status, kind, body).await;
    }
}

async fn say(io: &mut BoxIo, status: &str, kind: &str, body: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\n\r\n{body}",
        body.len()
    );
    let saying = async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await
    };
    // Who has gone needs no answer.
    let _ = tokio::time::timeout(UPGRADE_LIMIT, saying).await;
}

/// A head up to its empty line, and what came after it.
async fn read_head(io: &mut BoxIo) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        if let Some(at) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = head.split_off(at + 4);
            return Ok((head, rest));
        }
        if head.len() >= MAX_HEAD {
            return Err(Error::new(Code::Protocol, "the head of a request is too long"));
        }
        let room = (MAX_HEAD - head.len()) as u64;
        if (&mut *io).take(room).read_buf(&mut head).await.map_err(gone)? == 0 {
            return Err(gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(MAGIC);
    Base64::encode_string(&hash.finalize())
}

/// `%41` is `A` (RFC 3986 §2.1); what is no UTF-8 then stays as it was.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [a, b, ..]) => {
                std::str::from_utf8(&[*a, *b]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// `name` as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    name.bytes()
        .map(|byte| match plain(&byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn gone(error: std::io::Error) -> Error {
    Error::system("read", "a WebSocket request", error).at(Phase::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (BoxIo, BoxIo) {
        let (a, b) = tokio::io::duplex(1024);
        (Box::new(a), Box::new(b))
    }

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
    fn accept_keys_are_those_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn names_are_one_segment_and_come_back() {
        for name in ["kohakuriver-task-5", "a/b c?", "100%", "%41", "ü"] {
            assert!(!segment(name).contains(['/', '?', ' ']));
            assert_eq!(decoded(&segment(name)), name);
        }
        assert_eq!(
            (decoded("%"), decoded("%4"), decoded("%zz")),
            ("%".into(), "%4".into(), "%zz".into())
        );
    }

    #[tokio::test]
    async fn what_is_ours_is_known_when_both_ends_say_so() {
        for (answers, known) in [(true, true), (false, false)] {
            let (near, far) = pair();
            let host = HostPort { host: "h".into(), port: 1 };
            let (asks, answered) =
                tokio::join!(ask(near, &host, "/a/b%20c?token=q", Some("t")), async {
                    let asked = asked(far).await.expect("a request");
                    assert_eq!(
                        (asked.path.as_slice(), asked.extended),
                        (&["a".to_owned(), "b c".into()][..], true)
                    );
                    assert_eq!(
                        (asked.token.as_deref(), asked.query("token")),
                        (Some("t"), Some("q"))
                    );
                    asked.upgrade(answers).await
                });
            assert!(answered.is_ok());
            assert_eq!(asks.expect("a socket").1, known);
        }
    }

    #[tokio::test]
    async fn pages_from_elsewhere_are_refused() {
        for (origin, welcome) in [("http://h:1", true), ("http://evil", false), ("null", false)] {
            let (mut near, far) = pair();
            let head = format!("GET /a HTTP/1.1\r\nHost: h:1\r\nOrigin: {origin}\r\n\r\n");
            near.write_all(head.as_bytes()).await.expect("a write");
            assert_eq!(asked(far).await.is_ok(), welcome, "{origin}");
        }
    }
}
