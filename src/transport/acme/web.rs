//! What an ACME client says over HTTPS: one connection for each request, over the house's own dialer, TLS and HTTP.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error as AcmeError, HttpClient, Problem};

use super::order::told;
use super::pace::Kind;
use crate::dial::Direct;
use crate::error::{Code, Error, Phase, Result};
use crate::http;
use crate::target::HostPort;
use crate::transport::tls::Tls;

/// For the connection, over all addresses (reference table: outbound).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// For one request, from the TLS handshake to the last byte of the answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Longest answer, in bytes: a chain of certificates has a few kilobytes.
const LONGEST: usize = 256 * 1024;

/// Asks an authority.
#[derive(Clone)]
pub(super) struct Web {
    tls: Tls,
}

/// No answer, or one that says to wait.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: Error,
    pub(super) kind: Kind,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Unanswered {}

impl Web {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls }
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let web = self.clone();
        Box::pin(async move {
            let answer = web.ask(request).await;
            answer.map_err(|unanswered| AcmeError::Other(Box::new(unanswered)))
        })
    }
}

impl Web {
    async fn ask(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Unanswered> {
        let unreached = |error: Error| Unanswered { error, kind: Kind::Unreached };
        let at = place(&request).map_err(unreached)?;
        let late = |_| {
            let message = format!("{at} did not answer in time");
            Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Tcp)
        };
        let asking = async {
            let leg = tokio::time::timeout(CONNECT_LIMIT, Direct.dial(&at)).await;
            let link = self.tls.connect(leg.map_err(late).flatten()?, &at).await?;
            http::request(link.io, request, LONGEST).await
        };
        let answered = tokio::time::timeout(CONNECT_LIMIT + REQUEST_LIMIT, asking).await;
        let (parts, body) = answered.map_err(late).flatten().map_err(unreached)?.into_parts();
        if parts.status.as_u16() != 429 {
            return Ok(BytesResponse { parts, body: Box::new(body) });
        }
        // The library forgets how long the authority wants to be left alone.
        let asked = parts.headers.get("retry-after").and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let why = serde_json::from_slice::<Problem>(&body).map(|problem| told(&problem));
        let why = why.unwrap_or_else(|_| "too many requests".to_owned());
        let error = Error::new(Code::Tls, format!("ACME: {why}")).at(Phase::Tls);
        Err(Unanswered { error, kind: Kind::Limited(asked) })
    }
}

/// Where a request goes. Authorities name their own URLs, so they may be wrong.
fn place<B>(request: &http::Request<B>) -> Result<HostPort> {
    let uri = request.uri();
    match uri.host() {
        Some(host) if uri.scheme_str() == Some("https") => {
            let host = host.trim_matches(['[', ']']).to_owned();
            Ok(HostPort { host, port: uri.port_u16().unwrap_or(443) })
        }
        _ => Err(Error::new(Code::Protocol, "ACME: a URL of the authority is no https:// URL")),
    }
}
