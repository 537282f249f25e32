//! Files of ours: for their owner alone, never through a link, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Phase, Result};

/// Longest state file: ours have a kilobyte or two.
const LONGEST: u64 = 64 * 1024;

/// Read and write, for the owner.
const FILE_MODE: u32 = 0o600;

/// A folder for its owner alone, made with those above it where it is missing.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for one that others may use, that belongs to another, or that is a link; the system's own failure.
pub(super) fn private_folder(path: &Path) -> Result<()> {
    if let Err(e) = DirBuilder::new().mode(0o700).recursive(true).create(path) {
        // A link or a file in its place is told of below.
        if fs::symlink_metadata(path).is_err() {
            return Err(failed("mkdir", path, e));
        }
    }
    let found = fs::symlink_metadata(path).map_err(|e| failed("stat", path, e))?;
    let shown = path.display();
    if !found.is_dir() {
        return Err(Error::config(format!("{shown} is no folder, or a link to one"))
            .hint("remove it, or let ALKNET_HOME name another place"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::config(format!("{shown} belongs to another user"))
            .hint("let ALKNET_HOME name a folder of your own"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Error::config(format!("{shown} may be used by others"))
            .hint(format!("chmod 700 {shown}")));
    }
    Ok(())
}

/// Opens a file of ours, made where it is missing and `make` is set.
///
/// # Errors
/// As [`private_folder`], for files.
pub(super) fn open(path: &Path, make: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(make).mode(FILE_MODE);
    // A pipe in its place must not hold us up.
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let file = options.open(path).map_err(|e| match e.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            Error::config(format!("{} is a link", path.display())).hint("remove it")
        }
        _ => failed("open", path, e),
    })?;
    let found = file.metadata().map_err(|e| failed("stat", path, e))?;
    let shown = path.display();
    if !found.is_file() {
        return Err(Error::config(format!("{shown} is no file")).hint("remove it"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
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
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
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
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&fresh);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let mut file = options.open(&fresh)?;
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
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

pub(super) fn failed(call: &'static str, path: &Path, e: io::Error) -> Error {
    Error::system(call, &path.display().to_string(), e).at(Phase::Config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::error::Code;

    /// A folder of the test's own, removed with it.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let at = std::env::temp_dir().join(format!("alknet-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&at);
            private_folder(&at).expect("a folder");
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
        let error = private_folder(&open).expect_err("refused");
        assert_eq!(error.code(), Code::Config);
        assert!(error.help().is_some_and(|help| help.starts_with("chmod 700")), "{error}");
        let link = scratch.0.join("link");
        symlink(&scratch.0, &link).expect("a link");
        assert_eq!(private_folder(&link).expect_err("refused").code(), Code::Config);
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
