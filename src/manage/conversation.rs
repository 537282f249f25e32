//! How a worker is asked what it does: one question and one answer, a line of JSON each, over a socket in its folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::holder::Holder;
use super::place::Place;
use super::record::Record;
use crate::client::LocalForwarder;
use crate::config::{Bind, Family};
use crate::error::Result;
use crate::io::BoxIo;
use crate::listen::serve;
use crate::scope::Scope;
use crate::transport::bind;

/// Longest conversation, when the target is not dialled for it.
const LIMIT: Duration = Duration::from_secs(2);

/// Longest question or answer in bytes.
const LONGEST: u64 = 64 * 1024;

/// What is asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    /// Whether the target is dialled first.
    check: bool,
}

/// What a worker says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Live {
    pub(crate) record: Record,
    /// By a clock that nobody sets.
    pub(crate) uptime_seconds: u64,
    pub(crate) active: usize,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    /// The code of the last failure to reach the target.
    pub(crate) last_error: Option<String>,
    /// When that was: RFC 3339.
    pub(crate) last_error_at: Option<String>,
    /// Whether the last attempt succeeded, once there was one.
    pub(crate) target_reachable: Option<bool>,
}

/// Who answers: the worker.
pub(super) struct Teller {
    pub(super) record: Record,
    pub(super) forwarder: Arc<LocalForwarder>,
    pub(super) began: Instant,
}

impl Teller {
    /// Answers until the scope ends.
    ///
    /// # Errors
    /// Why there is no socket.
    pub(super) async fn listen(self, place: &Place, scope: &Scope) -> Result<()> {
        let path = place.socket(&self.record.id).display().to_string();
        let bound = bind(&Bind::Unix(path), true, Family::Any).await?;
        let teller = Arc::new(self);
        for listener in bound.listeners {
            let (teller, tasks) = (Arc::clone(&teller), scope.clone());
            scope.spawn(serve(listener, scope.clone(), move |incoming| {
                let (teller, tasks) = (Arc::clone(&teller), tasks.clone());
                async move {
                    if let Ok(Ok(link)) = tokio::time::timeout(LIMIT, incoming.handshake).await {
                        // Who asks and goes has nothing to be told.
                        let _ = tasks.until_cancelled(teller.answer(link.io)).await;
                    }
                }
            }));
        }
        Ok(())
    }

    async fn answer(&self, io: BoxIo) -> std::io::Result<()> {
        let mut io = BufReader::new(io);
        let mut line = Vec::new();
        tokio::time::timeout(LIMIT, (&mut io).take(LONGEST).read_until(b'\n', &mut line)).await??;
        let Ok(question) = serde_json::from_slice::<Question>(&line) else { return Ok(()) };
        if question.check {
            // Its outcome is among the figures.
            let _ = self.forwarder.probe().await;
        }
        let mut answer = serde_json::to_vec(&self.live())?;
        answer.push(b'\n');
        let mut io = io.into_inner();
        tokio::time::timeout(LIMIT, io.write_all(&answer)).await??;
        io.shutdown().await
    }

    fn live(&self) -> Live {
        let metrics = self.forwarder.metrics();
        let last = self.forwarder.last_dial();
        let at = |at| jiff::Timestamp::try_from(at).ok();
        Live {
            record: self.record.clone(),
            uptime_seconds: self.began.elapsed().as_secs(),
            active: metrics.active,
            accepted: metrics.accepted,
            refused: metrics.refused,
            bytes_up: metrics.bytes_up,
            bytes_down: metrics.bytes_down,
            last_error: last.failure.map(|(_, code)| code.as_str().to_owned()),
            last_error_at: last
                .failure
                .and_then(|(when, _)| at(when))
                .map(|when| when.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
            target_reachable: last.reached,
        }
    }
}

/// Asks the worker; `None` when it does not answer in time. `dial` is the time that a dial of the target may take; without it
/// none is made.
pub(super) async fn ask(holder: &mut Holder, dial: Option<Duration>) -> Option<Live> {
    let socket = holder.socket.as_mut()?;
    let asking = async {
        let mut question = serde_json::to_vec(&Question { check: dial.is_some() }).ok()?;
        question.push(b'\n');
        socket.write_all(&question).await.ok()?;
        let mut line = Vec::new();
        BufReader::new(socket).take(LONGEST).read_until(b'\n', &mut line).await.ok()?;
        serde_json::from_slice(&line).ok()
    };
    tokio::time::timeout(LIMIT + dial.unwrap_or_default(), asking).await.ok().flatten()
}
