//! A server's TLS certificate, which may change while it listens.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ServerConfig};

use super::tls::{ALPN_HTTP, accept, provider};
use crate::error::{Error, Result};
use crate::io::BoxIo;

/// Shown to every client, whatever name it asks for.
#[derive(Debug)]
pub(crate) struct Certificate(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// From PEM: the chain, the server's own first, and its private key.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`, never with anything of the key in it.
    pub(crate) fn new(chain: &[u8], key: &[u8]) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(RwLock::new(read(chain, key)?))))
    }

    /// Shows another from now on; open sessions go on.
    ///
    /// # Errors
    /// Those of [`Certificate::new`]: the old one stays.
    pub(crate) fn replace(&self, chain: &[u8], key: &[u8]) -> Result<()> {
        *self.0.write() = read(chain, key)?;
        Ok(())
    }

    /// What runs a server's handshakes.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when the provider has no TLS 1.3.
    pub(super) fn acceptor(self: Arc<Self>, alpn: &[&[u8]]) -> Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| Error::config(format!("TLS: {e}")))?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A server's handshakes in front of HTTP.
#[derive(Clone)]
pub(crate) struct Https(TlsAcceptor);

impl Https {
    /// # Errors
    /// Those of [`Certificate::acceptor`].
    pub(crate) fn new(certificate: Arc<Certificate>) -> Result<Self> {
        certificate.acceptor(&[ALPN_HTTP]).map(Self)
    }

    /// Takes a stream that has arrived.
    ///
    /// # Errors
    /// `ERR_ALKNET_TLS`.
    pub(crate) async fn accept(&self, io: BoxIo) -> Result<BoxIo> {
        accept(&self.0, io).await
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.unwrap_or_default();
    if chain.is_empty() {
        return Err(Error::config("tlsCert has no certificate in PEM form"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::config("tlsKey is no private key in PEM form"))?;
    let made = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => {
            Error::config("tlsKey is not the key of the certificate in tlsCert")
        }
        other => Error::config(format!("tlsCert and tlsKey cannot be used: {other}")),
    })?;
    Ok(Arc::new(made))
}
