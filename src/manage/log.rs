//! A worker's log: standard error led into a file, which never grows beyond a bound.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::private;

/// Bytes of a log before it becomes an old one.
const LONGEST: u64 = 1024 * 1024;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Leads standard error into the log: whatever this process says, a panic too.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn lead(path: &Path) -> Result<File> {
    let log = private::open(path, true)?;
    rustix::stdio::dup2_stderr(&log).map_err(|e| private::failed("dup2", path, e.into()))?;
    Ok(log)
}

/// Keeps the log short, for ever. Its bytes move to an older file and the log itself stays, so that standard error does too.
pub(super) async fn keep_short(mut log: File, path: PathBuf) {
    loop {
        tokio::time::sleep(LOOK).await;
        shorten(&mut log, &path);
    }
}

fn shorten(log: &mut File, path: &Path) {
    if log.metadata().is_ok_and(|found| found.len() > LONGEST) {
        // Without room for an old log there is none.
        let _ = put_aside(log, path);
        let _ = log.set_len(0);
    }
}

/// `log` to `log.1`, and that to `log.2`.
fn put_aside(log: &mut File, path: &Path) -> std::io::Result<()> {
    let older = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let _ = fs::rename(older(1), older(2));
    let _ = fs::remove_file(older(1));
    let mut old = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(older(1))?;
    log.seek(SeekFrom::Start(0))?;
    std::io::copy(log, &mut old).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_put_aside_and_goes_on() {
        let folder = std::env::temp_dir().join(format!("alknet-log-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("x.log");
        let mut log = private::open(&path, true).expect("a log");
        log.write_all(&vec![b'x'; LONGEST as usize + 1]).expect("room");
        let mut other = log.try_clone().expect("a descriptor");
        shorten(&mut log, &path);
        shorten(&mut log, &path);
        other.write_all(b"after").expect("room");
        assert_eq!(fs::read(&path).expect("a log"), b"after");
        assert_eq!(fs::metadata(folder.join("x.log.1")).expect("an old log").len(), LONGEST + 1);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
