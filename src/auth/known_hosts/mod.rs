//! What `known_hosts` files say of one host. Reads files; to be called where that holds nobody up.

mod line;
mod record;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use russh::keys::Algorithm;
use russh::keys::ssh_key::public::KeyData;

use self::line::{Line, Marker};
pub(super) use self::record::Attempt;
use super::KeySource;
use crate::error::{Error, Phase, Result};
use crate::target::HostPort;

/// The longest file that is read: room for 100,000 hashed Ed25519 lines of 150 bytes.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Broken lines that are told of; of the others only that there are more.
const MOST_TOLD: usize = 4;

/// The port whose entries carry no port (sshd(8)).
const SSH_PORT: u16 = 22;

/// Where to look, and under which name.
#[derive(Debug)]
pub(super) struct KnownHosts {
    sources: Vec<KeySource>,
    /// `host`, or `[host]:port` when the port is not 22, as typed but in lower case.
    name: String,
    /// The host without the port, when `name` has one: its keys are accepted too, as ssh does.
    bare: Option<String>,
}

/// What there is about the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    entries: Vec<Entry>,
    /// Lines that cannot be used, with their place and the reason.
    broken: Vec<String>,
    /// Lines with `@cert-authority` for this host.
    authorities: Vec<Entry>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: KeyData,
    pub(super) place: Place,
    revoked: bool,
    /// Found under the name without the port.
    bare: bool,
}

/// A line of a file, as people are told of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `None` for what was given in memory.
    pub(super) file: Option<PathBuf>,
    line: usize,
}

/// What the files say of one key.
pub(super) enum Verdict<'a> {
    /// The host has this key.
    Known,
    /// Nobody may use this key.
    Revoked(&'a Entry),
    /// The host has other keys.
    Changed(&'a Entry),
    /// The host is not there.
    Unknown,
}

impl KnownHosts {
    /// Looks for `server` in `sources`, or in the files that ssh uses.
    pub(super) fn new(sources: Option<&[KeySource]>, server: &HostPort) -> Self {
        let host = server.host.to_ascii_lowercase();
        let (name, bare) = match server.port {
            SSH_PORT => (host, None),
            port => (format!("[{host}]:{port}"), Some(host)),
        };
        let sources = sources.map_or_else(usual_files, <[_]>::to_vec);
        Self { sources, name, bare }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The host, whatever its port.
    pub(super) fn host(&self) -> &str {
        self.bare.as_deref().unwrap_or(&self.name)
    }

    /// The file that new hosts are written to.
    pub(super) fn first_file(&self) -> Option<&Path> {
        self.sources.iter().find_map(|source| match source {
            KeySource::Path(path) => Some(path.as_path()),
            KeySource::Memory(_) => None,
        })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a file that is too large or none at all; the file's own failure, unless it is not there.
    pub(super) fn search(&self) -> Result<Found> {
        self.search_with(None)
    }

    /// The same, reading the first file by a handle that holds its lock: on some systems no other handle may read it then.
    fn search_with(&self, mut held: Option<&File>) -> Result<Found> {
        let mut found = Found::default();
        for source in &self.sources {
            match source {
                KeySource::Memory(bytes) => self.search_in(&mut &bytes[..], None, &mut found)?,
                KeySource::Path(path) => {
                    if let Some(file) = held.take() {
                        self.search_in(&mut BufReader::new(file), Some(path), &mut found)?;
                        continue;
                    }
                    let Some(mut reader) = open(path)? else { continue };
                    self.search_in(&mut reader, Some(path), &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn search_in(
        &self,
        reader: &mut dyn BufRead,
        file: Option<&Path>,
        found: &mut Found,
    ) -> Result<()> {
        let shown = || Place { file: file.map(Path::to_owned), line: 0 }.source();
        let failed = |e| Error::system("read", &shown(), e).at(Phase::Config);
        let (mut line, mut number, mut left) = (Vec::new(), 0, LARGEST_FILE);
        loop {
            line.clear();
            let length = reader.take(left + 1).read_until(b'\n', &mut line).map_err(failed)?;
            if length == 0 {
                return Ok(());
            }
            left = left.checked_sub(length as u64).ok_or_else(|| {
                Error::config(format!("{} is larger than 16 MiB", shown()))
                    .hint("knownHosts must be a known_hosts file")
            })?;
            number += 1;
            self.look_at(&line, || Place { file: file.map(Path::to_owned), line: number }, found);
        }
    }

    fn look_at(&self, line: &[u8], place: impl Fn() -> Place, found: &mut Found) {
        let is_for = |line: &Line<'_>| match &self.bare {
            _ if line.is_for(&self.name) => Some(false),
            Some(bare) if line.is_for(bare) && !line.is_not_for(&self.name) => Some(true),
            _ => None,
        };
        let read = || {
            let Some(line) = Line::parse(line)? else { return Ok(None) };
            let Some(bare) = is_for(&line) else { return Ok(None) };
            Ok(Some((line.marker, bare, line.key()?)))
        };
        match read() {
            Ok(Some((marker, bare, Some(key)))) => {
                let revoked = marker == Marker::Revoked;
                let list = match marker {
                    Marker::CertAuthority => &mut found.authorities,
                    Marker::Plain | Marker::Revoked => &mut found.entries,
                };
                list.push(Entry { key, place: place(), revoked, bare });
            }
            Ok(_) => {}
            Err(reason) => found.add_broken(&place(), reason),
        }
    }
}

impl Found {
    fn add_broken(&mut self, place: &Place, reason: line::Broken) {
        if self.broken.len() < MOST_TOLD {
            tracing::warn!(%place, reason, "line of known_hosts skipped");
            self.broken.push(format!("{place} was skipped: {reason}"));
        } else if self.broken.len() == MOST_TOLD {
            tracing::warn!(%place, reason, "line of known_hosts skipped, more may follow");
            self.broken.push("there are more such lines".to_owned());
        }
    }

    pub(super) fn verdict(&self, key: &KeyData) -> Verdict<'_> {
        if let Some(entry) = self.revoked(key) {
            return Verdict::Revoked(entry);
        }
        let usable = || self.entries.iter().filter(|entry| !entry.revoked);
        if usable().any(|entry| entry.key == *key) {
            return Verdict::Known;
        }
        // Another key under the name without the port is another server's, on port 22.
        let others = || usable().filter(|entry| !entry.bare);
        let same_type = others().find(|entry| entry.key.algorithm() == key.algorithm());
        same_type.or_else(|| others().next()).map_or(Verdict::Unknown, Verdict::Changed)
    }

    /// The line that revokes `key`.
    pub(super) fn revoked(&self, key: &KeyData) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.revoked && entry.key == *key)
    }

    /// Whether `key` signs the certificates of this host.
    pub(super) fn is_authority(&self, key: &KeyData) -> bool {
        self.authorities.iter().any(|entry| entry.key == *key)
    }

    /// Whether there is anybody who does.
    pub(super) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// The types of the keys that the host is known to have, the best match first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let of = |bare: bool| {
            let entries = self.entries.iter().filter(move |e| !e.revoked && e.bare == bare);
            entries.map(|entry| entry.key.algorithm())
        };
        of(false).chain(of(true)).collect()
    }

    /// What else there is to know when no line decided.
    pub(super) fn remarks(&self) -> Vec<String> {
        let authority = self.authorities.first().filter(|_| self.entries.is_empty());
        let told = authority.map(|Entry { place, .. }| {
            format!("{place} names an authority for this host, but no certificate of it decided")
        });
        told.into_iter().chain(self.broken.iter().cloned()).collect()
    }
}

impl Place {
    /// The file, without the line.
    fn source(&self) -> String {
        let in_memory = || "the known hosts given in memory".to_owned();
        self.file.as_ref().map_or_else(in_memory, |path| path.display().to_string())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(path) => write!(f, "{}:{}", path.display(), self.line),
            None => write!(f, "line {} of {}", self.line, self.source()),
        }
    }
}

/// Those of ssh_config(5): UserKnownHostsFile and GlobalKnownHostsFile.
fn usual_files() -> Vec<KeySource> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let own = home
        .into_iter()
        .flat_map(|home| ["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name)));
    let system = match cfg!(windows) {
        true => std::env::var_os("ProgramData").map(|folder| PathBuf::from(folder).join("ssh")),
        false => Some(PathBuf::from("/etc/ssh")),
    };
    let system = system
        .into_iter()
        .flat_map(|folder| ["ssh_known_hosts", "ssh_known_hosts2"].map(|name| folder.join(name)));
    own.chain(system).map(KeySource::Path).collect()
}

/// The file's contents; nothing when it is not there, or is `/dev/null`.
fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    let failed = |e| Error::system("open", &path.display().to_string(), e).at(Phase::Config);
    // Looked at before it is opened: opening a pipe would wait for a writer.
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(meta) if meta.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
        Ok(_) if path == Path::new("/dev/null") => return Ok(None),
        Ok(_) => return Err(Error::config(format!("{} is not a file", path.display()))),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(failed(e)),
    }
    File::open(path).map(|file| Some(BufReader::new(file))).map_err(failed)
}
