//! Where the state of background forwarders is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::private;

/// What each file of a forwarder begins with.
const PREFIX: &str = "forwarder-";

/// The folders of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    root: PathBuf,
}

impl Place {
    /// Those in [`private::home`].
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when nothing says where home is.
    pub(crate) fn of_user() -> Result<Self> {
        Ok(Self { root: private::home()? })
    }

    /// Below `root`, which is absolute.
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folders that are missing, and sees that nobody else may use them.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` with what mends it; the system's own failure.
    pub(super) fn prepare(&self) -> Result<()> {
        private::folder(&self.root)?;
        private::folder(&self.root.join("forwarders"))?;
        private::folder(&self.root.join("logs"))
    }

    /// Its state.
    pub(crate) fn state(&self, id: &str) -> PathBuf {
        self.file(id, "json")
    }

    /// Held by the worker as long as it lives.
    pub(super) fn lock(&self, id: &str) -> PathBuf {
        self.file(id, "lock")
    }

    /// Held by who starts or removes one.
    pub(super) fn turn(&self, id: &str) -> PathBuf {
        self.file(id, "turn")
    }

    /// Where the worker answers.
    pub(super) fn socket(&self, id: &str) -> PathBuf {
        self.file(id, "sock")
    }

    /// Its log.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.root.join("logs").join(format!("{PREFIX}{id}.log"))
    }

    /// Every forwarder of which there is a state or a lock.
    pub(super) fn ids(&self) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(self.root.join("forwarders")) else {
            return BTreeSet::new();
        };
        let id = |name: &str| {
            let name = name.strip_prefix(PREFIX)?;
            let id = name.strip_suffix(".json").or_else(|| name.strip_suffix(".lock"))?;
            is_id(id).then(|| id.to_owned())
        };
        entries.flatten().filter_map(|entry| id(entry.file_name().to_str()?)).collect()
    }

    fn file(&self, id: &str, kind: &str) -> PathBuf {
        self.root.join("forwarders").join(format!("{PREFIX}{id}.{kind}"))
    }
}

/// Letters, digits, `-` and `_`, 64 at most: what is a file name everywhere, and has no dot that could be an ending.
pub(super) fn is_id(text: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_');
    (1..=64).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-')
}
