//! The list of who may log in while a server runs: read again when it changes, replaced as a whole.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::authorized_keys::AuthorizedKeys;
use super::file::Stamp;
use super::key::KeySource;
use crate::error::Result;

/// A file that has been emptied so recently is probably being written.
const WRITING: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct KeyRing {
    source: KeySource,
    insecure_permissions: bool,
    list: watch::Sender<Arc<AuthorizedKeys>>,
    /// The state of the file that was last looked at; `None` while it may still change unseen. Held while the file is read,
    /// so that an older list never replaces a newer one.
    seen: Mutex<Option<Seen>>,
}

/// A file's state; without a stamp it could not be looked at.
#[derive(PartialEq, Eq)]
struct Seen(Option<Stamp>);

impl KeyRing {
    /// Reads the list for the first time. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when nobody could log in, `ERR_ALKNET_KEY_INVALID` for a file that others may change; its own failure.
    pub(crate) fn open(source: KeySource, insecure_permissions: bool) -> Result<Self> {
        let (list, stamp) = AuthorizedKeys::load(&source, insecure_permissions)?;
        list.must_let_somebody_in(&source)?;
        let list = watch::Sender::new(Arc::new(list));
        let seen = Mutex::new(stamp.and_then(Seen::settled));
        Ok(Self { source, insecure_permissions, list, seen })
    }

    /// The list as it is now.
    pub(crate) fn list(&self) -> Arc<AuthorizedKeys> {
        Arc::clone(&self.list.borrow())
    }

    /// Tells of every new list.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<AuthorizedKeys>> {
        self.list.subscribe()
    }

    /// Reads the list again; on failure the old one stays. Everybody who is logged in is judged anew, whether it has changed or
    /// not. Blocks.
    ///
    /// # Errors
    /// Those of [`KeyRing::open`], but for a list without any line, which lets nobody in.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut seen = self.seen.lock();
        let (list, stamp) = AuthorizedKeys::load(&self.source, self.insecure_permissions)?;
        if !list.is_blank() {
            list.must_let_somebody_in(&self.source)?;
        }
        *seen = stamp.and_then(Seen::settled);
        self.list.send_replace(Arc::new(list));
        Ok(())
    }

    /// Whether [`KeyRing::refresh`] has anything to look at.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self.source, KeySource::Path(_))
    }

    /// Whether anybody waits for a new list.
    pub(crate) fn is_watched(&self) -> bool {
        self.list.receiver_count() > 0
    }

    /// Reads the list again if its file has changed. What cannot be used is told once, and the old list stays. Blocks for as
    /// long as the file system takes.
    pub(crate) fn refresh(&self) {
        let KeySource::Path(path) = &self.source else { return };
        let mut seen = self.seen.lock();
        let found = Seen(Stamp::at(path));
        if seen.as_ref() == Some(&found) {
            return;
        }
        if found.0.as_ref().is_some_and(|stamp| stamp.is_empty() && !stamp.is_older_than(WRITING)) {
            return;
        }
        let loaded = AuthorizedKeys::load(&self.source, self.insecure_permissions);
        let usable = loaded.and_then(|(list, stamp)| match list.is_blank() {
            true => Ok((list, stamp)),
            false => list.must_let_somebody_in(&self.source).map(|()| (list, stamp)),
        });
        match usable {
            Ok((list, stamp)) => {
                *seen = stamp.and_then(Seen::settled);
                if **self.list.borrow() != list {
                    tracing::info!("authorized_keys has changed");
                    self.list.send_replace(Arc::new(list));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "authorized_keys has changed and cannot be used, the old keys stay");
                *seen = Some(found);
            }
        }
    }
}

impl Seen {
    fn settled(stamp: Stamp) -> Option<Self> {
        stamp.is_settled().then_some(Self(Some(stamp)))
    }
}
