//! From a URL to a WebSocket.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::socket::{Url, ask};
use crate::dial::Direct;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{self, Socket};
use crate::io::Connected;
#[cfg(feature = "tls")]
use crate::transport::{TlsTrust, https};

/// Longest connect, over all addresses (reference table: outbound).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest answer, from the request on (reference table: WS upgrade).
const READ_LIMIT: Duration = Duration::from_secs(10);

/// What may be gone through, and who is believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Networks without TLS too.
    pub(crate) insecure: bool,
    /// Certificates in PEM form to trust instead of the public roots.
    pub(crate) ca: Option<Vec<u8>>,
    /// The name that the certificate must have, instead of that in the URL.
    pub(crate) name: Option<String>,
}

impl From<bool> for Manner {
    fn from(insecure: bool) -> Self {
        Self { insecure, ..Self::default() }
    }
}

/// Opens `path` below a URL. Also says whether that end knows what is ours.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for what would go over a network in the clear, unless that may be; those of a dial; `ERR_ALKNET_TLS`; those of [`ask`].
pub(crate) async fn reach(
    url: &Url,
    path: &str,
    token: Option<&str>,
    manner: impl Into<Manner>,
) -> Result<(Socket, bool)> {
    let stream = connect(url, manner.into()).await?;
    ask(stream.io, &url.at, &format!("{}{path}", url.path), token).await
}

/// Reads the page `path` below a URL, `longest` bytes of it at most. `None` when there is none for who shows this token.
///
/// # Errors
/// Those of [`reach`]; `ETIMEDOUT` after 10 s without the whole answer.
pub(crate) async fn fetch(
    url: &Url,
    path: &str,
    token: Option<&str>,
    manner: Manner,
    longest: usize,
) -> Result<Option<Bytes>> {
    let stream = connect(url, manner).await?;
    let secret = token.map(|token| format!("Bearer {token}"));
    let (at, path) = (url.at.to_string(), format!("{}{path}", url.path));
    let reading = http::get(stream.io, &at, &path, secret.as_deref(), longest);
    let read = tokio::time::timeout(READ_LIMIT, reading).await.unwrap_or_else(|_| {
        let late = format!("{at} did not answer in time");
        Err(Error::new(Code::System("ETIMEDOUT"), late).at(Phase::Tcp))
    });
    read.map(|(status, text)| (status == 200).then_some(text))
}

async fn connect(url: &Url, manner: Manner) -> Result<Connected> {
    if !url.secure && !manner.insecure && !is_loopback(&url.at.host) {
        return Err(Error::config(format!(
            "ws://{}: nobody may read along but on this machine",
            url.at
        ))
        .hint("use wss, or --insecure on a network that is yours"));
    }
    let dialled = tokio::time::timeout(CONNECT_LIMIT, Direct.dial(&url.at)).await;
    let stream = dialled.unwrap_or_else(|_| {
        let late = format!("nobody answered at {} in time", url.at);
        Err(Error::new(Code::System("ETIMEDOUT"), late).at(Phase::Tcp))
    })?;
    if url.secure { covered(stream, url, manner).await } else { Ok(stream) }
}

#[cfg(feature = "tls")]
async fn covered(leg: Connected, url: &Url, manner: Manner) -> Result<Connected> {
    let trust = TlsTrust { ca: manner.ca, name: manner.name, ..TlsTrust::default() };
    https(&trust, leg, &url.at).await.map_err(|error| match error.help() {
        // A tunnel believes no certificate that nobody vouches for.
        Some(help) if help.contains("insecure") => {
            error.hint("give its authority's certificate, --tls-ca or tlsCa")
        }
        _ => error,
    })
}

#[cfg(not(feature = "tls"))]
async fn covered(_leg: Connected, _url: &Url, _manner: Manner) -> Result<Connected> {
    Err(Error::config("wss was asked for, and this program is built without it")
        .hint("build it with the feature tls"))
}

/// Whether a name or address cannot lead anywhere else.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
