//! Composition of what a server's ports show besides SSH: certificate, paths, pages.

use std::sync::Arc;
#[cfg(feature = "tls")]
use std::time::Duration;

use super::ServeOptions;
use super::listening::{Bindings, bind_all};
#[cfg(feature = "tls")]
use crate::auth::KeySource;
use crate::config::{AcmeStatus, Place, Places, Transport};
use crate::error::{Error, Result};
use crate::listen::Listener;
#[cfg(feature = "acme")]
use crate::private;
use crate::scope::Scope;
#[cfg(feature = "acme")]
use crate::ssh::Events;
use crate::ssh::Observer;
#[cfg(feature = "acme")]
use crate::transport::Acme;
#[cfg(feature = "tls")]
use crate::transport::Certificate;
use crate::transport::{Arrival, Inward};

/// How often the files of a certificate are read again: a renewal is weeks before the end.
#[cfg(feature = "tls")]
const RECHECK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone)]
pub(super) struct Front {
    /// Where to listen, by port.
    ports: Vec<Places>,
    settings: Inward,
    /// Of the first address, for the connection string: empty but for a WebSocket at a path of its own.
    pub(super) path: String,
    #[cfg(feature = "tls")]
    files: Option<Arc<Files>>,
    #[cfg(feature = "acme")]
    acme: Option<Arc<Acme>>,
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
        let is_tls = |place: &Place| matches!(place.transport, Transport::Tls | Transport::Wss);
        if options.stealth && !places.iter().any(is_tls) {
            let wrong = "stealth is for the transports tls and wss, which are not among these";
            return Err(Error::config(wrong));
        }
        check_acme(options, places.iter().any(is_tls))?;
        let first = places.first().map(|place| place.path.as_str());
        let path = first.filter(|path| *path != "/alknet").unwrap_or_default().to_owned();
        let settings = Inward {
            stealth: options.stealth,
            hosts: options.ws_hosts.clone(),
            origins: options.ws_origins.clone(),
            least: options.tls_min,
            #[cfg(feature = "tls")]
            certificate: None,
        };
        #[cfg(feature = "tls")]
        let (settings, files) = {
            let given = (options.tls_cert.as_ref(), options.tls_key.as_ref());
            let files = Files::open(given, options.insecure_permissions, scope).await?;
            let certificate = files.as_ref().map(|files| Arc::clone(&files.shown));
            (Inward { certificate, ..settings }, files)
        };
        #[cfg(feature = "acme")]
        let (settings, acme) = match open_acme(options, scope).await? {
            Some(acme) => {
                (Inward { certificate: Some(acme.certificate()), ..settings }, Some(acme))
            }
            None => (settings, None),
        };
        #[cfg(not(feature = "tls"))]
        let _ = scope;
        Ok(Self {
            ports: Places::of(places, options.listen.len() == 1),
            settings,
            path,
            #[cfg(feature = "tls")]
            files,
            #[cfg(feature = "acme")]
            acme,
        })
    }

    /// Listens at all of the places, or at none.
    pub(super) async fn listen(
        &self,
        options: &ServeOptions,
        scope: &Scope,
    ) -> Result<(Vec<Box<dyn Listener<Arrival>>>, Bindings)> {
        bind_all(options, &self.ports, &self.settings, scope).await
    }

    /// Begins to get and renew what an authority issues, which looks for it at the ports.
    pub(super) fn begin(&self, scope: &Scope) {
        #[cfg(feature = "acme")]
        if let Some(acme) = &self.acme {
            scope.spawn(Arc::clone(acme).run());
        }
        #[cfg(not(feature = "acme"))]
        let _ = scope;
    }

    /// How the certificate of an authority stands.
    pub(super) fn acme(&self) -> Option<AcmeStatus> {
        #[cfg(feature = "acme")]
        return self.acme.as_ref().map(|acme| acme.status());
        #[cfg(not(feature = "acme"))]
        None
    }

    /// Has `observer` told of changes of that.
    pub(super) fn observe(&self, observer: &Arc<dyn Observer>) {
        #[cfg(feature = "acme")]
        if let Some(acme) = &self.acme {
            let observer = Arc::clone(observer);
            acme.observe(Box::new(move || observer.notify(Events::FINISHED)));
        }
        #[cfg(not(feature = "acme"))]
        let _ = observer;
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

fn check_acme(options: &ServeOptions, has_tls: bool) -> Result<()> {
    let wrong = match (&options.acme, has_tls) {
        (None, _) => return Ok(()),
        _ if cfg!(not(feature = "acme")) => "this build does not have ACME",
        (_, false) => "acmeDomain is for the transports tls and wss, which are not among these",
        _ if options.tls_cert.is_some() || options.tls_key.is_some() => {
            "give tlsCert and tlsKey, or acmeDomain, not both"
        }
        _ => return Ok(()),
    };
    Err(Error::config(wrong))
}

#[cfg(feature = "acme")]
async fn open_acme(options: &ServeOptions, scope: &Scope) -> Result<Option<Arc<Acme>>> {
    let Some(wanted) = options.acme.clone() else { return Ok(None) };
    let ca = options.acme_ca.clone();
    let work = move || {
        let ca = ca.map(|ca| ca.contents(false)).transpose()?.map(|pem| pem.to_vec());
        let folder = match &wanted.cache {
            Some(folder) => folder.clone(),
            None => private::home()?.join("acme"),
        };
        Acme::open(wanted, ca, folder)
    };
    scope.blocking(work).await?.map(Some)
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

#[cfg(all(test, feature = "acme"))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_certificate_whose_files_have_changed_is_shown_within_a_minute() {
        let folder = std::env::temp_dir().join(format!("alknet-front-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [chain, key] = ["chain", "key"].map(|name| folder.join(name));
        let put = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&chain, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            Some(made.cert.der().to_vec())
        };
        let first = put();
        let scope = Scope::new();
        let [chain_file, key_file] = [&chain, &key].map(|path| KeySource::Path(path.clone()));
        let files = Files::open((Some(&chain_file), Some(&key_file)), true, &scope).await;
        let files = files.unwrap().unwrap();
        assert_eq!(files.shown.leaf(), first);
        let second = put();
        let changed = async {
            while files.shown.leaf() != second {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let limit = RECHECK + Duration::from_secs(5);
        let seen = tokio::time::timeout(limit, changed).await;
        scope.cancel();
        std::fs::remove_dir_all(&folder).unwrap();
        seen.unwrap();
    }
}
