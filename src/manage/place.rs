//! Where the state of background forwarders is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::file::private_folder;
use crate::error::{Error, Result};

/// What each file of a forwarder begins with.
const PREFIX: &str = "forwarder-";

/// The folders of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    root: PathBuf,
}

impl Place {
    /// `$ALKNET_HOME`, else `$XDG_STATE_HOME/alknet`, else `~/.local/state/alknet`. A relative path in the second is no path (XDG
    /// base directories).
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when nothing says where home is.
    pub(crate) fn of_user() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(root) = variable("ALKNET_HOME") {
            let failed = |e| super::file::failed("getcwd", &root, e);
            return Ok(Self { root: std::path::absolute(&root).map_err(failed)? });
        }
        let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = || std::env::home_dir().filter(|home| home.is_absolute());
        let state = state.or_else(|| home().map(|home| home.join(".local/state")));
        let root = state.ok_or_else(|| {
            Error::config("there is no home to keep state in").hint("set ALKNET_HOME")
        })?;
        Ok(Self { root: root.join("alknet") })
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
        private_folder(&self.root)?;
        private_folder(&self.root.join("forwarders"))?;
        private_folder(&self.root.join("logs"))
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
