//! What a host lists: the tasks that a caller may reach, whether their agents are there, and what went to them through this host.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::ready;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::host::{HostDesk, HostState};
use super::runner::RunnerDesk;
use super::{deny, get_only, json};
use crate::http::{Head, Page};
use crate::io::Relays;
use crate::tunnel::{Lease, Url, fetch, status_of_agent, task_of, token};

/// How long a runner may take to say which agents it has: a page waits for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Longest answer of a runner, in bytes: 4 096 agents with the longest names.
const LONGEST: usize = 2 * 1024 * 1024;

/// Runners that are asked at once.
const AT_ONCE: usize = 16;

/// How old an answer may be: runners are asked no more often for many pages than for one.
const FRESH: Duration = Duration::from_secs(1);

/// Where runners say which agents they have.
pub(super) const AGENTS: &str = "/api/agents";

/// What a runner says of its agents.
#[derive(Serialize, Deserialize)]
struct Agents {
    agents: HashSet<String>,
}

/// What went to a task through a host.
#[derive(Default)]
pub(super) struct Traffic {
    relays: Relays,
    active: AtomicUsize,
    sessions: AtomicU64,
}

/// A session that is counted. Dropped, it is over.
pub(super) struct Counted(Arc<Traffic>);

impl Deref for Counted {
    type Target = Relays;

    fn deref(&self) -> &Relays {
        &self.0.relays
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which agents are where.
#[derive(Default)]
pub(super) struct Sight {
    /// Of runners that tell, by their URLs.
    runners: HashMap<String, HashSet<String>>,
    /// What runners have said in NATS, by their agents.
    leases: HashMap<String, Lease>,
}

impl RunnerDesk {
    /// Tells the names of the agents that the asker may reach.
    pub(super) fn agents(&self, head: &Head) -> Page {
        if let Some(no) = get_only(head) {
            return no;
        }
        let tokens = self.tokens.lock();
        let Some(scope) = tokens.scope(token(head).as_deref()) else {
            return deny(401, "a token is needed");
        };
        let names = self.runner.names().into_keys();
        json(200, &json!(Agents { agents: names.filter(|name| scope.has(name)).collect() }))
    }
}

impl HostDesk {
    /// Counts a session with a task, until it is dropped.
    pub(super) fn count(&self, id: i64) -> Counted {
        let traffic = Arc::clone(self.traffic.lock().entry(id).or_default());
        traffic.active.fetch_add(1, Ordering::Relaxed);
        traffic.sessions.fetch_add(1, Ordering::Relaxed);
        Counted(traffic)
    }

    /// What `/api/tasks` answers.
    pub(super) async fn list(&self, head: &Head) -> Page {
        if let Some(no) = get_only(head) {
            return no;
        }
        let state = Arc::clone(&self.state.lock());
        let token = token(head);
        let Some(scope) = state.tokens.scope(token.as_deref()) else {
            // Without any, it is the page that does not know yet that it needs one.
            if token.is_some() {
                tracing::warn!("a list with a wrong token");
            }
            return deny(401, "a token is needed");
        };
        let sight = self.look(&state).await;
        let mut tasks: BTreeMap<i64, Value> = BTreeMap::new();
        for id in state.registry.ids() {
            tasks.extend(of_registry(&state, id, &sight).map(|task| (id, task)));
        }
        for (id, task) in self.strays(&sight) {
            tasks.entry(id).or_insert(task);
        }
        tasks.retain(|id, _| scope.has(&id.to_string()));
        for (id, task) in &mut tasks {
            self.add_traffic(*id, task);
        }
        json(200, &json!({ "tasks": tasks.into_values().collect::<Vec<_>>() }))
    }

    /// What is known of a task by its agent alone, at one of the runners that are asked for any task.
    pub(super) async fn stray(&self, state: &HostState, id: i64) -> Option<Value> {
        let sight = self.look(state).await;
        let (_, mut task) = self.strays(&sight).find(|(found, _)| *found == id)?;
        task.as_object_mut()?.retain(|name, _| name != "agent" && name != "terminal");
        Some(task)
    }

    /// Tasks by what their agents call themselves.
    fn strays(&self, sight: &Sight) -> impl Iterator<Item = (i64, Value)> {
        let leased = sight.leases.iter().map(|(name, lease)| (name, lease.node.clone()));
        let asked = self.options.runners.iter().filter_map(|url| {
            let names = sight.runners.get(&url.to_string())?;
            Some(names.iter().map(|name| (name, url.at.to_string())))
        });
        leased.chain(asked.flatten()).filter_map(|(name, node)| {
            let id = task_of(name)?;
            Some((id, seen(status_of_agent(id, name, &node), Some(true), true)))
        })
    }

    fn add_traffic(&self, id: i64, task: &mut Value) {
        let traffic = self.traffic.lock().get(&id).cloned().unwrap_or_default();
        let number = |count: &AtomicU64| json!(count.load(Ordering::Relaxed));
        task["sessions"] = json!(traffic.active.load(Ordering::Relaxed));
        task["sessions_total"] = number(&traffic.sessions);
        task["bytes_up"] = number(&traffic.relays.up);
        task["bytes_down"] = number(&traffic.relays.down);
    }

    /// Asks every runner for its agents, and NATS. Runners of the original do not tell.
    async fn look(&self, state: &HostState) -> Arc<Sight> {
        // Whoever comes meanwhile waits for the same answer.
        let mut last = self.sight.lock().await;
        if let Some((at, sight)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(sight);
        }
        let mut runners: HashMap<String, (Url, Option<String>)> =
            state.registry.runners().map(|(url, token)| (url.to_string(), (url, token))).collect();
        for url in &self.options.runners {
            let asked = || (url.clone(), self.options.runner_token.clone());
            runners.entry(url.to_string()).or_insert_with(asked);
        }
        let asking = stream::iter(runners).map(|(name, (url, token))| async move {
            let agents = self.ask(&url, token.as_deref());
            Some((name, tokio::time::timeout(ANSWER_LIMIT, agents).await.ok()??))
        });
        let told = asking.buffer_unordered(AT_ONCE).filter_map(ready).collect();
        let leased = async {
            match &self.leases {
                Some(leases) => leases.all().await,
                None => HashMap::new(),
            }
        };
        let (runners, leases) = tokio::join!(told, leased);
        let sight = Arc::new(Sight { runners, leases });
        *last = Some((Instant::now(), Arc::clone(&sight)));
        sight
    }

    async fn ask(&self, url: &Url, token: Option<&str>) -> Option<HashSet<String>> {
        let text = fetch(url, AGENTS, token, self.options.manner(), LONGEST).await.ok()??;
        serde_json::from_slice(&text).ok().map(|Agents { agents }| agents)
    }
}

/// A task of the registry.
fn of_registry(state: &HostState, id: i64, sight: &Sight) -> Option<Value> {
    let mut task = state.registry.status(id)?;
    let names = state.registry.names(id);
    if let Some(lease) = names.iter().find_map(|name| sight.leases.get(name)) {
        task["assigned_node"] = json!(lease.node);
        return Some(seen(task, Some(true), true));
    }
    let Ok(place) = state.registry.terminal(id) else { return Some(seen(task, None, false)) };
    let names = sight.runners.get(&place.url.to_string());
    let agent = names.map(|names| names.contains(&place.container));
    Some(seen(task, agent, agent != Some(false)))
}

/// Adds whether its agent is there, unless its runner does not say, and whether a terminal may be asked for.
fn seen(mut task: Value, agent: Option<bool>, terminal: bool) -> Value {
    task["agent"] = json!(agent);
    task["terminal"] = json!(terminal);
    task
}
