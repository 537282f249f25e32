//! `alknet connect -f`: the session goes on in the background once it can be used. A program of many threads cannot fork, so it is one more
//! process of the same words, which says through its standard input that it is ready. Until then it is where it was started: it may ask for
//! a passphrase, and Ctrl-C ends it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::cli::Control;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Error, Result};
use crate::manage::detach;
use crate::scope::off_thread;

/// Tells the process in the background that it is that one.
const MARK: &str = "ALKNET_IN_BACKGROUND";

/// Whether this is the process in the background.
pub(super) fn is_here() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the process of these words, and waits until it is ready.
///
/// # Errors
/// When it cannot be started. Why it is not ready it says itself.
pub(super) async fn start(words: &[OsString], report: &Report, control: &Control) -> Result<Exit> {
    let program = control.program();
    let (first, rest) = program
        .split_first()
        .ok_or_else(|| Error::config("nobody said how this program is started again"))?;
    let failed = |e| Error::system("spawn", &first.display().to_string(), e);
    let (ours, its) = UnixStream::pair().map_err(failed)?;
    let its = OwnedFd::from(its.into_std().map_err(failed)?);
    let mut command = Command::new(first);
    command.args(rest).args(words.iter().skip(1)).env(MARK, "1").stdin(Stdio::from(its));
    // By name: Node has what it inherited closed in its children.
    let same = |own: BorrowedFd<'_>| own.try_clone_to_owned().map(Stdio::from).map_err(failed);
    command.stdout(same(std::io::stdout().as_fd())?).stderr(same(std::io::stderr().as_fd())?);
    let mut child = command.spawn().map_err(failed)?;
    // It holds the other end as long as it lives, and we no longer.
    drop(command);
    tokio::select! {
        ready = heard(ours) => {
            if !ready {
                return ended(child).await;
            }
            let pid = child.id();
            let text = format!("in the background, process {pid}");
            report.event("background", json!({ "pid": pid }), &text);
            Ok(Exit::OK)
        }
        () = control.draining() => {
            let _ = child.kill();
            Ok(Exit::INTERRUPTED)
        }
    }
}

async fn heard(mut said: UnixStream) -> bool {
    matches!(said.read(&mut [0]).await, Ok(1))
}

async fn ended(mut child: Child) -> Result<Exit> {
    let status = off_thread(move || child.wait()).await?;
    let code = status.ok().and_then(|status| status.code());
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(Exit::FAILED, Exit::of_program))
}

/// Says that this process is ready, and leaves the terminal of whoever started it.
pub(super) fn leave() {
    let _ = rustix::io::write(std::io::stdin(), b"\n");
    detach();
}
