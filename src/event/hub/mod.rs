//! The in-process hub: every member publishes to it and gets the events of the topics that it is subscribed to.
//!
//! A member is a byte stream with frames on it and a name from whoever knows it; the hub never sees SSH. An event is encoded once,
//! whatever the number of its subscribers. Delivery is at most once; events of one publisher keep their order. The hazard: one
//! member's slowness must not become the others', so what waits for each is bounded and nothing waits for it long.

mod access;
mod counters;
mod end;
mod head;
#[cfg(feature = "nats")]
mod keeping;
#[cfg(feature = "nats")]
mod kept;
mod member;
#[cfg(feature = "nats")]
mod nats;
mod outbox;
mod pace;
#[cfg(feature = "nats")]
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use access::Access;
pub use access::BusAction;
pub use counters::BusMetrics;
use counters::Counters;
#[cfg(feature = "nats")]
pub(crate) use nats::Nats;
use outbox::{Outbox, Pushed};

use super::codec::{DEFAULT_MAX_FRAME, LARGEST_MAX_FRAME};
use super::envelope::{MAX_SUBSCRIPTIONS, MAX_TOPIC};
use crate::error::{Error, Result};
use crate::io::BoxIo;

/// Bytes that may wait for a subscriber. With the 1 MiB that a stream takes for sending these are the 4 MiB of the reference table.
const MAX_QUEUE: usize = 3 * 1024 * 1024;

/// Bounds of a bus.
#[derive(Clone, Copy, Debug)]
pub struct BusLimits {
    /// Bytes of a frame, who it is from included. Default 1 MiB, at most 64 MiB.
    pub max_frame: usize,
    /// Bytes that may wait for one subscriber; beyond, it is closed. Default 3 MiB; the stream beneath holds 1 MiB besides.
    pub max_queue: usize,
    /// Topics that one stream may be subscribed to. Default 1 024.
    pub max_subscriptions: usize,
    /// Events that one stream may publish in a second; then it is slowed down to that. Default: as many as it can.
    pub max_rate: Option<u32>,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_queue: MAX_QUEUE,
            max_subscriptions: MAX_SUBSCRIPTIONS,
            max_rate: None,
        }
    }
}

impl BusLimits {
    /// # Errors
    /// `ERR_ALKNET_CONFIG`, naming the bound.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("max_frame", self.max_frame == 0),
            ("max_queue", self.max_queue == 0),
            ("max_subscriptions", self.max_subscriptions == 0),
            ("max_rate", self.max_rate == Some(0)),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::config(format!("the limit {name} of the bus must not be 0")));
        }
        if self.max_frame > LARGEST_MAX_FRAME {
            let message = format!("the limit max_frame of the bus is {LARGEST_MAX_FRAME} at most");
            return Err(Error::config(message));
        }
        Ok(())
    }
}

/// Who a member is.
pub(crate) struct Who {
    /// What its events are stamped with; nothing for the program that hosts the hub.
    pub(crate) name: Option<String>,
    /// What it may do.
    pub(crate) access: Arc<dyn Access>,
}

/// See the module.
pub(crate) struct Hub {
    limits: BusLimits,
    topics: RwLock<Topics>,
    counters: Counters,
    cluster: OnceLock<Arc<dyn Cluster>>,
    last_id: AtomicU64,
    drain: Drain,
}

/// The end of a hub in order: first nobody is read any more, then everybody gets what waits, and the end.
#[derive(Default)]
struct Drain {
    begun: CancellationToken,
    /// Members that are read.
    readers: TaskTracker,
    quiet: CancellationToken,
}

#[derive(Default)]
struct Topics {
    named: HashMap<Box<str>, Topic>,
    /// Of [`EVERYTHING`].
    all: Vec<Subscriber>,
}

#[derive(Default)]
struct Topic {
    subscribers: Vec<Subscriber>,
    /// If its events are kept: the last message of them that was handed on as it came.
    #[cfg(feature = "nats")]
    reached: AtomicU64,
}

struct Subscriber {
    member: Arc<Member>,
    /// Whether it hears its own events.
    echo: bool,
    /// Of events that are kept it hears those of later messages.
    #[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "only a store gives numbers"))]
    after: u64,
}

/// Hubs of other servers.
#[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "there is one only by NATS"))]
pub(crate) trait Cluster: Send + Sync + 'static {
    /// Sends whole frames of `count` events of one topic to them. Gives what to wait for when there is no room.
    fn publish(&self, topic: &str, frames: &Bytes, count: u64) -> Option<BoxFuture<'static, ()>>;

    /// A topic has its first subscriber here. Ready when their events of it come.
    fn wanted(&self, topic: &str) -> BoxFuture<'static, ()>;

    /// A topic has lost its last subscriber here.
    fn unwanted(&self, topic: &str);

    /// Whether events of a topic are kept for those who are away: then they are not published, but kept.
    fn keeps(&self, topic: &str) -> bool;

    /// Keeps frames of a member, as one message. Ready, with whether they are kept, when that is known.
    fn keep(&self, topic: &str, frames: Bytes, author: u64) -> BoxFuture<'static, bool>;

    /// Of a kept topic that is wanted: the first message that is kept, and the last one that will not come by itself.
    /// Nothing when that is not to be learnt in time.
    fn begun(&self, topic: &str) -> BoxFuture<'static, Option<(u64, u64)>>;

    /// Sends a member the events that were kept after that number, and what comes then.
    fn replay(&self, topic: &str, after: u64, member: &Arc<Member>);
}

/// To which subscribers of a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those that named it.
    Named,
    /// Those that are subscribed to everything, and did not name it.
    All,
    Both,
}

/// What a publisher should wait for.
#[derive(Default)]
struct Crowd {
    /// A subscriber.
    member: Option<Arc<Member>>,
    /// The way to other servers.
    cluster: Option<BoxFuture<'static, ()>>,
}

/// A member as others see it.
pub(crate) struct Member {
    id: u64,
    outbox: Outbox,
}

/// The topic that stands for all topics.
const EVERYTHING: &str = "*";

/// The last message to a subscriber that is too slow.
const SLOW: &[u8] =
    b"\0\0\0\x40{\"type\":\"__closed\",\"id\":\"\",\"payload\":{\"reason\":\"slow_consumer\"}}";

impl Hub {
    pub(crate) fn new(limits: BusLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            topics: RwLock::default(),
            counters: Counters::default(),
            cluster: OnceLock::new(),
            last_id: AtomicU64::new(0),
            drain: Drain::default(),
        })
    }

    /// Makes a stream a member, until its end. Never fails: what happens is counted, logged and ends this member only.
    pub(crate) async fn join(self: Arc<Self>, io: BoxIo, who: Who) {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member { id, outbox: Outbox::default() });
        member::run(self, member, io, who).await;
    }

    /// Ends in order: what has come of members is handed on, then each is sent what waits for it, and the end. Ready when no member is
    /// read any more; that they are gone, their streams tell. Cancel-safe.
    pub(crate) async fn drain(&self) {
        let Drain { begun, readers, quiet } = &self.drain;
        begun.cancel();
        readers.close();
        readers.wait().await;
        quiet.cancel();
    }

    /// What it has done so far.
    pub(crate) fn metrics(&self) -> BusMetrics {
        self.counters.read(self.topics.read().named.len())
    }

    /// Publishes to `cluster` too, and subscribes to it. Once, before there are members.
    #[cfg(any(test, feature = "nats"))]
    pub(crate) fn join_cluster(&self, cluster: Arc<dyn Cluster>) {
        let _ = self.cluster.set(cluster);
    }

    /// Subscribes a member, or changes its subscription: to events with numbers beyond `after`, if they have any. Gives what to wait for
    /// until events of other servers come.
    fn subscribe(
        &self,
        member: &Arc<Member>,
        topic: &str,
        echo: bool,
        after: u64,
    ) -> Option<BoxFuture<'static, ()>> {
        let mut topics = self.topics.write();
        let subscribers = match topics.named.get_mut(topic) {
            _ if topic == EVERYTHING => &mut topics.all,
            Some(topic) => &mut topic.subscribers,
            None => &mut topics.named.entry(topic.into()).or_default().subscribers,
        };
        match subscribers.iter_mut().find(|other| other.member.id == member.id) {
            Some(known) => {
                known.echo = echo;
                return None;
            }
            None => subscribers.push(Subscriber { member: Arc::clone(member), echo, after }),
        }
        let first = subscribers.len() == 1;
        self.counters.subscriptions.add(1);
        // Under the lock: a cluster hears of comings and goings in their order.
        self.cluster.get().filter(|_| first).map(|cluster| cluster.wanted(topic))
    }

    fn unsubscribe(&self, member: &Member, topic: &str) {
        let mut topics = self.topics.write();
        let Topics { named, all } = &mut *topics;
        let subscribers = match named.get_mut(topic) {
            _ if topic == EVERYTHING => all,
            Some(topic) => &mut topic.subscribers,
            None => return,
        };
        let before = subscribers.len();
        subscribers.retain(|other| other.member.id != member.id);
        self.counters.subscriptions.take_away((before - subscribers.len()) as u64);
        if subscribers.is_empty()
            && before > 0
            && let Some(cluster) = self.cluster.get()
        {
            cluster.unwanted(topic);
        }
        if subscribers.is_empty() {
            topics.named.remove(topic);
        } else if subscribers.capacity() > 4 * subscribers.len().max(4) {
            subscribers.shrink_to(2 * subscribers.len());
        }
    }

    /// Hands frames of `count` events of one topic to its subscribers, here and elsewhere.
    fn publish(&self, from: u64, topic: &str, frames: &Bytes, count: u64) -> Crowd {
        self.counters.published.add(count);
        let cluster = self.cluster.get().and_then(|all| all.publish(topic, frames, count));
        Crowd { member: self.hand_on(Some(from), topic, Reach::Both, frames, count), cluster }
    }

    /// Hands frames from another server to subscribers here. Returns one that should be waited for.
    #[cfg(feature = "nats")]
    fn receive(
        &self,
        topic: &str,
        reach: Reach,
        frames: &Bytes,
        count: u64,
    ) -> Option<Arc<Member>> {
        self.counters.received.add(count);
        self.hand_on(None, topic, reach, frames, count)
    }

    fn hand_on(
        &self,
        from: Option<u64>,
        topic: &str,
        reach: Reach,
        frames: &Bytes,
        count: u64,
    ) -> Option<Arc<Member>> {
        let topics = self.topics.read();
        let named = topics.named.get(topic).map_or(&[][..], |topic| &topic.subscribers[..]);
        if named.is_empty() && topics.all.is_empty() {
            if from.is_some() && reach == Reach::Both {
                self.counters.unheard.add(count);
            }
            return None;
        }
        // Who is subscribed to this topic and to all gets it once.
        let all = if reach == Reach::Named { &[][..] } else { &topics.all[..] };
        let others = all.iter().filter(|all| {
            let member = all.member.id;
            named.iter().all(|subscriber| subscriber.member.id != member)
        });
        let named = if reach == Reach::All { &[][..] } else { named };
        let mut crowded = None;
        for Subscriber { member, echo, .. } in named.iter().chain(others) {
            if Some(member.id) == from && !echo {
                continue;
            }
            match member.outbox.push(frames, count, self.limits.max_queue, SLOW) {
                // Who waits for itself waits for ever.
                Pushed::Crowded if Some(member.id) != from => crowded = Some(member),
                Pushed::Overflow(lost) => self.counters.slow_consumer.add(lost),
                Pushed::Taken | Pushed::Crowded | Pushed::Gone => {}
            }
        }
        crowded.map(Arc::clone)
    }
}

/// Why a topic may not be subscribed to, whoever asks.
fn refusal(topic: &str) -> Option<&'static str> {
    match topic {
        _ if topic.starts_with("__") => Some("reserved"),
        _ if topic.len() > MAX_TOPIC => Some("too_long"),
        _ => None,
    }
}
