//! Which runner has which agent, where many hosts and runners share a NATS cluster: a key-value bucket, in which what a runner says holds
//! for 15 s, unless it says it again.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv::{Operation, Store, UpdateErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::runner::Runner;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{decoded, segment};
use crate::nats::connect;

/// The bucket.
const BUCKET: &str = "alknet-tunnel";

/// How long a runner's word holds: a third of the 45 s in which a dead agent has to be noticed.
const LEASE: Duration = Duration::from_secs(15);

/// How often it is given again: two may be lost.
const AGAIN: Duration = Duration::from_secs(5);

/// Limit for each question to NATS.
const LIMIT: Duration = Duration::from_secs(1);

/// Limit for asking NATS for all that it knows.
const LIST_LIMIT: Duration = Duration::from_secs(2);

/// Limit for opening the bucket, and the pause between attempts.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Copies of the bucket in a cluster, so that it outlives one node; in one that is too small there is one.
const COPIES: usize = 3;

/// Questions at once.
const AT_ONCE: usize = 16;

/// Answers that are kept for when NATS does not answer.
const MOST_REMEMBERED: usize = 4096;

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Lease {
    /// Of its runner, as hosts reach it.
    pub(crate) url: String,
    /// What that runner's node is called.
    pub(crate) node: String,
}

/// See the module.
pub(crate) struct Leases {
    store: Store,
    /// By containers' names.
    remembered: Mutex<HashMap<String, Lease>>,
}

impl Leases {
    /// Connects to a cluster and opens the bucket, or makes it.
    ///
    /// # Errors
    /// Those of the connection; `ERR_ALKNET_CONFIG` for a NATS without JetStream; `ETIMEDOUT`.
    pub(crate) async fn connect(servers: &[String]) -> Result<Arc<Self>> {
        let client = connect(servers, |options| options).await?;
        let is_clustered = client.server_info().cluster.is_some();
        let has_jetstream = client.server_info().jetstream;
        let mut context = async_nats::jetstream::new(client);
        // A cluster without a leader does not answer at all.
        context.set_timeout(LIMIT);
        if !has_jetstream {
            let error = Error::config("NATS does not keep the registry of the tunnel");
            return Err(error.hint("JetStream has to be on there: nats-server -js"));
        }
        let opening = open(&context, is_clustered);
        let store = timeout(OPEN_LIMIT, opening).await.map_err(|_| {
            let late = "NATS did not open the registry of the tunnel in time";
            Error::new(Code::System("ETIMEDOUT"), late).at(Phase::Listen)
        })?;
        Ok(Arc::new(Self { store, remembered: Mutex::default() }))
    }

    /// Where a container's agent is; what was known last when NATS does not say.
    pub(crate) async fn find(&self, container: &str) -> Option<Lease> {
        let Ok(Ok(entry)) = timeout(LIMIT, self.store.entry(key(container))).await else {
            return self.remembered.lock().get(container).cloned();
        };
        let lease: Option<Lease> = entry
            .filter(|entry| entry.operation == Operation::Put)
            .and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let mut remembered = self.remembered.lock();
        match &lease {
            Some(lease) if remembered.len() < MOST_REMEMBERED => {
                remembered.insert(container.to_owned(), lease.clone());
            }
            _ => drop(remembered.remove(container)),
        }
        lease
    }

    /// Every container whose agent is somewhere, and where. Nothing when NATS does not say in time.
    pub(crate) async fn all(&self) -> HashMap<String, Lease> {
        let asking = async {
            let keys = self.store.keys().await.ok()?.filter_map(|key| ready(key.ok()));
            let found = keys.map(|key| async move {
                let value = self.store.get(&key).await.ok()??;
                Some((container(&key)?, serde_json::from_slice(&value).ok()?))
            });
            let found = found.buffer_unordered(AT_ONCE).filter_map(ready);
            Some(found.collect().await)
        };
        timeout(LIST_LIMIT, asking).await.ok().flatten().unwrap_or_default()
    }

    /// Says of every agent of a runner that it is there, for as long as this runs.
    pub(crate) async fn announce(&self, runner: &Runner, lease: &Lease) {
        let value = Bytes::from(serde_json::to_vec(lease).unwrap_or_default());
        // With the number of the agent that it was said of.
        let mut given: HashMap<String, (u64, Given)> = HashMap::new();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let all = tokio::select! {
                _ = again.tick() => true,
                () = runner.changed.notified() => false,
            };
            let present = runner.names();
            let gone: Vec<_> = given.extract_if(|name, _| !present.contains_key(name)).collect();
            futures_util::stream::iter(gone)
                .for_each_concurrent(AT_ONCE, |(name, (_, given))| self.take_back(name, given))
                .await;
            let before = |(name, number): (String, u64)| {
                let said = given.get(&name).filter(|(of, _)| *of == number);
                (name, number, said.map(|(_, given)| *given))
            };
            let due: Vec<_> = present
                .into_iter()
                .map(before)
                .filter(|(_, _, before)| all || before.is_none())
                .collect();
            let said: Vec<_> = futures_util::stream::iter(due)
                .map(|(name, number, before)| self.say(name, number, before, &value))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for (name, number, now) in said {
                match now {
                    Some(now) => drop(given.insert(name, (number, now))),
                    None => drop(given.remove(&name)),
                }
            }
        }
    }

    /// Takes back what was said of a runner's agents, when it ends.
    pub(crate) async fn withdraw(&self, runner: &Runner, lease: &Lease) {
        for name in runner.names().into_keys() {
            let Ok(Ok(Some(entry))) = timeout(LIMIT, self.store.entry(key(&name))).await else {
                return;
            };
            if serde_json::from_slice::<Lease>(&entry.value).is_ok_and(|found| found == *lease) {
                self.take_back(name, Given::Here(entry.revision)).await;
            }
        }
    }

    async fn say(
        &self,
        name: String,
        number: u64,
        before: Option<Given>,
        value: &Bytes,
    ) -> (String, u64, Option<Given>) {
        let key = key(&name);
        let now = match before {
            Some(Given::Elsewhere) => match timeout(LIMIT, self.store.entry(&key)).await {
                // Who had taken it over has let it go.
                Ok(Ok(None)) => None,
                _ => before,
            },
            Some(Given::Here(revision)) => {
                match timeout(LIMIT, self.store.update(&key, value.clone(), revision)).await {
                    Ok(Ok(revision)) => Some(Given::Here(revision)),
                    Ok(Err(e)) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                        self.lost(&key, value).await
                    }
                    _ => before,
                }
            }
            None => match timeout(LIMIT, self.store.put(&key, value.clone())).await {
                Ok(Ok(revision)) => Some(Given::Here(revision)),
                _ => None,
            },
        };
        (name, number, now)
    }

    /// What became of a word that is not the last any more: it has run out, or another runner has the agent now.
    async fn lost(&self, key: &str, value: &Bytes) -> Option<Given> {
        match timeout(LIMIT, self.store.entry(key)).await {
            Ok(Ok(Some(entry))) if entry.operation != Operation::Put => None,
            Ok(Ok(Some(entry))) if entry.value == *value => Some(Given::Here(entry.revision)),
            Ok(Ok(Some(_))) => Some(Given::Elsewhere),
            _ => None,
        }
    }

    async fn take_back(&self, name: String, given: Given) {
        let Given::Here(revision) = given else { return };
        let deleting = self.store.delete_expect_revision(key(&name), Some(revision));
        // Else it runs out.
        let _ = timeout(LIMIT, deleting).await;
    }
}

/// Opens the bucket, or makes it. A cluster that has just begun has to agree on who leads first.
async fn open(context: &Context, is_clustered: bool) -> Store {
    let began = Instant::now();
    loop {
        // Another may have made it meanwhile.
        if let Ok(store) = context.get_key_value(BUCKET).await {
            return store;
        }
        let is_small = !is_clustered || began.elapsed() > OPEN_LIMIT / 2;
        // What a bucket is in JetStream (ADR-8 of NATS); the client's own way to make one does not understand servers of 2.9.
        let config = Config {
            name: format!("KV_{BUCKET}"),
            description: Some("runners of alknet tunnel, by their agents".to_owned()),
            subjects: vec![format!("$KV.{BUCKET}.>")],
            max_messages_per_subject: 1,
            max_age: LEASE,
            storage: StorageType::Memory,
            num_replicas: if is_small { 1 } else { COPIES },
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            ..Config::default()
        };
        if let Err(why) = context.create_stream(config).await {
            tracing::debug!(%why, "NATS has no registry yet");
            sleep(TRY_AGAIN).await;
        }
    }
}

/// What was said last of an agent.
#[derive(Clone, Copy)]
enum Given {
    /// That it is here, under this revision.
    Here(u64),
    /// Another runner has said that it is there since.
    Elsewhere,
}

/// The key of a container: keys are of fewer signs than names (`-`, `_`, `=`, `/`, `.`, letters and digits).
fn key(container: &str) -> String {
    let segment = segment(container).replace('%', "=").replace('~', "=7E").replace('.', "=2E");
    format!("agent.{segment}")
}

/// The container of a key.
fn container(key: &str) -> Option<String> {
    let segment = key.strip_prefix("agent.")?;
    Some(decoded(&segment.replace('=', "%")))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_become_keys_and_no_two_the_same() {
        let names = ["kohakuriver-task-5", "a.b", "a=b", "a b", "a/b", "~", "%", "=25", "ü"];
        let keys: HashSet<String> = names.iter().map(|name| key(name)).collect();
        assert_eq!(keys.len(), names.len());
        for key in keys {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.".contains(&byte);
            assert!(key.bytes().all(plain) && !key.ends_with('.'), "{key}");
            assert!(container(&key).is_some_and(|name| names.contains(&&*name)), "{key}");
        }
    }
}
