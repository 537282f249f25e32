//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;

/// Whom to trust.
#[derive(Args)]
pub(in crate::cli) struct TlsTrust {
    /// For TLS: a PEM file with the authorities to trust instead of the public ones
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
