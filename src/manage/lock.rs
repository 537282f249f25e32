//! Lock files: held by a process as long as it lives, and no longer. The kernel keeps them, so there is nothing to clean up after a
//! crash, and a process id that comes back means nothing.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::private;

/// How long a look at a lock may stand in the way of who takes it.
const LOOK: Duration = Duration::from_secs(2);

/// Pause between two tries. There is nothing to wait on instead: a thread that waits in flock(2) cannot be called back.
const PAUSE: Duration = Duration::from_millis(10);

/// A lock that is held. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, if nobody holds it.
    ///
    /// # Errors
    /// What is wrong with the file.
    fn try_take(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = private::open(path, true)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(private::failed("flock", path, e)),
            }
            // Its last holder may have removed the file between the two.
            if is_at(&file, path) {
                return Ok(Some(Self { file, path: path.to_owned() }));
            }
        }
    }

    /// Takes the lock; `None` when another holds it for `limit`.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn take(path: &Path, limit: Duration) -> Result<Option<Self>> {
        let until = Instant::now() + limit;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Some(lock));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Takes a lock that nobody but one who looks can hold.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn take_now(path: &Path) -> Result<Option<Self>> {
        Self::take(path, LOOK).await
    }

    /// Gives the lock back, and takes its file away.
    pub(super) fn remove(self) {
        if is_at(&self.file, &self.path) {
            private::remove(&self.path);
        }
    }
}

/// Whether somebody holds the lock.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn is_held(path: &Path) -> Result<bool> {
    let file = match private::open(path, false) {
        Err(e) if e.cause().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) => {
            return Ok(false);
        }
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(private::failed("flock", path, e)),
    }
}

/// Waits until nobody holds the lock, `limit` at most. Whether that is so.
///
/// # Errors
/// What is wrong with the file.
pub(super) async fn is_free_within(path: &Path, limit: Duration) -> Result<bool> {
    let until = Instant::now() + limit;
    while is_held(path)? {
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(true)
}

/// That somebody does not give way.
pub(super) fn busy(what: &str) -> Error {
    Error::new(
        crate::error::Code::System("ETIMEDOUT"),
        format!("{what} is being started or stopped by another"),
    )
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}
