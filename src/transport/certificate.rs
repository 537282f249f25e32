//! A server's TLS certificate, which may change while it listens.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::tls::{ALPN_ACME, ALPN_HTTP, accept, provider, versions};
use crate::config::TlsVersion;
use crate::error::{Code, Error, Result};
use crate::io::BoxIo;

/// Shown to every client, whatever name it asks for.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// `None` until an authority has issued the first.
    shown: RwLock<Option<Arc<CertifiedKey>>>,
    /// What an authority is shown that looks whether names lead here, by name in small letters. `None` without ACME.
    challenges: Option<RwLock<HashMap<String, Arc<CertifiedKey>>>>,
}

impl Certificate {
    /// From PEM: the chain, the server's own first, and its private key.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`, never with anything of the key in it.
    pub(crate) fn new(chain: &[u8], key: &[u8]) -> Result<Arc<Self>> {
        let shown = RwLock::new(Some(read(chain, key)?));
        Ok(Arc::new(Self { shown, challenges: None }))
    }

    /// One that an authority issues, and may have issued before: key and chain in one PEM text.
    ///
    /// # Errors
    /// Those of [`Certificate::new`].
    #[cfg(feature = "acme")]
    pub(super) fn by_acme(pem: Option<&[u8]>) -> Result<Arc<Self>> {
        let shown = RwLock::new(pem.map(|pem| read(pem, pem)).transpose()?);
        Ok(Arc::new(Self { shown, challenges: Some(RwLock::default()) }))
    }

    /// Shows another from now on; open sessions go on.
    ///
    /// # Errors
    /// Those of [`Certificate::new`]: the old one stays.
    pub(crate) fn replace(&self, chain: &[u8], key: &[u8]) -> Result<()> {
        *self.shown.write() = Some(read(chain, key)?);
        Ok(())
    }

    /// The server's own, as it is shown (DER).
    #[cfg(all(test, feature = "acme"))]
    pub(crate) fn leaf(&self) -> Option<Vec<u8>> {
        Some(self.shown.read().as_ref()?.cert.first()?.to_vec())
    }

    /// Has an authority that looks for `domain` see this. It is not checked: no client would take it, for it has what only an authority
    /// knows (RFC 8737 §3).
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what is no key.
    #[cfg(feature = "acme")]
    pub(super) fn answer_challenge(
        &self,
        domain: &str,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<()> {
        let key = provider().key_provider.load_private_key(key);
        let key = key.map_err(|e| Error::config(format!("ACME: {e}")))?;
        let answer = Arc::new(CertifiedKey::new(vec![certificate], key));
        if let Some(challenges) = &self.challenges {
            challenges.write().insert(domain.to_ascii_lowercase(), answer);
        }
        Ok(())
    }

    /// No authority looks any more.
    #[cfg(feature = "acme")]
    pub(super) fn forget_challenges(&self) {
        if let Some(challenges) = &self.challenges {
            challenges.write().clear();
        }
    }

    /// What runs a server's handshakes.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when the provider has no such TLS.
    pub(super) fn acceptor(
        self: Arc<Self>,
        alpn: &[&[u8]],
        least: TlsVersion,
    ) -> Result<TlsAcceptor> {
        let mut alpn: Vec<_> = alpn.iter().map(|name| name.to_vec()).collect();
        alpn.extend(self.challenges.as_ref().map(|_| ALPN_ACME.to_vec()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(least))
            .map_err(|e| Error::config(format!("TLS: {e}")))?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = alpn;
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
        certificate.acceptor(&[ALPN_HTTP], TlsVersion::default()).map(Self)
    }

    /// Takes a stream that has arrived.
    ///
    /// # Errors
    /// `ERR_ALKNET_TLS`.
    pub(crate) async fn accept(&self, io: BoxIo) -> Result<BoxIo> {
        let authority = || Error::new(Code::Tls, "an authority looked for a name");
        accept(&self.0, io).await?.ok_or_else(authority)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(challenges) = &self.challenges
            && hello.alpn().is_some_and(|mut names| names.any(|name| name == ALPN_ACME))
        {
            let domain = hello.server_name()?.to_ascii_lowercase();
            return challenges.read().get(&domain).cloned();
        }
        self.shown.read().clone()
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
