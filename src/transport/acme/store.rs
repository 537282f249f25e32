//! Account and certificate, kept for the next run: an authority allows few of either.

use std::path::PathBuf;

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::error::Result;
use crate::private;

/// A folder of the server's own.
#[derive(Debug)]
pub(super) struct Store {
    account: PathBuf,
    certificate: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing. Each directory has its account, each list of names its certificate.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a folder that others may use; the system's own failure.
    pub(super) fn open(folder: PathBuf, directory: &str, domains: &[String]) -> Result<Self> {
        private::folder(&folder)?;
        let first = domains.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        let mut all = domains.to_vec();
        all.sort();
        all.insert(0, directory.to_owned());
        Ok(Self {
            account: folder.join(format!("account-{}.json", short(directory))),
            certificate: folder.join(format!("{first}-{}.pem", short(&all.join(" ")))),
        })
    }

    pub(super) fn account(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(private::read(&self.account)?.map(Zeroizing::new))
    }

    pub(super) fn put_account(&self, json: &[u8]) -> Result<()> {
        private::replace(&self.account, json)
    }

    pub(super) fn forget_account(&self) {
        private::remove(&self.account);
    }

    /// The key and the chain, in PEM form.
    pub(super) fn certificate(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(private::read(&self.certificate)?.map(Zeroizing::new))
    }

    pub(super) fn put_certificate(&self, pem: &[u8]) -> Result<()> {
        private::replace(&self.certificate, pem)
    }
}

/// Tells names of files apart; nothing more depends on it.
fn short(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
