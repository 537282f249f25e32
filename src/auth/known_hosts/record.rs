//! Writing down a host that is met for the first time.
//!
//! The line is appended to the file under the file's own lock, and nothing else in it is touched: ssh appends too and knows no lock, so
//! that replacing the file could lose its line. Links, mode, owner and contents stay as they are.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use russh::keys::ssh_key::public::KeyData;

use super::{Found, KnownHosts, Verdict, line};
use crate::error::{Error, Phase, Result};

/// What came of an attempt to write a host down.
pub(in crate::auth) enum Attempt {
    /// It is in the file now, by this attempt or by another program's.
    Recorded,
    /// Another program has written something else about this host: that decides.
    Decided(Found),
    /// Another program holds the file: to be tried again.
    Busy,
}

impl KnownHosts {
    /// Adds `key` to the first file, unless meanwhile there is something about the host. Does not wait for the lock.
    ///
    /// # Errors
    /// The file's own failure. The file is as it was then.
    pub(in crate::auth) fn try_record(&self, path: &Path, key: &KeyData) -> Result<Attempt> {
        let failed = |syscall: &'static str| {
            move |e: io::Error| {
                Error::system(syscall, &path.display().to_string(), e)
                    .at(Phase::HostKey)
                    .hint("trust 'first-use' has to write the host key down; nothing was sent to the server but the key exchange")
            }
        };
        let file = open(path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Busy),
            Err(TryLockError::Error(e)) => return Err(failed("flock")(e)),
        }
        if !is_still(path, &file).map_err(failed("stat"))? {
            return Ok(Attempt::Busy);
        }
        let found = self.search_with(Some(&file))?;
        match found.verdict(key) {
            Verdict::Known => return Ok(Attempt::Recorded),
            Verdict::Revoked(_) | Verdict::Changed(_) => return Ok(Attempt::Decided(found)),
            Verdict::Unknown => {}
        }
        let line = line::hashed(self.name(), key)
            .ok_or_else(|| Error::config("a host key cannot be written down").at(Phase::HostKey))?;
        append(&file, &line).map_err(failed("write"))?;
        Ok(Attempt::Recorded)
    }
}

/// Opens the file, and makes it, with its folder, when it is not there: for its owner alone.
fn open(path: &Path) -> io::Result<File> {
    match std::fs::metadata(path) {
        // Opening a pipe would wait, and what is written to a device is not there afterwards.
        Ok(meta) if !meta.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        Ok(_) => {}
        Err(_) => make_folder(path)?,
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Whether the path still leads to the file that is locked: `ssh-keygen -R` puts another one in its place.
#[cfg(unix)]
fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let locked = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (locked.dev(), locked.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(not(unix))]
fn is_still(_path: &Path, _file: &File) -> io::Result<bool> {
    Ok(true)
}

/// Adds a line, and gives the last one its end when it has none. Takes back what a full disk has let through.
fn append(mut file: &File, line: &str) -> io::Result<()> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut text = String::with_capacity(line.len() + 1);
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let mut added = Vec::new();
        file.seek(SeekFrom::Start(length))?;
        file.read_to_end(&mut added)?;
        // Unless another program has added to it.
        if text.as_bytes().starts_with(&added) {
            file.set_len(length)?;
        }
    }
    written
}
