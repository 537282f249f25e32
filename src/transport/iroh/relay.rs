//! A relay, and what vouches for its certificate.

use std::sync::Arc;

use iroh::endpoint::Builder;
use iroh::tls::CaTlsConfig;
use iroh::{RelayConfig, RelayUrl};

use crate::error::{Error, Result};
use crate::target::HostPort;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(super) url: RelayUrl,
    /// As it was given.
    pub(super) given: String,
    /// PEM certificates that vouch for it, besides the public authorities.
    ca: Option<Arc<[u8]>>,
}

impl Relay {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what is no relay, or no certificates.
    pub(crate) fn new(text: &str, ca: Option<&[u8]>) -> Result<Self> {
        let bad = |why: &str| Error::config(format!("irohRelay {text:?}: {why}"));
        let url: RelayUrl = text.parse().map_err(|_| bad("is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad("must be https://host or http://host"));
        }
        let relay = Self { url, given: text.to_owned(), ca: ca.map(Arc::from) };
        relay.roots()?;
        Ok(relay)
    }

    /// How it is reached, and with `quic` asked which address it sees. Without TLS it has no QUIC, and to look for that costs seconds.
    pub(super) fn config(&self, quic: bool) -> RelayConfig {
        let mut config = RelayConfig::from(self.url.clone());
        config.quic = config.quic.filter(|_| quic && self.url.scheme() == "https");
        config
    }

    /// Has an endpoint trust it.
    pub(super) fn trusted(&self, builder: Builder) -> Result<Builder> {
        Ok(builder.ca_tls_config(self.roots()?))
    }

    /// Host and port, as its client asks a proxy for them.
    pub(super) fn place(&self) -> Result<HostPort> {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        HostPort::parse(&format!("{host}:{port}"), None)
    }

    #[cfg(feature = "tls")]
    fn roots(&self) -> Result<CaTlsConfig> {
        let more = self.ca.as_deref().map(crate::transport::tls::certificates).transpose()?;
        Ok(CaTlsConfig::embedded().with_extra_roots(more.unwrap_or_default()))
    }

    #[cfg(not(feature = "tls"))]
    fn roots(&self) -> Result<CaTlsConfig> {
        match &self.ca {
            Some(_) => Err(Error::config("tlsCa: this build has no TLS of its own")),
            None => Ok(CaTlsConfig::embedded()),
        }
    }
}
