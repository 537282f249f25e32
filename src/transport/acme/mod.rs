//! A server's certificate by ACME (RFC 8555): got, kept and renewed while the server goes on. The authority connects to the server's own
//! TLS port (TLS-ALPN-01, RFC 8737).

mod order;
mod pace;
mod store;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, AccountCredentials, NewAccount};
use parking_lot::Mutex;

use self::order::{Failure, issue};
use self::pace::{Kind, Validity, pause, renewal};
use self::store::Store;
use self::web::Web;
use super::certificate::Certificate;
use super::tls::{ALPN_HTTP, Tls, TlsTrust};
use crate::config::{AcmeOptions, AcmeStatus, TlsVersion};
use crate::error::{Error, Result};
use crate::scope::off_thread;

/// For one attempt, from the directory to the certificate: authorities look several times, and some take their time.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(300);

/// Longest sleep between two looks at the clock, which may be set meanwhile.
const LOOK: Duration = Duration::from_secs(3600);

/// Told of every change of the status.
pub(crate) type Told = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub(crate) struct Acme {
    options: AcmeOptions,
    store: Store,
    web: Web,
    /// What is shown: to clients the certificate, to the authority the answers to its challenges.
    shown: Arc<Certificate>,
    status: Mutex<AcmeStatus>,
    told: Mutex<Option<Told>>,
}

impl Acme {
    /// Takes the certificate of an earlier run out of `folder`, if it is there. `ca` in PEM form vouches for the directory's server instead
    /// of the public authorities. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what no authority would take and for a folder that others may use; the system's own failure.
    pub(crate) fn open(
        options: AcmeOptions,
        ca: Option<Vec<u8>>,
        folder: PathBuf,
    ) -> Result<Arc<Self>> {
        options.check()?;
        let trust = TlsTrust { ca, least: TlsVersion::Tls12, ..TlsTrust::default() };
        let tls = Tls::new(&trust, ALPN_HTTP).map_err(|e| Error::config(format!("acmeCa: {e}")))?;
        let web = Web::new(tls);
        let store = Store::open(folder, options.directory(), &options.domains)?;
        let (shown, valid_until) = match store.certificate()? {
            Some(pem) => (Certificate::by_acme(Some(&pem))?, Validity::of_pem(&pem)),
            None => (Certificate::by_acme(None)?, None),
        };
        let status = AcmeStatus {
            domains: options.domains.clone(),
            valid_until: valid_until.map(|validity| validity.until),
            next_attempt: None,
            error: None,
        };
        let (status, told) = (Mutex::new(status), Mutex::default());
        Ok(Arc::new(Self { options, store, web, shown, status, told }))
    }

    /// What a server's handshakes show.
    pub(crate) fn certificate(&self) -> Arc<Certificate> {
        Arc::clone(&self.shown)
    }

    pub(crate) fn status(&self) -> AcmeStatus {
        self.status.lock().clone()
    }

    /// Has `told` told of every change of the status from now on.
    pub(crate) fn observe(&self, told: Told) {
        *self.told.lock() = Some(told);
    }

    /// Gets the certificate and renews it, for ever. The old one is shown until there is a new one.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut failures = 0;
        let mut due = self.renewal().await;
        self.set(|status| status.next_attempt = Some(due));
        loop {
            wait_until(due).await;
            match self.attempt().await {
                Ok(validity) => {
                    failures = 0;
                    due = renewal(validity);
                    self.set(|status| {
                        status.valid_until = Some(validity.until);
                        status.next_attempt = Some(due);
                        status.error = None;
                    });
                    tracing::info!(domains = %self.options.domains.join(" "), "a TLS certificate was issued");
                }
                Err(Failure { error, kind }) => {
                    if kind == Kind::Forgotten {
                        let own = Arc::clone(&self);
                        let _ = off_thread(move || own.store.forget_account()).await;
                    }
                    let pause = pause(kind, failures, fastrand::f64());
                    failures = failures.saturating_add(1);
                    due = SystemTime::now() + pause;
                    let seconds = pause.as_secs();
                    tracing::warn!(%error, next_attempt = seconds, "no TLS certificate was issued");
                    self.set(|status| {
                        status.next_attempt = Some(due);
                        status.error = Some(error);
                    });
                }
            }
        }
    }

    /// When the certificate of an earlier run is due; now when there is none.
    async fn renewal(self: &Arc<Self>) -> SystemTime {
        let own = Arc::clone(self);
        let pem = off_thread(move || own.store.certificate()).await;
        let pem = pem.and_then(|pem| pem).ok().flatten();
        let validity = pem.and_then(|pem| Validity::of_pem(&pem));
        validity.map_or_else(SystemTime::now, renewal)
    }

    async fn attempt(self: &Arc<Self>) -> Result<Validity, Failure> {
        let trying = async {
            let account = self.account().await?;
            let issued = issue(&account, &self.options.domains, &self.shown).await;
            self.shown.forget_challenges();
            let pem = issued?;
            let validity = Validity::of_pem(&pem)
                .ok_or_else(|| Failure::refused("its certificate has no time of validity"))?;
            self.shown.replace(&pem, &pem).map_err(Failure::from)?;
            let own = Arc::clone(self);
            let stored = off_thread(move || own.store.put_certificate(&pem)).await;
            if let Err(error) = stored.and_then(|stored| stored) {
                // It is shown all the same; the next run would have to ask again.
                tracing::warn!(%error, "a TLS certificate could not be kept");
            }
            Ok(validity)
        };
        tokio::time::timeout(ATTEMPT_LIMIT, trying).await.unwrap_or_else(|_| {
            self.shown.forget_challenges();
            Err(Failure::refused("the authority took too long"))
        })
    }

    /// The account of an earlier run, or a new one, which is kept before it is used.
    async fn account(self: &Arc<Self>) -> Result<Account, Failure> {
        let own = Arc::clone(self);
        let kept = off_thread(move || own.store.account()).await;
        if let Some(json) = kept.and_then(|kept| kept)? {
            let credentials: AccountCredentials = serde_json::from_slice(&json)
                .map_err(|_| Failure::refused("the account that is kept cannot be read"))?;
            let builder = Account::builder_with_http(Box::new(self.web.clone()));
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact = self.options.contact.as_ref().map(|mail| match mail.starts_with("mailto:") {
            true => mail.clone(),
            false => format!("mailto:{mail}"),
        });
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(self.web.clone()));
        let directory = self.options.directory().to_owned();
        let (account, credentials) = builder.create(&wanted, directory, None).await?;
        let json = serde_json::to_vec(&credentials)
            .map_err(|_| Failure::refused("the account cannot be kept"))?;
        let own = Arc::clone(self);
        off_thread(move || own.store.put_account(&json)).await.and_then(|kept| kept)?;
        Ok(account)
    }

    fn set(&self, change: impl FnOnce(&mut AcmeStatus)) {
        change(&mut self.status.lock());
        if let Some(told) = &*self.told.lock() {
            told();
        }
    }
}

async fn wait_until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::local(error)
    }
}
