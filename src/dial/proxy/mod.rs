//! Dialling through a proxy: SOCKS5 or HTTP CONNECT. Names are left to the proxy, so that nothing is looked up here.

mod http;
mod socks;
mod url;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use super::{Dialer, Direct};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::{Connected, Prefixed};
use crate::target::{HostPort, Target};

/// Longest name (RFC 1035 §2.3.4, as text).
const MAX_NAME: usize = 253;

/// A proxy for TCP connections: `socks5://[user:password@]host[:port]` (port 1080) or `http://[user:password@]host[:port]` (port 80).
///
/// Names are left to it (`socks5h://` is the same). In user and password, signs that have a meaning in a URL are percent-encoded.
/// Neither is printed by `Debug` or `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    at: HostPort,
    login: Option<Login>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socks5,
    Http,
}

/// Who uses the proxy: each 1 to 255 bytes, the user without a colon.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: Zeroizing<String>,
}

/// Why a proxy does not connect.
struct Denial {
    what: String,
    refusal: Option<Refusal>,
    cause: Option<io::Error>,
}

impl Proxy {
    /// Connects to `at` through the proxy. Dropping the future cancels.
    ///
    /// # Errors
    /// `ERR_ALKNET_PROXY` with what the proxy says, or why it cannot be reached; `ERR_ALKNET_CONFIG` for a name that no proxy could be asked for.
    pub(super) async fn dial(&self, at: &HostPort) -> Result<Connected> {
        let host = Host::of(at)?;
        let Connected { mut io, ends } = Direct.dial(&self.at).await.map_err(|error| {
            self.failed(Denial {
                what: format!("cannot be reached: {error}"),
                refusal: None,
                cause: error.cause().map(|cause| cause.kind().into()),
            })
        })?;
        let login = self.login.as_ref();
        let asked = match self.kind {
            Kind::Socks5 => socks::ask(&mut io, &host, at.port, login).await.map(|()| Vec::new()),
            Kind::Http => http::ask(&mut io, &host, at.port, login).await,
        };
        let early = asked.map_err(|denial| self.failed(denial))?;
        let io = if early.is_empty() { io } else { Box::new(Prefixed::new(early, io)) };
        Ok(Connected { io, ends })
    }

    fn failed(&self, denial: Denial) -> Error {
        let mut error = Error::new(Code::Proxy, format!("proxy {self} {}", denial.what))
            .at(Phase::Tcp)
            .address(&self.at.host, self.at.port);
        if let Some(refusal) = denial.refusal {
            error = error.refused(refusal);
        }
        match denial.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Socks5 => "socks5",
            Kind::Http => "http",
        };
        write!(f, "{scheme}://{}", self.at)
    }
}

/// As [`fmt::Display`].
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Dials TCP through a [`Proxy`], and nothing else.
pub(crate) struct Proxied(pub(crate) Proxy);

impl Dialer for Proxied {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            match target {
                Target::Tcp(at) => self.0.dial(at).await,
                _ => Err(Error::config(format!("target {target}: no proxy leads there"))),
            }
        }
        .boxed()
    }
}

/// What a proxy is asked for.
enum Host<'a> {
    Address(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// A peer may have chosen the name: what has a meaning in HTTP must not get through.
    fn of(at: &'a HostPort) -> Result<Self> {
        if let Ok(address) = at.host.parse() {
            return Ok(Self::Address(address));
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        match (1..=MAX_NAME).contains(&at.host.len()) && at.host.bytes().all(fits) {
            true => Ok(Self::Name(&at.host)),
            false => Err(Error::config(
                "a proxy can only be asked for names of letters, digits and - . _",
            )),
        }
    }
}

impl Denial {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), refusal: None, cause: None }
    }

    /// It says that `target` cannot be had, for a reason that has a name of the system.
    fn of_target(what: impl Into<String>, cause: io::ErrorKind) -> Self {
        Self { refusal: Some(Refusal::ConnectFailed), cause: Some(cause.into()), ..Self::new(what) }
    }

    fn prohibited(what: impl Into<String>) -> Self {
        Self { refusal: Some(Refusal::Prohibited), ..Self::new(what) }
    }
}

impl From<io::Error> for Denial {
    fn from(error: io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed the connection without an answer".to_owned(),
            _ => format!("broke the connection: {error}"),
        };
        Self { what, refusal: None, cause: Some(error) }
    }
}
