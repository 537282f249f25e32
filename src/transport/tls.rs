//! TLS over TCP: streams in, streams out. Never more than a wrapping: who the server is, its SSH host key says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Way;
use crate::config::{TlsVersion, Transport};
use crate::dial::Dialer;
use crate::error::{Code, Error, Phase, Result, posix_name};
use crate::io::{BoxIo, Connected, Io};
use crate::target::{HostPort, Target};

/// For a TLS handshake, on either end (reference table: log-in deadline).
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What an SSH session in TLS is called in ALPN.
pub(super) const ALPN: &[u8] = b"alknet-ssh";

/// ALPN of HTTP/1.1 (RFC 7301 §6).
pub(super) const ALPN_HTTP: &[u8] = b"http/1.1";

/// What an authority says in ALPN that looks whether a name leads here (RFC 8737 §6.2): never a client.
pub(super) const ALPN_ACME: &[u8] = b"acme-tls/1";

/// How a client checks a server's certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsTrust {
    /// PEM certificates to trust instead of the public roots.
    pub(crate) ca: Option<Vec<u8>>,
    /// The name that the certificate must have, and that is asked for; that of the server when there is none.
    pub(crate) name: Option<String>,
    /// Takes any certificate.
    pub(crate) insecure: bool,
    pub(crate) least: TlsVersion,
}

/// What a client's TLS handshakes have in common.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

/// The only provider there is: nothing is taken from the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

static ALL_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Those that are spoken, `least` being the oldest.
pub(super) fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        TlsVersion::Tls12 => &ALL_VERSIONS,
        TlsVersion::Tls13 => &ALL_VERSIONS[..1],
    }
}

impl Tls {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for certificates that are none, or a name that cannot be one.
    pub(super) fn new(trust: &TlsTrust, alpn: &[u8]) -> Result<Self> {
        let broken = |e: rustls::Error| Error::config(format!("TLS: {e}"));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(trust.least))
            .map_err(broken)?;
        let mut config = match trust.insecure {
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
                .with_no_client_auth(),
            false => builder.with_root_certificates(roots(trust)?).with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        let name = trust.name.as_ref().map(|name| server_name(name)).transpose()?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Runs the handshake on a connected stream to `at`.
    ///
    /// # Errors
    /// `ERR_ALKNET_TLS` with the reason; `ERR_ALKNET_HANDSHAKE_TIMEOUT` after 10 s; system codes.
    pub(super) async fn connect(&self, leg: Connected, at: &HostPort) -> Result<Connected> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(&at.host)?,
        };
        let shaking = self.connector.connect(name, leg.io);
        let late = || {
            let message = format!("{at} did not finish the TLS handshake in time");
            Error::new(Code::HandshakeTimeout, message)
        };
        let shaken = tokio::time::timeout(HANDSHAKE_LIMIT, shaking).await;
        let failed = |e: Error| e.at(Phase::Tls).address(&at.host, at.port);
        let io = shaken.map_err(|_| failed(late()))?.map_err(|e| failed(refused(at, &e)))?;
        Ok(Connected { io: Box::new(TlsIo(io)), ends: leg.ends })
    }
}

/// Runs a server's handshake on a stream. `None` for an authority, which has seen all that it wanted.
///
/// # Errors
/// `ERR_ALKNET_TLS`, also when it takes longer than 10 s.
pub(super) async fn accept(acceptor: &TlsAcceptor, io: BoxIo) -> Result<Option<BoxIo>> {
    let failed = |why: String| Error::new(Code::Tls, why).at(Phase::Tls);
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(io)).await {
        Ok(Ok(io)) if io.get_ref().1.alpn_protocol() == Some(ALPN_ACME) => Ok(None),
        Ok(Ok(io)) => Ok(Some(Box::new(TlsIo(io)))),
        Ok(Err(e)) => Err(failed(format!("no TLS handshake: {e}"))),
        Err(_) => Err(failed("a TLS handshake took too long".into())),
    }
}

/// TLS to an HTTP server at `at`, over a stream that leads there.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for what cannot be trusted; those of the handshake.
pub(crate) async fn https(trust: &TlsTrust, leg: Connected, at: &HostPort) -> Result<Connected> {
    Tls::new(trust, ALPN_HTTP)?.connect(leg, at).await
}

fn roots(trust: &TlsTrust) -> Result<RootCertStore> {
    let Some(pem) = &trust.ca else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| unreadable())?;
    }
    Ok(roots)
}

/// Those of a `tlsCa`, one at least.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|_| unreadable())?;
    match all.is_empty() {
        true => Err(Error::config("tlsCa has no certificate in PEM form")),
        false => Ok(all),
    }
}

fn unreadable() -> Error {
    Error::config("tlsCa has a certificate that cannot be read")
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    let bad = |_| Error::config(format!("{name:?} cannot be the name of a TLS server"));
    ServerName::try_from(name.to_owned()).map_err(bad)
}

/// Why a handshake failed, and what helps.
fn refused(at: &HostPort, error: &io::Error) -> Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::new(Code::Tls, format!("{at} ended the TLS handshake"))
                    .hint("see whether that port speaks TLS")
            }
            _ => {
                let name = posix_name(error);
                Error::new(Code::System(name), format!("TLS handshake {name} {at}"))
            }
        };
    };
    let made =
        |why: String, hint: &str| Error::new(Code::Tls, format!("TLS with {at}: {why}")).hint(hint);
    let self_signed = "give its authority's certificate in tlsCa; insecure takes any certificate, \
         and then the SSH host key alone tells who the server is";
    match tls {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                made("nobody known vouches for its certificate".into(), self_signed)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                made("its certificate is for another name".into(), "give that in tlsServerName")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                made("its certificate has expired".into(), "it must be renewed on the server")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                made("its certificate is not valid yet".into(), "look at the clocks")
            }
            why => made(format!("its certificate cannot be used: {why}"), self_signed),
        },
        rustls::Error::InvalidMessage(_) => {
            made("it does not speak TLS".into(), "look at the port and the transport")
        }
        rustls::Error::AlertReceived(alert) => made(format!("it refused, {alert:?}"), VERSION),
        other => made(other.to_string(), VERSION),
    }
}

/// What helps when nothing else is known.
const VERSION: &str =
    "TLS 1.3 is spoken, and 1.2 where tlsMin says so on both ends; the server's log may know more";

/// Takes every certificate, but has its owner prove to be that.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A server's port that speaks TLS.
pub(super) struct TlsWay {
    pub(super) at: HostPort,
    pub(super) leg: Arc<dyn Dialer>,
    pub(super) tls: Tls,
}

impl Way for TlsWay {
    fn transport(&self) -> Transport {
        Transport::Tls
    }

    fn dial<'a>(&'a self, phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let leg = self.leg.dial(&Target::Tcp(self.at.clone()), None).await?;
            *phase.lock() = Phase::Tls;
            let mut link = self.tls.connect(leg, &self.at).await?;
            link.ends.transport = Transport::Tls.as_str();
            Ok(link)
        }
        .boxed()
    }
}

/// Either end of a TLS session. An end without a word is an end: SSH has its own.
pub(super) struct TlsIo<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for TlsIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Io for TlsIo<client::TlsStream<BoxIo>> {
    fn abort(&mut self) {
        self.0.get_mut().0.abort();
    }
}

impl Io for TlsIo<server::TlsStream<BoxIo>> {
    fn abort(&mut self) {
        self.0.get_mut().0.abort();
    }
}
