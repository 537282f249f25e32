//! Files of ours: for their owner alone, never through a link, replaced whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Phase, Result};

/// Longest file that is read: state has a kilobyte or two, a chain of certificates less than ten.
const LONGEST: u64 = 64 * 1024;

/// Where programs of ours keep their state: `$ALKNET_HOME`, else `$XDG_STATE_HOME/alknet`, else `~/.local/state/alknet`. A relative path in
/// the second is no path (XDG base directories).
///
/// # Errors
/// `ERR_ALKNET_CONFIG` when nothing says where home is.
pub(crate) fn home() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(root) = variable("ALKNET_HOME") {
        return std::path::absolute(&root).map_err(|e| failed("getcwd", &root, e));
    }
    let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let state = state.or_else(|| home().map(|home| home.join(".local/state")));
    let root = state.ok_or_else(|| {
        Error::config("there is no home to keep state in").hint("set ALKNET_HOME")
    })?;
    Ok(root.join("alknet"))
}

/// A folder for its owner alone, made with those above it where it is missing.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for one that others may use, that belongs to another, or that is a link; the system's own failure.
pub(crate) fn folder(path: &Path) -> Result<()> {
    if let Err(e) = owners_folder().recursive(true).create(path) {
        // A link or a file in its place is told of below.
        if fs::symlink_metadata(path).is_err() {
            return Err(failed("mkdir", path, e));
        }
    }
    let found = fs::symlink_metadata(path).map_err(|e| failed("stat", path, e))?;
    let shown = path.display();
    if !found.is_dir() {
        return Err(Error::config(format!("{shown} is no folder, or a link to one"))
            .hint("remove it, or name another place"));
    }
    if is_strangers(&found) {
        return Err(Error::config(format!("{shown} belongs to another user"))
            .hint("name a folder of your own"));
    }
    match is_open_to_others(&found) {
        true => Err(Error::config(format!("{shown} may be used by others"))
            .hint(format!("chmod 700 {shown}"))),
        false => Ok(()),
    }
}

/// Opens a file of ours, made where it is missing and `make` is set.
///
/// # Errors
/// As [`folder`], for files.
pub(crate) fn open(path: &Path, make: bool) -> Result<File> {
    let mut options = owners_file();
    options.read(true).append(true).create(make);
    let file = options.open(path).map_err(|e| match is_about_link(&e) {
        true => Error::config(format!("{} is a link", path.display())).hint("remove it"),
        false => failed("open", path, e),
    })?;
    let found = file.metadata().map_err(|e| failed("stat", path, e))?;
    let shown = path.display();
    if !found.is_file() {
        return Err(Error::config(format!("{shown} is no file")).hint("remove it"));
    }
    if is_strangers(&found) || is_open_to_others(&found) {
        return Err(Error::config(format!(
            "{shown} belongs to another user or may be used by others"
        ))
        .hint(format!("chmod 600 {shown}, or remove it")));
    }
    Ok(file)
}

/// Reads a file of ours; `None` when there is none.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match open(path, false) {
        Err(e) if e.cause().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(|e| failed("read", path, e))?;
    Ok(Some(bytes))
}

/// Puts a file in place whole: who reads sees the old one or the new one.
///
/// # Errors
/// `ENOSPC` and the like; the old file stays then.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&fresh);
        let mut file = owners_file().write(true).create_new(true).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&fresh);
        failed("write", path, e)
    })
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

pub(crate) fn failed(call: &'static str, path: &Path, e: io::Error) -> Error {
    Error::system(call, &path.display().to_string(), e).at(Phase::Config)
}

#[cfg(unix)]
use unix::{is_about_link, is_open_to_others, is_strangers, owners_file, owners_folder};

#[cfg(unix)]
mod unix {
    use std::fs::{DirBuilder, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;

    pub(super) fn owners_folder() -> DirBuilder {
        let mut folder = DirBuilder::new();
        folder.mode(0o700);
        folder
    }

    /// Through no link; and a pipe in its place must not hold us up.
    pub(super) fn owners_file() -> OpenOptions {
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
        options
    }

    pub(super) fn is_about_link(error: &io::Error) -> bool {
        error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
    }

    pub(super) fn is_strangers(found: &Metadata) -> bool {
        found.uid() != rustix::process::geteuid().as_raw()
    }

    pub(super) fn is_open_to_others(found: &Metadata) -> bool {
        found.mode() & 0o077 != 0
    }
}

/// Elsewhere access lists decide, which are not looked at.
#[cfg(not(unix))]
use elsewhere::{is_about_link, is_open_to_others, is_strangers, owners_file, owners_folder};

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{DirBuilder, Metadata, OpenOptions};
    use std::io;

    pub(super) fn owners_folder() -> DirBuilder {
        DirBuilder::new()
    }

    pub(super) fn owners_file() -> OpenOptions {
        OpenOptions::new()
    }

    pub(super) fn is_about_link(_: &io::Error) -> bool {
        false
    }

    pub(super) fn is_strangers(_: &Metadata) -> bool {
        false
    }

    pub(super) fn is_open_to_others(_: &Metadata) -> bool {
        false
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::error::Code;

    /// A folder of the test's own, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let at = std::env::temp_dir().join(format!("alknet-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            folder(&at).expect("a folder");
            Self(at)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_that_others_may_use_is_refused_with_what_mends_it() {
        let scratch = Scratch::new("folder");
        let open = scratch.0.join("open");
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("a mode");
        let error = folder(&open).expect_err("refused");
        assert_eq!(error.code(), Code::Config);
        assert!(error.help().is_some_and(|help| help.starts_with("chmod 700")), "{error}");
        let link = scratch.0.join("link");
        symlink(&scratch.0, &link).expect("a link");
        assert_eq!(folder(&link).expect_err("refused").code(), Code::Config);
    }

    #[test]
    fn links_pipes_and_files_for_others_are_no_files_of_ours() {
        let scratch = Scratch::new("file");
        let file = scratch.0.join("file");
        replace(&file, b"before").expect("a file");
        assert_eq!(read(&file).expect("it reads"), Some(b"before".to_vec()));
        assert_eq!(read(&scratch.0.join("none")).expect("nothing"), None);
        let link = scratch.0.join("link");
        symlink(&file, &link).expect("a link");
        assert_eq!(open(&link, true).expect_err("refused").code(), Code::Config);
        assert_eq!(
            open(&scratch.0, false).map(|_| ()).expect_err("refused").phase(),
            Some(Phase::Config)
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
        assert_eq!(open(&file, false).expect_err("refused").code(), Code::Config);
    }

    #[test]
    fn a_file_is_replaced_through_no_link() {
        let scratch = Scratch::new("replace");
        let (victim, path) = (scratch.0.join("victim"), scratch.0.join("state"));
        fs::write(&victim, "mine").expect("a file");
        symlink(&victim, &path).expect("a link");
        replace(&path, b"new").expect("replaced");
        assert_eq!(fs::read(&victim).expect("it reads"), b"mine");
        assert_eq!(fs::read(&path).expect("it reads"), b"new");
    }
}
