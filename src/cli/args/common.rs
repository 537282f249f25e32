//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::auth::Trust;
use crate::config::{TlsVersion, Transport};

/// Whom to trust.
#[derive(Args)]
pub(in crate::cli) struct TlsTrust {
    /// For TLS: a PEM file with the authorities to trust instead of the public ones; for a relay of iroh, besides them
    #[arg(long, value_name = "PATH", env = "ALKNET_TLS_CA")]
    pub(in crate::cli) tls_ca: Option<PathBuf>,
}

/// What a server shows.
#[derive(Args)]
pub(in crate::cli) struct TlsCertificate {
    /// For TLS: a PEM file with the certificate and those that vouch for it
    #[arg(long, value_name = "PATH", env = "ALKNET_TLS_CERT", requires = "tls_key")]
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    /// For TLS: a PEM file with the certificate's private key
    #[arg(long, value_name = "PATH", env = "ALKNET_TLS_KEY", requires = "tls_cert")]
    pub(in crate::cli) tls_key: Option<PathBuf>,
}

/// Who is told that it has begun.
#[derive(Args)]
pub(in crate::cli) struct Ready {
    /// Write a line to this open file descriptor when everything listens
    #[arg(long, value_name = "N", env = "ALKNET_READY_FD")]
    pub(in crate::cli) ready_fd: Option<i32>,
}

/// A transport by its name, which shells complete.
pub(in crate::cli) fn transport() -> impl TypedValueParser<Value = Transport> {
    let names = Transport::ALL.iter().map(|transport| transport.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// A version of TLS, likewise.
pub(in crate::cli) fn tls_version() -> impl TypedValueParser<Value = TlsVersion> {
    PossibleValuesParser::new(["1.2", "1.3"]).try_map(|name| name.parse())
}

/// What becomes of unknown servers, likewise.
pub(in crate::cli) fn trust() -> impl TypedValueParser<Value = Trust> {
    PossibleValuesParser::new(["strict", "first-use"]).try_map(|name| name.parse())
}
