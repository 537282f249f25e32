//! `alknet forward worker`: what `start` runs in the background.

use std::time::Duration;

use super::foreground::{Path, bounds};
use super::start::rebuilt;
use crate::cli::Control;
use crate::cli::args::ForwardStart;
use crate::cli::exit::Exit;
use crate::error::Result;
use crate::manage::{Job, Worker, leave_session, read_job, refused};
use crate::scope::off_thread;

pub(super) async fn worker(control: &Control) -> Result<Exit> {
    leave_session();
    let mut job = off_thread(read_job).await??;
    let options = rebuilt(&job.wanted)?;
    let begun = tokio::select! {
        begun = begin(&mut job, &options) => begun,
        () = control.draining() => return Ok(Exit::OK),
    };
    let (worker, path) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            refused(&error);
            return Ok(Exit::FAILED);
        }
    };
    worker.tell_ready();
    let failure = tokio::select! {
        () = control.draining() => None,
        why = path.over() => why,
    };
    if let Some(error) = failure {
        // Its state stays, so that it is seen that nobody wanted this end.
        tracing::error!(code = error.code().as_str(), "forwarder ended: {error}");
        return Ok(Exit::from(&error));
    }
    worker.drain(Duration::from_secs(u64::from(options.drain))).await;
    path.close().await;
    Ok(Exit::OK)
}

async fn begin(job: &mut Job, options: &ForwardStart) -> Result<(Worker, Path)> {
    let passphrase = job.passphrase();
    let path = Path::open(options, job.wanted.server.is_some(), passphrase).await?;
    let worker = Worker::start(job, path.route(), &bounds(options)).await?;
    Ok((worker, path))
}
