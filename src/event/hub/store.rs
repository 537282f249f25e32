//! Topics whose events are kept, in JetStream, a stream of it for each: a subscriber that was away gets what it has missed.
//!
//! An event is stored before the next one of its publisher is taken, and reaches subscribers by way of the store alone, its own server's
//! too: so all of them see one order, and each event has a number. A number that a subscriber has seen is where it goes on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, State};
use async_nats::jetstream::{Context, ErrorCode, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::heard_to_its_end;
use super::nats::{subject, token};
use super::{Hub, Member};
use crate::error::{Code, Error, Phase, Result};

/// How long events are kept, and how many bytes of a topic; then the oldest go. Of a stream that is there already its own limits hold.
const KEEP_FOR: Duration = Duration::from_secs(24 * 3600);
const KEEP_BYTES: i64 = 1024 * 1024 * 1024;

/// Copies in a cluster: the fewest of which one may be lost.
const COPIES: usize = 3;

/// How long JetStream may take, with all attempts, to keep an event or to say where a topic ends: longer than it takes to elect a leader.
pub(super) const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Limit for one attempt, and the pause between two.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Whoever sends events says so often that it lives; after two of these without a word another is asked.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// After so long without an event a replay looks whether there are any left.
const STALLED: Duration = Duration::from_secs(5);

/// JetStream forgets readers that ask for nothing for so long.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Events asked for at once.
const BATCH: usize = 256;

/// See the module.
pub(super) struct Store {
    context: Context,
    /// The streams of the topics.
    kept: HashMap<Box<str>, String>,
    hub: Weak<Hub>,
    /// Tells the events of this hub from those of others.
    id: u64,
    count: AtomicU64,
}

impl Store {
    /// Makes the streams of `topics` that are not there.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when NATS has no JetStream, or will not have such a stream; `ETIMEDOUT`.
    pub(super) async fn open(client: &Client, topics: &[String], hub: Weak<Hub>) -> Result<Self> {
        let mut context = async_nats::jetstream::new(client.clone());
        context.set_timeout(ANSWER_LIMIT);
        let mut kept = HashMap::new();
        for topic in topics {
            let name = format!("alknet_{}", token(topic));
            if let Some(why) = super::refusal(topic).or_else(|| unfit(topic, &name)) {
                return Err(Error::config(format!("the topic {topic:?} cannot be kept: {why}")));
            }
            make(&context, topic, &name).await?;
            kept.insert(topic.as_str().into(), name);
        }
        Ok(Self { context, kept, hub, id: fastrand::u64(..), count: AtomicU64::new(0) })
    }

    pub(super) fn keeps(&self, topic: &str) -> bool {
        self.kept.contains_key(topic)
    }

    /// Stores frames as one message; whether they are stored. Repeats do not store them twice.
    pub(super) async fn keep(self: Arc<Self>, topic: Box<str>, frames: Bytes, author: u64) -> bool {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{author}-{number}", self.id);
        let deadline = Instant::now() + STORE_LIMIT;
        loop {
            let event = PublishMessage::build().payload(frames.clone()).message_id(&id);
            let sending = async {
                let answer = self.context.send_publish(subject(&topic), event).await.ok()?;
                answer.await.ok()
            };
            if matches!(tokio::time::timeout(ANSWER_LIMIT, sending).await, Ok(Some(_))) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hands on what comes of a topic from now on, and tells `begun` the number of the last message before.
    pub(super) async fn follow(
        self: Arc<Self>,
        topic: Box<str>,
        begun: watch::Sender<Option<u64>>,
    ) {
        let mut last = self.bounds(&topic).await.1;
        begun.send_replace(Some(last));
        loop {
            if let Some(mut events) = self.events(&topic, last + 1).await {
                while let Some(event) = events.next().await {
                    last = event.message;
                    let Some(hub) = self.hub.upgrade() else { return };
                    let crowded = hub.receive_kept(&topic, &event);
                    drop(hub);
                    if let Some(crowded) = crowded {
                        crowded.outbox.room().await;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The numbers of the first and the last message that are kept.
    pub(super) async fn bounds(&self, topic: &str) -> (u64, u64) {
        loop {
            if let Some(State { first_sequence, last_sequence, .. }) = self.state(topic).await {
                return (first_sequence, last_sequence);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a member the events that are kept after number `after`; from there on it hears what comes.
    pub(super) async fn replay(self: Arc<Self>, topic: Box<str>, after: u64, to: Arc<Member>) {
        let mut reached = heard_to_its_end(after);
        loop {
            let (first, last) = self.bounds(&topic).await;
            reached = reached.max(first.saturating_sub(1));
            if reached >= last && self.joins_in(&topic, &to, reached) {
                return;
            }
            let Some(mut events) = self.events(&topic, reached + 1).await else { continue };
            while let Ok(Some(event)) = tokio::time::timeout(STALLED, events.next()).await {
                let Some(hub) = self.hub.upgrade() else { return };
                if !hub.send_kept(&to, &event, after) {
                    return;
                }
                drop(hub);
                reached = event.message;
                to.outbox.calm().await;
                if reached >= last && self.joins_in(&topic, &to, reached) {
                    return;
                }
            }
            if to.outbox.is_closed() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn joins_in(&self, topic: &str, member: &Member, reached: u64) -> bool {
        self.hub.upgrade().is_none_or(|hub| hub.join_in(topic, member, reached))
    }

    async fn state(&self, topic: &str) -> Option<State> {
        let name = self.kept.get(topic)?;
        let stream = self.context.get_stream_no_info(name).await.ok()?;
        let asking = tokio::time::timeout(ANSWER_LIMIT, stream.get_info());
        Some(asking.await.ok()?.ok()?.state)
    }

    /// The events of a topic from a message on, until whoever sends them is gone.
    async fn events(&self, topic: &str, from: u64) -> Option<Events> {
        let stream = self.context.get_stream_no_info(self.kept.get(topic)?).await.ok()?;
        let asking = async {
            let reader = stream.create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
                ack_policy: AckPolicy::None,
                inactive_threshold: FORGOTTEN,
                memory_storage: true,
                num_replicas: 1,
                ..pull::Config::default()
            });
            let reader = reader.await.ok()?;
            let asked = reader.stream().heartbeat(HEARTBEAT).max_messages_per_batch(BATCH);
            asked.messages().await.ok()
        };
        let messages = tokio::time::timeout(2 * ANSWER_LIMIT, asking).await.ok()??;
        Some(Events { messages, place: 0, hub: self.id })
    }
}

/// Events as they are kept: a message of the store.
pub(super) struct Kept {
    pub(super) message: u64,
    /// The member that published it, if it was one of this hub.
    pub(super) author: Option<u64>,
    /// Whole frames, of events that came together.
    pub(super) frames: Bytes,
}

struct Events {
    messages: pull::Stream,
    /// How many came.
    place: u64,
    hub: u64,
}

impl Events {
    /// The next one; nothing when some are missing, or whoever sends them is.
    async fn next(&mut self) -> Option<Kept> {
        let message = self.messages.next().await?.ok()?;
        let info = message.info().ok()?;
        let (sequence, place) = (info.stream_sequence, info.consumer_sequence);
        self.place += 1;
        (place == self.place).then(|| Kept {
            message: sequence,
            author: author(&message, self.hub),
            frames: message.payload.clone(),
        })
    }
}

/// Which member of the hub published it.
fn author(message: &Message, hub: u64) -> Option<u64> {
    let id = message.headers.as_ref()?.get(async_nats::header::NATS_MESSAGE_ID)?;
    let rest = id.as_str().strip_prefix(&format!("{hub:016x}-"))?;
    rest.split_once('-')?.0.parse().ok()
}

fn unfit(topic: &str, name: &str) -> Option<&'static str> {
    match topic {
        "" => Some("it is empty"),
        super::EVERYTHING => Some("it stands for all topics"),
        // What JetStream takes for a name.
        _ if name.len() > 255 => Some("it is too long"),
        _ => None,
    }
}

/// Makes the stream of a topic unless it is there.
async fn make(context: &Context, topic: &str, name: &str) -> Result<()> {
    let began = Instant::now();
    let mut copies = COPIES;
    loop {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subject(topic)],
            max_age: KEEP_FOR,
            max_bytes: KEEP_BYTES,
            num_replicas: copies,
            ..Config::default()
        };
        let Err(error) = context.get_or_create_stream(config).await else { return Ok(()) };
        match error.kind() {
            CreateStreamErrorKind::JetStream(e)
                if e.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
            {
                copies = 1;
                continue;
            }
            // There is none, or there will be in a moment.
            CreateStreamErrorKind::JetStreamUnavailable if began.elapsed() >= HEARTBEAT => {
                return Err(no_store());
            }
            // A cluster that has just begun elects a leader first.
            _ if began.elapsed() < STORE_LIMIT => tokio::time::sleep(PAUSE).await,
            CreateStreamErrorKind::TimedOut => {
                let message = "JetStream of NATS does not answer";
                return Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Listen));
            }
            _ => return Err(no_store()),
        }
    }
}

fn no_store() -> Error {
    Error::config("NATS will not keep the events of a durable topic")
        .hint("it needs JetStream (nats-server -js), on three nodes of a cluster or on one alone")
}
