//! Which process holds a lock, as the kernel says it. Nobody else is believed before a signal is sent.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::net::UnixStream;

use super::lock::is_held;
use super::place::Place;
use crate::error::{Code, Error, Result};

/// Longest wait for the worker's socket to take a connection: the kernel does that, so there is none unless it is crowded.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The worker of a forwarder, and the connection by which the kernel vouches for its process id.
pub(super) struct Holder {
    pid: Pid,
    id: String,
    /// While it is open the worker lives; `None` when its socket is gone.
    pub(super) socket: Option<UnixStream>,
}

impl Holder {
    /// Whoever holds the lock of `id`; `None` when nobody does.
    ///
    /// # Errors
    /// `ERR_ALKNET_FORWARDER_NOT_FOUND` when somebody does, and nothing says who.
    pub(super) async fn find(place: &Place, id: &str) -> Result<Option<Self>> {
        let lock = place.lock(id);
        if !is_held(&lock)? {
            return Ok(None);
        }
        let id = id.to_owned();
        let connecting = UnixStream::connect(place.socket(&id));
        let connected = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
        if let Ok(Ok(socket)) = connected
            && let Ok(peer) = socket.peer_cred()
            && peer.uid() == rustix::process::geteuid().as_raw()
            && let Some(pid) = peer.pid().and_then(Pid::from_raw)
        {
            return Ok(Some(Self { pid, id, socket: Some(socket) }));
        }
        match by_lock(&lock) {
            Some(pid) => Ok(Some(Self { pid, id, socket: None })),
            // It may have ended meanwhile.
            None if !is_held(&lock)? => Ok(None),
            None => Err(Error::new(
                Code::ForwarderNotFound,
                format!("forwarder {id} runs, but nothing says as which process"),
            )
            .hint(format!("see who holds {}, for instance with fuser(1)", lock.display()))),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Signals the worker, and nobody else: the process is held by a descriptor where the system has them, and it is looked once
    /// more whether the lock is still its own before the signal goes out.
    ///
    /// # Errors
    /// The system's own failure.
    pub(super) fn signal(&self, place: &Place, signal: Signal) -> Result<()> {
        let failed = |e: rustix::io::Errno| {
            Error::system("kill", &format!("forwarder {}", self.id), e.into())
        };
        #[cfg(target_os = "linux")]
        let process =
            match rustix::process::pidfd_open(self.pid, rustix::process::PidfdFlags::empty()) {
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                opened => opened.map_err(failed)?,
            };
        if !is_held(&place.lock(&self.id))? {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        let sent = rustix::process::pidfd_send_signal(process, signal);
        #[cfg(not(target_os = "linux"))]
        let sent = rustix::process::kill_process(self.pid, signal);
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }
}

/// The process that has the locked file open, by the kernel's table of locks (proc_locks(5)).
#[cfg(target_os = "linux")]
fn by_lock(path: &Path) -> Option<Pid> {
    use std::os::unix::fs::MetadataExt;
    let wanted = std::fs::symlink_metadata(path).ok()?;
    let table = std::fs::read_to_string("/proc/locks").ok()?;
    let candidates = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode = fields.get(5)?.rsplit(':').next()?.parse::<u64>().ok()?;
        let is_ours = fields.get(1) == Some(&"FLOCK") && inode == wanted.ino();
        is_ours.then(|| fields.get(4)?.parse::<i32>().ok()).flatten()
    });
    let has_it_open = |pid: &i32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok();
        open.into_iter().flatten().flatten().any(|entry| {
            std::fs::metadata(entry.path())
                .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        })
    };
    candidates.into_iter().find(has_it_open).and_then(Pid::from_raw)
}

#[cfg(not(target_os = "linux"))]
fn by_lock(_: &Path) -> Option<Pid> {
    None
}
