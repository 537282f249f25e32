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
    // The same as writing to the descriptor, without taking it over.
    let path = format!("/dev/fd/{number}");
    let failed = |e| Error::system("write", &path, e).at(Phase::Config);
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).map_err(failed)?;
    file.write_all(b"READY=1\n").map_err(failed)
}
