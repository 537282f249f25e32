//! Telling whoever started us that everything listens.

use std::io::Write;

use crate::error::{Error, Phase, Result};

/// Tells the service manager (sd_notify(3)) and the descriptor that was named.
///
/// # Errors
/// The descriptor's own failure.
pub(super) fn ready(descriptor: Option<i32>) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
    let Some(number) = descriptor else { return Ok(()) };
    let path = format!("/dev/fd/{number}");
    let failed = |e| Error::system("write", &path, e).at(Phase::Config);
    // The same as writing to the descriptor, without taking it over.
    let file = match std::fs::OpenOptions::new().write(true).open(&path) {
        #[cfg(target_os = "linux")]
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            duplicate(number)
        }
        opened => opened,
    };
    file.map_err(failed)?.write_all(b"READY=1\n").map_err(failed)
}

/// A socket cannot be opened by its path, and such are the pipes of Node.
#[cfg(target_os = "linux")]
fn duplicate(number: i32) -> std::io::Result<std::fs::File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?.into())
}
