//! TLS around what a runner or a host is asked.

#[cfg(feature = "tls")]
use std::sync::Arc;

use super::TunnelOptions;
use crate::error::Result;
use crate::io::BoxIo;
use crate::scope::Scope;
#[cfg(feature = "tls")]
use crate::{auth::KeySource, server::front::Files, transport::Https};

/// There may be none.
#[derive(Clone)]
pub(super) struct Cover {
    #[cfg(feature = "tls")]
    tls: Option<(Arc<Files>, Https)>,
}

#[cfg(feature = "tls")]
impl Cover {
    /// # Errors
    /// Those of the files; `ERR_ALKNET_CONFIG` for what is in them, or when one is missing.
    pub(super) async fn open(options: &TunnelOptions, scope: &Scope) -> Result<Self> {
        let source = |path: &Option<std::path::PathBuf>| path.clone().map(KeySource::Path);
        let (chain, key) = (source(&options.tls_cert), source(&options.tls_key));
        let files = Files::open((chain.as_ref(), key.as_ref()), false, scope).await?;
        let Some(files) = files else { return Ok(Self { tls: None }) };
        let tls = Https::new(Arc::clone(&files.shown))?;
        Ok(Self { tls: Some((files, tls)) })
    }

    pub(super) fn is_there(&self) -> bool {
        self.tls.is_some()
    }

    /// A stream that has arrived, out of its TLS.
    ///
    /// # Errors
    /// `ERR_ALKNET_TLS`.
    pub(super) async fn accept(&self, io: BoxIo) -> Result<BoxIo> {
        match &self.tls {
            Some((_, tls)) => tls.accept(io).await,
            None => Ok(io),
        }
    }

    /// Reads the files again. Blocks.
    ///
    /// # Errors
    /// Those of the files; what was read before stays.
    pub(super) fn reload(&self) -> Result<()> {
        self.tls.as_ref().map_or(Ok(()), |(files, _)| files.reload())
    }
}

#[cfg(not(feature = "tls"))]
impl Cover {
    pub(super) async fn open(options: &TunnelOptions, _scope: &Scope) -> Result<Self> {
        match (&options.tls_cert, &options.tls_key) {
            (None, None) => Ok(Self {}),
            _ => Err(crate::error::Error::config("this program is built without TLS")),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        false
    }

    pub(super) async fn accept(&self, io: BoxIo) -> Result<BoxIo> {
        Ok(io)
    }

    pub(super) fn reload(&self) -> Result<()> {
        Ok(())
    }
}
