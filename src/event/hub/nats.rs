//! Hubs of many servers over NATS: what one server's clients publish, the clients of the others hear.
//!
//! A topic is one subject; a message is whole frames, as they go to subscribers. Each server subscribes to the topics that its own
//! clients want. What it publishes itself is not sent back to it, so nothing comes twice. Delivery is at most once, as NATS has it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, Subscriber};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::store::{STORE_LIMIT, Store};
use super::{Cluster, EVERYTHING, Hub, Member, Reach};
use crate::error::Result;
use crate::event::codec::HEADER;
use crate::nats::connect;
use crate::scope::Scope;

/// Where subjects begin.
const PREFIX: &str = "alknet.events.";

/// Limit for a NATS server's word that it knows of a subscription.
const KNOWN_LIMIT: Duration = Duration::from_secs(2);

/// How long a publisher waits for room on the way to NATS.
const ROOM_LIMIT: Duration = Duration::from_millis(250);

/// Messages on their way to NATS, each of 64 KiB or one event; and those that have come for a topic.
const MAX_OUTGOING: usize = 256;
const MAX_INCOMING: usize = 1024;

/// See the module.
pub(crate) struct Nats {
    client: Client,
    hub: Weak<Hub>,
    scope: Scope,
    /// Topics that clients here want.
    wanted: Mutex<HashMap<Box<str>, Wanted>>,
    /// Of the topics whose events are kept.
    store: Arc<Store>,
}

struct Wanted {
    token: CancellationToken,
    /// Of a kept topic: where it begins.
    begun: watch::Receiver<Option<u64>>,
}

impl Nats {
    /// Connects to one of `servers`, and to others of them or of their cluster when it is lost. Events of `durable` topics are kept.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`; `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, `EACCES`.
    pub(crate) async fn connect(
        servers: &[String],
        durable: &[String],
        hub: &Arc<Hub>,
        scope: &Scope,
    ) -> Result<Arc<Self>> {
        let counting = Arc::downgrade(hub);
        let options = |options: ConnectOptions| {
            options
                .no_echo()
                .client_capacity(MAX_OUTGOING)
                .subscription_capacity(MAX_INCOMING)
                .event_callback(move |event| {
                    tell(&event);
                    if let (Event::SlowConsumer(_), Some(hub)) = (&event, counting.upgrade()) {
                        hub.counters.cluster.add(1);
                    }
                    std::future::ready(())
                })
        };
        let client = connect(servers, options).await?;
        let hub = Arc::downgrade(hub);
        let store = Arc::new(Store::open(&client, durable, Weak::clone(&hub)).await?);
        Ok(Arc::new(Self { client, hub, scope: scope.clone(), wanted: Mutex::default(), store }))
    }
}

impl Cluster for Nats {
    fn publish(&self, topic: &str, frames: &Bytes, count: u64) -> Option<BoxFuture<'static, ()>> {
        if frames.len() > self.client.max_payload() {
            return self.lost(count);
        }
        let (subject, client) = (subject(topic), self.client.clone());
        match client.publish(subject.clone(), frames.clone()).now_or_never() {
            Some(Ok(())) => None,
            Some(Err(_)) => self.lost(count),
            // Nobody knows when it will be back.
            None if client.connection_state() != State::Connected => self.lost(count),
            None => {
                let (frames, hub) = (frames.clone(), Weak::clone(&self.hub));
                Some(
                    async move {
                        let sending = client.publish(subject, frames);
                        let sent = tokio::time::timeout(ROOM_LIMIT, sending).await;
                        if !matches!(sent, Ok(Ok(())))
                            && let Some(hub) = hub.upgrade()
                        {
                            hub.counters.cluster.add(count);
                        }
                    }
                    .boxed(),
                )
            }
        }
    }

    fn wanted(&self, topic: &str) -> BoxFuture<'static, ()> {
        let token = CancellationToken::new();
        let (tell, told) = oneshot::channel();
        let (tell_begun, begun) = watch::channel(None);
        let hearing = match self.store.keeps(topic) {
            true => Arc::clone(&self.store).follow(topic.into(), tell_begun).boxed(),
            false => hear(self.client.clone(), topic.into(), Weak::clone(&self.hub), tell).boxed(),
        };
        let ending = token.clone();
        self.scope.spawn(async move {
            ending.run_until_cancelled(hearing).await;
        });
        self.wanted.lock().insert(topic.into(), Wanted { token, begun });
        async move {
            let _ = told.await;
        }
        .boxed()
    }

    fn unwanted(&self, topic: &str) {
        if let Some(wanted) = self.wanted.lock().remove(topic) {
            wanted.token.cancel();
        }
    }

    fn keeps(&self, topic: &str) -> bool {
        self.store.keeps(topic)
    }

    fn keep(&self, topic: &str, frames: Bytes, author: u64) -> BoxFuture<'static, bool> {
        Arc::clone(&self.store).keep(topic.into(), frames, author).boxed()
    }

    fn begun(&self, topic: &str) -> BoxFuture<'static, Option<(u64, u64)>> {
        let begun = self.wanted.lock().get(topic).map(|wanted| wanted.begun.clone());
        let (store, topic) = (Arc::clone(&self.store), topic.to_owned());
        let learning = async move {
            let last = *begun?.wait_for(Option::is_some).await.ok()?;
            Some((store.bounds(&topic).await.0, last?))
        };
        async move { tokio::time::timeout(STORE_LIMIT, learning).await.ok()? }.boxed()
    }

    fn replay(&self, topic: &str, after: u64, member: &Arc<Member>) {
        let store = Arc::clone(&self.store);
        self.scope.spawn(store.replay(topic.into(), after, Arc::clone(member)));
    }
}

impl Nats {
    fn lost(&self, count: u64) -> Option<BoxFuture<'static, ()>> {
        if let Some(hub) = self.hub.upgrade() {
            hub.counters.cluster.add(count);
        }
        None
    }
}

/// Hands on what comes of a topic, until its end.
async fn hear(client: Client, topic: Box<str>, hub: Weak<Hub>, known: oneshot::Sender<()>) {
    let wide = &*topic == EVERYTHING;
    let subject = if wide { format!("{PREFIX}*") } else { subject(&topic) };
    let Ok(mut messages) = client.subscribe(subject).await else { return };
    // Its answer, that nobody answers, comes behind the subscription.
    let asking = client.request(format!("{PREFIX}known.by"), Bytes::new());
    let _ = tokio::time::timeout(KNOWN_LIMIT, asking).await;
    let _ = known.send(());
    while let Some(message) = next(&mut messages).await {
        let Some(hub) = hub.upgrade() else { return };
        let Some(count) = count(&message.payload) else {
            hub.counters.invalid.add(1);
            continue;
        };
        let crowded = match wide {
            false => hub.receive(&topic, Reach::Named, &message.payload, count),
            true => match topic_of(&message.subject) {
                Some(topic) => hub.receive(&topic, Reach::All, &message.payload, count),
                None => continue,
            },
        };
        drop(hub);
        if let Some(crowded) = crowded {
            crowded.outbox.room().await;
        }
    }
}

async fn next(messages: &mut Subscriber) -> Option<async_nats::Message> {
    messages.next().await
}

/// How many frames there are, if they are whole.
fn count(mut bytes: &[u8]) -> Option<u64> {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let length = usize::try_from(u32::from_be_bytes(*header)).ok()?;
        bytes = rest.get(length..)?;
        count += 1;
    }
    (bytes.is_empty() && count > 0).then_some(count)
}

/// The subject of a topic.
pub(super) fn subject(topic: &str) -> String {
    format!("{PREFIX}{}", token(topic))
}

/// A topic in one token, in which all but letters, digits, `-`, `_` and `:` is written as `=` and two digits.
pub(super) fn token(topic: &str) -> String {
    let mut token = String::with_capacity(topic.len());
    for byte in topic.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b':' => {
                token.push(char::from(byte));
            }
            // Writing to a string does not fail.
            _ => _ = write!(token, "={byte:02X}"),
        }
    }
    token
}

fn topic_of(subject: &str) -> Option<String> {
    let mut rest = subject.strip_prefix(PREFIX)?;
    let mut topic = Vec::with_capacity(rest.len());
    while let Some(at) = rest.find('=') {
        topic.extend_from_slice(&rest.as_bytes()[..at]);
        topic.push(u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?);
        rest = &rest[at + 3..];
    }
    topic.extend_from_slice(rest.as_bytes());
    String::from_utf8(topic).ok()
}

fn tell(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("NATS is lost; connecting again"),
        // What it says may have a subject in it.
        Event::SlowConsumer(_) => tracing::warn!("events of NATS were not taken fast enough"),
        _ => tracing::info!("NATS has something to say"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_back_from_their_subjects_and_are_one_token() {
        for topic in ["a", "a:1", "a.b", "ä *>", "=2E", "a b\n", "__", "1/2"] {
            let subject = subject(topic);
            let token = subject.strip_prefix(PREFIX).unwrap_or_default();
            assert!(!token.is_empty() && !token.contains(['.', '*', '>', ' ', '\n']), "{token}");
            assert_eq!(topic_of(&subject).as_deref(), Some(topic));
        }
        assert_eq!(topic_of("alknet.events.=4"), None);
        assert_eq!(topic_of("other.x"), None);
    }

    #[test]
    fn only_whole_frames_are_counted() {
        assert_eq!(count(b"\0\0\0\x01x\0\0\0\x02yy"), Some(2));
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x02x", b"\0\0\0\x01xz"] {
            assert_eq!(count(bytes), None, "{bytes:?}");
        }
    }
}
