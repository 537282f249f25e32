//! Composition of what a server's ports show besides SSH: certificate, paths, pages.

#[cfg(feature = "tls")]
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::time::Duration;

use super::ServeOptions;
use super::listening::{Bindings, bind_all};
#[cfg(feature = "tls")]
use crate::auth::KeySource;
use crate::config::{Place, Transport};
use crate::error::{Error, Result};
use crate::listen::Listener;
use crate::scope::Scope;
#[cfg(feature = "tls")]
use crate::transport::Certificate;
use crate::transport::{Arrival, Inward};

/// How often the files of a certificate are read again: a renewal is weeks before the end.
#[cfg(feature = "tls")]
const RECHECK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone)]
pub(super) struct Front {
    /// Where to listen.
    places: Vec<Place>,
    settings: Inward,
    /// Of the first address, for the connection string: empty but for a WebSocket at a path of its own.
    pub(super) path: String,
    #[cfg(feature = "tls")]
    files: Option<Arc<Files>>,
}

/// A certificate, and where it comes from.
#[cfg(feature = "tls")]
pub(super) struct Files {
    chain: KeySource,
    key: KeySource,
    insecure_permissions: bool,
    pub(super) shown: Arc<Certificate>,
}

impl Front {
    /// Checks the options and reads the certificate, which is looked at again every minute.
    pub(super) async fn open(options: &ServeOptions, scope: &Scope) -> Result<Self> {
        let places = Place::all(&options.listen, &options.transport)?;
        if options.stealth && !places.iter().any(|place| place.transport == Transport::Tls) {
            return Err(Error::config(
                "stealth is for the transport tls, which is not among these",
            ));
        }
        let first = places.first().map(|place| place.path.as_str());
        let path = first.filter(|path| *path != "/alknet").unwrap_or_default().to_owned();
        let settings = Inward {
            stealth: options.stealth,
            hosts: options.ws_hosts.clone(),
            origins: options.ws_origins.clone(),
            ..Inward::default()
        };
        #[cfg(feature = "tls")]
        let (settings, files) = {
            let given = (options.tls_cert.as_ref(), options.tls_key.as_ref());
            let files = Files::open(given, options.insecure_permissions, scope).await?;
            let certificate = files.as_ref().map(|files| Arc::clone(&files.shown));
            (Inward { certificate, ..settings }, files)
        };
        #[cfg(not(feature = "tls"))]
        let _ = scope;
        Ok(Self {
            places,
            settings,
            path,
            #[cfg(feature = "tls")]
            files,
        })
    }

    /// Listens at all of the places, or at none.
    pub(super) async fn listen(
        &self,
        options: &ServeOptions,
        scope: &Scope,
    ) -> Result<(Vec<Box<dyn Listener<Arrival>>>, Bindings)> {
        bind_all(options, &self.places, &self.settings, scope).await
    }

    /// Reads the certificate again. Blocks.
    pub(super) fn reload(&self) -> Result<()> {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.files {
            return files.reload();
        }
        Ok(())
    }
}

#[cfg(feature = "tls")]
impl Files {
    /// Reads a certificate and its key, and again every minute where they are files.
    pub(super) async fn open(
        given: (Option<&KeySource>, Option<&KeySource>),
        insecure_permissions: bool,
        scope: &Scope,
    ) -> Result<Option<Arc<Self>>> {
        let (chain, key) = match given {
            (Some(chain), Some(key)) => (chain.clone(), key.clone()),
            (None, None) => return Ok(None),
            _ => return Err(Error::config("tlsCert and tlsKey are needed both")),
        };
        let may_change =
            [&chain, &key].into_iter().any(|source| matches!(source, KeySource::Path(_)));
        let read = move || {
            let shown =
                Certificate::new(&chain.contents(false)?, &key.contents(!insecure_permissions)?)?;
            Ok::<_, Error>(Arc::new(Self { chain, key, insecure_permissions, shown }))
        };
        let files: Arc<Self> = scope.blocking(read).await??;
        if may_change {
            scope.spawn(watch(Arc::clone(&files), scope.clone()));
        }
        Ok(Some(files))
    }

    /// Reads them again. Blocks.
    pub(super) fn reload(&self) -> Result<()> {
        let key = self.key.contents(!self.insecure_permissions)?;
        self.shown.replace(&self.chain.contents(false)?, &key)
    }
}

#[cfg(feature = "tls")]
async fn watch(files: Arc<Files>, scope: Scope) {
    loop {
        tokio::time::sleep(RECHECK).await;
        let files = Arc::clone(&files);
        if let Ok(Err(error)) = scope.blocking(move || files.reload()).await {
            tracing::warn!(%error, "the TLS certificate stays as it was");
        }
    }
}
