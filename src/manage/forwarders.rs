//! All forwarders of a user: which there are, how they stand, and what can be done with them.

use std::time::Duration;

use rustix::process::Signal;

use super::conversation::{Live, ask};
use super::holder::Holder;
use super::launch::Launch;
use super::lock::{Lock, busy, is_free_within, is_held};
use super::place::Place;
use super::record::{Record, Wanted};
use crate::error::{Code, Error, Result};
use crate::private;

/// How long one command waits for another that starts or stops the same forwarder.
const TURN_LIMIT: Duration = Duration::from_secs(70);

/// How long a worker may take to answer that another is just starting.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// Longest time a killed process takes to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long somebody who was told to end is left alone before force is used.
const FORCE_AFTER: Duration = Duration::from_millis(500);

/// What a worker needs beyond its drain.
const STOP_SLACK: Duration = Duration::from_secs(3);

/// How a forwarder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Its worker holds its lock.
    Running,
    /// There is its state, and no worker: it was killed, crashed, or the machine was restarted.
    Dead,
    /// There is none.
    Stopped,
}

/// What there is to say of a forwarder.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) id: String,
    pub(crate) condition: Condition,
    /// The process, as the kernel names it.
    pub(crate) pid: Option<u32>,
    /// What its worker says, or its state file.
    pub(crate) record: Option<Record>,
    /// What its worker says of its work.
    pub(crate) live: Option<Live>,
    /// What is wrong with its files.
    pub(crate) fault: Option<String>,
}

impl Standing {
    /// That of one that there is not.
    pub(crate) fn none(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            condition: Condition::Stopped,
            pid: None,
            record: None,
            live: None,
            fault: None,
        }
    }
}

/// What `start` did.
pub(crate) enum Start {
    /// A worker was started.
    Started(Record),
    /// It ran already, for the same.
    Ran(Record),
}

/// How one is ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It has its time to drain.
    Drain,
    /// It has half a second.
    Force,
    Kill,
}

/// All forwarders of a user.
pub(crate) struct Forwarders {
    pub(crate) place: Place,
}

impl Forwarders {
    /// Starts one, unless it runs already. Returns when its port can be used.
    ///
    /// # Errors
    /// `ERR_ALKNET_FORWARDER_EXISTS` when it does something else and `replace` is not set; the worker's own reason.
    pub(crate) async fn start(
        &self,
        wanted: &Wanted,
        launch: &Launch,
        replace: bool,
    ) -> Result<Start> {
        wanted.spec()?;
        self.place.prepare()?;
        let Some(id) = wanted.id()? else {
            return launch.run(&self.place, wanted).await.map(Start::Started);
        };
        let _turn = self.turn(&id).await?;
        if is_held(&self.place.lock(&id))? {
            let standing = self.settled(&id).await?;
            match standing.record {
                Some(record) if record.wanted == *wanted => return Ok(Start::Ran(record)),
                record if !replace => return Err(exists(&id, record.as_ref())),
                _ => drop(self.end(&id, How::Drain).await?),
            }
        }
        self.clear(&id).await?;
        match launch.run(&self.place, wanted).await {
            Ok(record) => Ok(Start::Started(record)),
            Err(error) => {
                // What it left besides its reason is nothing that anybody needs.
                let _ = self.clear(&id).await;
                Err(self.explained(error, wanted.listen_port))
            }
        }
    }

    /// The forwarders whose port or name is `word`.
    pub(crate) fn named(&self, word: &str) -> Vec<String> {
        let port: Option<u16> = word.parse().ok();
        let listens_there = |id: &String| {
            let record = Record::read(&self.place, id).ok().flatten();
            record.is_some_and(|record| Some(record.listen_port) == port)
        };
        let mut ids = self.place.ids();
        ids.retain(|id| id == word || (port.is_some() && listens_there(id)));
        ids.into_iter().collect()
    }

    /// All of which there is a trace.
    pub(crate) fn all(&self) -> Vec<String> {
        self.place.ids().into_iter().collect()
    }

    /// How one stands. `dial` dials its target first, and is how long that may take.
    pub(crate) async fn standing(&self, id: &str, dial: Option<Duration>) -> Standing {
        let mut standing = Standing::none(id);
        match Record::read(&self.place, id) {
            Ok(record) => standing.record = record,
            Err(e) => standing.fault = Some(e.to_string()),
        }
        match Holder::find(&self.place, id).await {
            Ok(Some(mut holder)) => {
                standing.condition = Condition::Running;
                standing.pid = Some(holder.pid());
                standing.live = ask(&mut holder, dial).await;
                if let Some(live) = &standing.live {
                    standing.record = Some(live.record.clone());
                }
            }
            Ok(None) if standing.record.is_some() || standing.fault.is_some() => {
                standing.condition = Condition::Dead;
            }
            Ok(None) => {}
            Err(e) => {
                standing.fault = Some(e.to_string());
                let held = is_held(&self.place.lock(id)).unwrap_or(false);
                standing.condition = if held { Condition::Running } else { Condition::Dead };
            }
        }
        standing
    }

    /// Ends one: it stops listening and drains. With `force` it is killed when it is not gone in half a second. Returns the process that
    /// was ended, if any.
    ///
    /// # Errors
    /// `ETIMEDOUT` when it goes on; `ERR_ALKNET_FORWARDER_NOT_FOUND` when nobody can say which process it is.
    pub(crate) async fn stop(&self, id: &str, force: bool) -> Result<Option<u32>> {
        self.end_and_clear(id, if force { How::Force } else { How::Drain }).await
    }

    /// Kills one. Returns the process that was killed, if any.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub(crate) async fn kill(&self, id: &str) -> Result<Option<u32>> {
        self.end_and_clear(id, How::Kill).await
    }

    async fn end_and_clear(&self, id: &str, how: How) -> Result<Option<u32>> {
        // Another command may wait for it to drain, and has its turn until then.
        let hurried = match how {
            How::Drain => None,
            How::Force | How::Kill => self.end(id, how).await?,
        };
        let _turn = self.turn(id).await?;
        let ended = match hurried {
            // What runs by now was started since.
            Some(_) if is_held(&self.place.lock(id))? => return Ok(hurried),
            Some(_) => hurried,
            None => self.end(id, how).await?,
        };
        self.clear(id).await?;
        Ok(ended)
    }

    async fn end(&self, id: &str, how: How) -> Result<Option<u32>> {
        let Some(holder) = Holder::find(&self.place, id).await? else { return Ok(None) };
        let lock = self.place.lock(id);
        match how {
            How::Drain => holder.signal(&self.place, Signal::TERM)?,
            How::Force => {
                holder.signal(&self.place, Signal::TERM)?;
                if !is_free_within(&lock, FORCE_AFTER).await? {
                    holder.signal(&self.place, Signal::KILL)?;
                }
            }
            How::Kill => holder.signal(&self.place, Signal::KILL)?,
        }
        let limit = if how == How::Drain { self.drain_of(id) + STOP_SLACK } else { KILL_LIMIT };
        self.gone(id, limit).await?;
        Ok(Some(holder.pid()))
    }

    /// How long that one may drain.
    fn drain_of(&self, id: &str) -> Duration {
        let record = Record::read(&self.place, id).ok().flatten();
        let seconds =
            record.and_then(|record| record.wanted.options.get("drain")?.first()?.parse().ok());
        Duration::from_secs(seconds.unwrap_or(2))
    }

    async fn gone(&self, id: &str, limit: Duration) -> Result<()> {
        if is_free_within(&self.place.lock(id), limit).await? {
            return Ok(());
        }
        let message = format!("forwarder {id} did not stop within {} s", limit.as_secs());
        Err(Error::new(Code::System("ETIMEDOUT"), message).hint("try --force, which kills it"))
    }

    /// Whoever starts or ends a forwarder does so alone.
    async fn turn(&self, id: &str) -> Result<Turn> {
        self.place.prepare()?;
        let lock = Lock::take(&self.place.turn(id), TURN_LIMIT).await?;
        lock.map(|lock| Turn(Some(lock))).ok_or_else(|| busy(id))
    }

    /// How a running one stands, given a moment to answer: the milliseconds between its lock and its socket. Nothing tells that a
    /// socket has come to be, short of watching the folder, so it is tried again.
    async fn settled(&self, id: &str) -> Result<Standing> {
        let settle = async {
            loop {
                let standing = self.standing(id, None).await;
                if standing.live.is_some() || standing.condition != Condition::Running {
                    return standing;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(SETTLE_LIMIT, settle).await {
            Ok(standing) => Ok(standing),
            Err(_) => Ok(self.standing(id, None).await),
        }
    }

    /// Takes away what a worker left that is no more.
    async fn clear(&self, id: &str) -> Result<()> {
        let Some(lock) = Lock::take_now(&self.place.lock(id)).await? else { return Err(busy(id)) };
        private::remove(&self.place.state(id));
        private::remove(&self.place.socket(id));
        lock.remove();
        Ok(())
    }

    /// Says which forwarder has the port, when it is one of ours.
    fn explained(&self, error: Error, port: u16) -> Error {
        if error.code() != Code::System("EADDRINUSE") {
            return error;
        }
        let has_it = |id: &String| {
            let record = Record::read(&self.place, id).ok().flatten();
            record.is_some_and(|record| record.listen_port == port)
        };
        match self.place.ids().into_iter().find(has_it) {
            Some(id) => error.hint(format!("forwarder {id} listens there")),
            None => error.hint("another program has that port; choose another --listen-port"),
        }
    }
}

/// The right to start or end a forwarder. Its file goes with it.
struct Turn(Option<Lock>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lock) = self.0.take() {
            lock.remove();
        }
    }
}

fn exists(id: &str, record: Option<&Record>) -> Error {
    let what = record.map_or("what nobody says".to_owned(), |record| record.wanted.to_string());
    Error::new(
        Code::ForwarderExists,
        format!("forwarder {id} runs already, for something else: {what}"),
    )
    .hint("--replace ends that one first; --name starts another beside it")
}
