//! Files that decide who gets in: opened without waiting, and believed only when nobody else can write or, where they are
//! secret, read them.

use std::fs::{self, Metadata};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::error::{Code, Error, Phase, Result};

/// A key file has a few kilobytes, a list of ten thousand keys less than this.
const LONGEST: u64 = 1024 * 1024;

/// Clocks of file systems tick every few milliseconds, those over a network every second or two: of a file that is younger
/// nobody can say whether it has changed since.
const SETTLED: Duration = Duration::from_secs(2);

/// A file that was read.
pub(super) struct Contents {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    meta: Metadata,
    shown: String,
}

/// What tells one state of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    /// Unix: device, inode, time of the last change of anything. All of them differ after a rename.
    identity: [i64; 4],
    length: u64,
}

/// Reads a regular file, through links. A pipe or a device is refused rather than waited for.
///
/// # Errors
/// `ERR_ALKNET_KEY_INVALID` for what is no file or is too long; the system's own failure.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let shown = path.display().to_string();
    let failed = |e| Error::system("open", &shown, e).at(Phase::Config);
    let file = open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(invalid(format!("{shown} is {}, not a file", kind(&meta))));
    }
    if meta.len() > LONGEST {
        return Err(invalid(format!("{shown} is longer than 1 MiB, so it is no key file")));
    }
    // Large enough at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 64));
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Contents { bytes, meta, shown })
}

impl Contents {
    /// Nobody but the owner may read it, and the owner is who runs the program, or root.
    pub(super) fn must_be_secret(&self) -> Result<()> {
        self.must_be_owned()?;
        match mode(&self.meta) & 0o077 {
            0 => Ok(()),
            _ => Err(invalid(format!(
                "{} holds a secret, but its mode is {}, so others may read or write it",
                self.shown,
                octal(&self.meta)
            ))
            .hint(format!("chmod 600 {}", quoted(&self.shown)))),
        }
    }

    /// Nobody but the owner may write it or put another in its place: what sshd(8) calls `StrictModes`, for the file and its
    /// directory.
    pub(super) fn must_be_trusted(&self, path: &Path) -> Result<()> {
        self.must_be_owned()?;
        let writable = |shown: &str, meta: &Metadata| {
            let message = format!(
                "{shown} decides who may log in, but its mode is {}, so others may change it",
                octal(meta)
            );
            invalid(message).hint(format!("chmod go-w {}", quoted(shown)))
        };
        if mode(&self.meta) & 0o022 != 0 {
            return Err(writable(&self.shown, &self.meta));
        }
        let Some((folder, meta)) = folder(path) else { return Ok(()) };
        // With the sticky bit nobody replaces the files of another.
        if mode(&meta) & 0o022 != 0 && mode(&meta) & 0o1000 == 0 {
            return Err(writable(&folder, &meta));
        }
        owned(&folder, &meta)
    }

    fn must_be_owned(&self) -> Result<()> {
        owned(&self.shown, &self.meta)
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp::of(&self.meta)
    }
}

impl Stamp {
    /// The state of the file at `path`; `None` when there is none that can be looked at.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|meta| Self::of(&meta))
    }

    /// Whether the file is old enough for another state to have another stamp.
    pub(super) fn is_settled(&self) -> bool {
        self.is_older_than(SETTLED)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.modified.and_then(|time| time.elapsed().ok()).is_some_and(|elapsed| elapsed > age)
    }

    fn of(meta: &Metadata) -> Self {
        Self { modified: meta.modified().ok(), identity: identity(meta), length: meta.len() }
    }
}

fn owned(shown: &str, meta: &Metadata) -> Result<()> {
    match stranger(meta) {
        None => Ok(()),
        Some((owner, ours)) => {
            let message = format!(
                "{shown} belongs to user {owner}, who is not the one that runs this program ({ours}), nor root"
            );
            Err(invalid(message).hint(format!("chown {ours} {}", quoted(shown))))
        }
    }
}

fn folder(path: &Path) -> Option<(String, Metadata)> {
    let real = fs::canonicalize(path).ok()?;
    let folder = real.parent()?;
    Some((folder.display().to_string(), fs::metadata(folder).ok()?))
}

/// As a shell takes it.
pub(super) fn quoted(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+@:,".contains(&b);
    match !path.starts_with('-') && path.bytes().all(plain) {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::KeyInvalid, message).at(Phase::Config)
}

fn octal(meta: &Metadata) -> String {
    format!("{:04o}", mode(meta))
}

fn kind(meta: &Metadata) -> &'static str {
    if meta.is_dir() { "a directory" } else { "a pipe, a socket or a device" }
}

#[cfg(unix)]
use unix::{identity, mode, open, stranger};

#[cfg(unix)]
mod unix {
    use std::fs::{File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    pub(super) fn open(path: &Path) -> io::Result<File> {
        // A pipe that nobody writes to would keep us waiting, a terminal would become ours.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
        // A socket cannot be opened at all, which the caller should be told as what it is.
        match opened {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                let why = "a pipe, a socket or a device, not a file";
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
            other => other,
        }
    }

    pub(super) fn mode(meta: &Metadata) -> u32 {
        meta.mode() & 0o7777
    }

    /// The owner and who we are, when they differ and the owner is not root.
    pub(super) fn stranger(meta: &Metadata) -> Option<(u32, u32)> {
        let ours = rustix::process::geteuid().as_raw();
        (meta.uid() != ours && meta.uid() != 0).then(|| (meta.uid(), ours))
    }

    #[expect(clippy::cast_possible_wrap, reason = "compared for equality only")]
    pub(super) fn identity(meta: &Metadata) -> [i64; 4] {
        [meta.dev() as i64, meta.ino() as i64, meta.ctime(), meta.ctime_nsec()]
    }
}

/// Elsewhere access lists decide, which are not looked at.
#[cfg(not(unix))]
use elsewhere::{identity, mode, open, stranger};

#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{File, Metadata};
    use std::io;
    use std::path::Path;

    pub(super) fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(super) fn mode(_: &Metadata) -> u32 {
        0
    }

    pub(super) fn stranger(_: &Metadata) -> Option<(u32, u32)> {
        None
    }

    pub(super) fn identity(_: &Metadata) -> [i64; 4] {
        [0; 4]
    }
}
