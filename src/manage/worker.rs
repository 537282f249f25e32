//! A worker: the process in the background, from its lock to its last word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conversation::Teller;
use super::launch::{Job, Word, say};
use super::lock::{Lock, busy};
use super::log;
use super::place::Place;
use super::record::Record;
use crate::client::{ForwardOptions, LocalForwarder, Route};
use crate::error::{Code, Error, Result};
use crate::private;
use crate::scope::Scope;

/// How long the last answers of the worker may take to be said.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A forwarder that listens, and its lock.
pub(crate) struct Worker {
    place: Place,
    lock: Lock,
    record: Record,
    forwarder: Arc<LocalForwarder>,
    scope: Scope,
}

impl Worker {
    /// Takes the lock, listens, and writes the state, in this order: a state that can be read is one of a forwarder that could be used.
    ///
    /// # Errors
    /// `EADDRINUSE` and what else keeps it from listening; `ERR_ALKNET_FORWARDER_EXISTS` when another holds the lock; `ENOSPC` and
    /// the like for its files.
    pub(crate) async fn start(job: &Job, route: Route, options: &ForwardOptions) -> Result<Self> {
        let place = job.place();
        place.prepare()?;
        let spec = job.wanted.spec()?;
        let known = job.wanted.id()?;
        let early = match &known {
            Some(id) => Some(hold(&place, id).await?),
            None => None,
        };
        let forwarder = LocalForwarder::start(&spec, route, options).await?;
        let real = forwarder.addresses().first().map_or(0, std::net::SocketAddr::port);
        let id = known.unwrap_or_else(|| real.to_string());
        let lock = match early {
            Some(lock) => lock,
            None => hold(&place, &id).await?,
        };
        let record = Record::new(&id, &job.wanted, real);
        let worker =
            Self { place, lock, record, forwarder: Arc::new(forwarder), scope: Scope::new() };
        match worker.settle().await {
            Ok(()) => Ok(worker),
            Err(error) => {
                worker.scope.cancel();
                worker.leave_nothing();
                Err(error)
            }
        }
    }

    /// Has a log, answers questions, and says in its state what it is.
    async fn settle(&self) -> Result<()> {
        let Self { place, record, scope, .. } = self;
        let file = log::lead(&place.log(&record.id))?;
        scope.spawn(log::keep_short(file, place.log(&record.id)));
        let teller = Teller {
            record: record.clone(),
            forwarder: Arc::clone(&self.forwarder),
            began: Instant::now(),
        };
        if let Err(error) = teller.listen(place, scope).await {
            // A path too long for a socket: it can be stopped and is seen all the same, without figures.
            if error.code() != Code::System("EINVAL") {
                return Err(error);
            }
            tracing::warn!("no counters: the path of the state folder is too long for a socket");
        }
        record.write(place)?;
        tracing::info!(id = record.id, port = record.listen_port, "forwarder started");
        Ok(())
    }

    /// Takes its files away, the lock last.
    fn leave_nothing(self) {
        private::remove(&self.place.state(&self.record.id));
        private::remove(&self.place.socket(&self.record.id));
        self.lock.remove();
    }

    /// Tells whoever waits for it, and lets go of what connects the two.
    pub(crate) fn tell_ready(&self) {
        say(&Word::Ready(Box::new(self.record.clone())));
        let _ = let_go();
    }

    /// Stops listening, lets connections end by themselves, `limit` at most, and takes its files away.
    pub(crate) async fn drain(self, limit: Duration) {
        tracing::info!(active = self.forwarder.metrics().active, "forwarder stops");
        self.forwarder.stop_listening().await;
        self.forwarder.drain(limit).await;
        self.forwarder.close().await;
        self.scope.cancel();
        self.scope.join(CLOSE_LIMIT).await;
        tracing::info!("forwarder stopped");
        self.leave_nothing();
    }
}

/// Leaves the terminal of whoever started this process: its signals are not for us.
pub(crate) fn leave_session() {
    // Fails for the leader of a group alone, which has no terminal to leave to others.
    let _ = rustix::process::setsid();
}

/// The same, and lets go of all that connects the two.
pub(crate) fn detach() {
    leave_session();
    if let Ok(nowhere) = let_go() {
        let _ = rustix::stdio::dup2_stderr(&nowhere);
    }
}

/// Reads from nowhere, and says nothing to anybody.
fn let_go() -> std::io::Result<std::fs::File> {
    let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    Ok(nowhere)
}

async fn hold(place: &Place, id: &str) -> Result<Lock> {
    Lock::take_now(&place.lock(id)).await?.ok_or_else(|| {
        let code = Code::ForwarderExists;
        Error::new(code, format!("forwarder {id} runs already")).hint(busy(id).to_string())
    })
}

/// Tells whoever waits for a worker why there is none.
pub(crate) fn refused(error: &Error) {
    say(&Word::Failed {
        code: error.code().as_str().to_owned(),
        message: error.to_string(),
        phase: error.phase().map(|phase| phase.as_str().to_owned()),
        hint: error.help().map(str::to_owned),
    });
}
