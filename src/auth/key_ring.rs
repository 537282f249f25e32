//! The lists of who may log in while a server runs: read again when one changes, replaced as a whole.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::authorized_keys::{AuthorizedKeys, KeyLists};
use super::file::Stamp;
use super::key::KeySource;
use crate::error::Result;

/// A file that has been emptied so recently is probably being written.
const WRITING: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct KeyRing {
    lists: KeyLists,
    list: watch::Sender<Arc<AuthorizedKeys>>,
    /// The states of the files that were last looked at; `None` while one may still change unseen. Held while they are read,
    /// so that an older list never replaces a newer one.
    seen: Mutex<Option<Seen>>,
}

/// Files' states, in order; one without a stamp could not be looked at.
#[derive(PartialEq, Eq)]
struct Seen(Vec<Option<Stamp>>);

impl KeyRing {
    /// Reads the lists for the first time. Blocks.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when nobody could log in, `ERR_ALKNET_KEY_INVALID` for a file that others may change and for a list of
    /// revoked keys that is not understood; the file's own failure.
    pub(crate) fn open(lists: KeyLists) -> Result<Self> {
        let (list, stamps) = AuthorizedKeys::load(&lists)?;
        list.must_let_somebody_in(&lists)?;
        let list = watch::Sender::new(Arc::new(list));
        Ok(Self { lists, list, seen: Mutex::new(Seen::settled(stamps)) })
    }

    /// The list as it is now.
    pub(crate) fn list(&self) -> Arc<AuthorizedKeys> {
        Arc::clone(&self.list.borrow())
    }

    /// Tells of every new list.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<AuthorizedKeys>> {
        self.list.subscribe()
    }

    /// Reads the lists again; on failure the old ones stay. Everybody who is logged in is judged anew, whether anything has changed
    /// or not. Blocks.
    ///
    /// # Errors
    /// Those of [`KeyRing::open`], but for lists without any line, which let nobody in.
    pub(crate) fn reload(&self) -> Result<()> {
        let mut seen = self.seen.lock();
        let (list, stamps) = self.load()?;
        *seen = Seen::settled(stamps);
        self.list.send_replace(Arc::new(list));
        Ok(())
    }

    /// Whether [`KeyRing::refresh`] has anything to look at.
    pub(crate) fn may_change(&self) -> bool {
        self.lists.given().any(|source| matches!(source, KeySource::Path(_)))
    }

    /// Whether anybody waits for a new list.
    pub(crate) fn is_watched(&self) -> bool {
        self.list.receiver_count() > 0
    }

    /// Reads the lists again if one of their files has changed. What cannot be used is told once, and the old lists stay. Blocks for
    /// as long as the file system takes.
    pub(crate) fn refresh(&self) {
        let mut seen = self.seen.lock();
        let found = Seen::now(&self.lists);
        if seen.as_ref() == Some(&found) || found.is_being_written() {
            return;
        }
        match self.load() {
            Ok((list, stamps)) => {
                *seen = Seen::settled(stamps);
                if **self.list.borrow() != list {
                    tracing::info!("the list of authorised keys has changed");
                    self.list.send_replace(Arc::new(list));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the list of authorised keys has changed and cannot be used, the old one stays");
                *seen = Some(found);
            }
        }
    }

    fn load(&self) -> Result<(AuthorizedKeys, Vec<Stamp>)> {
        let (list, stamps) = AuthorizedKeys::load(&self.lists)?;
        if !list.is_blank() {
            list.must_let_somebody_in(&self.lists)?;
        }
        Ok((list, stamps))
    }
}

impl Seen {
    fn now(lists: &KeyLists) -> Self {
        let stamp = |source: &KeySource| match source {
            KeySource::Path(path) => Some(Stamp::at(path)),
            KeySource::Memory(_) => None,
        };
        Self(lists.given().filter_map(stamp).collect())
    }

    fn settled(stamps: Vec<Stamp>) -> Option<Self> {
        stamps.iter().all(Stamp::is_settled).then(|| Self(stamps.into_iter().map(Some).collect()))
    }

    fn is_being_written(&self) -> bool {
        self.0.iter().flatten().any(|stamp| stamp.is_empty() && !stamp.is_older_than(WRITING))
    }
}
