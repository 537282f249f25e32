//! What the hub does with events that are kept: each has a number, and a subscriber gets it once, be it from the store or as it comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

use super::outbox::Pushed;
use super::store::Kept;
use super::{Hub, Member, SLOW};
use crate::event::codec::HEADER;

/// What a subscriber hears after while it is sent what was kept.
pub(super) const REPLAYING: u64 = u64::MAX;

/// Bytes that a number takes in a frame, at most.
pub(super) const NUMBER: usize = r#","seq":18446744073709551615"#.len();

impl Hub {
    /// See [`super::Cluster::keeps`]; and so on.
    pub(super) fn keeps(&self, topic: &str) -> bool {
        self.cluster.get().is_some_and(|cluster| cluster.keeps(topic))
    }

    pub(super) fn keep(&self, topic: &str, frame: Bytes, author: u64) -> BoxFuture<'static, bool> {
        match self.cluster.get() {
            Some(cluster) => cluster.keep(topic, frame, author),
            None => future::ready(false).boxed(),
        }
    }

    pub(super) fn begun(&self, topic: &str) -> BoxFuture<'static, Option<(u64, u64)>> {
        match self.cluster.get() {
            Some(cluster) => cluster.begun(topic),
            None => future::ready(None).boxed(),
        }
    }

    pub(super) fn replay(&self, topic: &str, after: u64, member: &Arc<Member>) {
        if let Some(cluster) = self.cluster.get() {
            cluster.replay(topic, after, member);
        }
    }

    /// The number of the last event of a topic that was handed on as it came.
    pub(super) fn position(&self, topic: &str) -> u64 {
        let topics = self.topics.read();
        topics.named.get(topic).map_or(0, |topic| topic.reached.load(Ordering::Relaxed))
    }

    /// Hands on an event as it comes. Returns a subscriber that should be waited for.
    pub(super) fn receive_kept(&self, topic: &str, event: &Kept) -> Option<Arc<Member>> {
        let topics = self.topics.read();
        let topic = topics.named.get(topic)?;
        if topic.reached.fetch_max(event.number, Ordering::Relaxed) >= event.number {
            return None;
        }
        let (frames, count) = self.numbered(event)?;
        if event.author.is_none() {
            self.counters.received.add(count);
        }
        let mut crowded = None;
        for subscriber in &topic.subscribers {
            let own = event.author == Some(subscriber.member.id) && !subscriber.echo;
            if own || event.number <= subscriber.after {
                continue;
            }
            match subscriber.member.outbox.push(&frames, count, self.limits.max_queue, SLOW) {
                Pushed::Crowded => crowded = Some(&subscriber.member),
                Pushed::Overflow(lost) => self.counters.slow_consumer.add(lost),
                Pushed::Taken | Pushed::Gone => {}
            }
        }
        crowded.map(Arc::clone)
    }

    /// Sends an event to one subscriber; whether that is still there.
    pub(super) fn send_kept(&self, member: &Member, event: &Kept) -> bool {
        let Some((frames, count)) = self.numbered(event) else { return true };
        match member.outbox.push(&frames, count, self.limits.max_queue, SLOW) {
            Pushed::Taken | Pushed::Crowded => true,
            Pushed::Overflow(lost) => {
                self.counters.slow_consumer.add(lost);
                false
            }
            Pushed::Gone => false,
        }
    }

    /// Has a subscriber that got all up to `reached` hear what comes after; false when more than that has come already.
    pub(super) fn join_in(&self, topic: &str, member: &Member, reached: u64) -> bool {
        // Under this lock nothing is handed on.
        let mut topics = self.topics.write();
        let Some(topic) = topics.named.get_mut(topic) else { return true };
        let handed_on = topic.reached.load(Ordering::Relaxed);
        let found = topic.subscribers.iter_mut().find(|other| other.member.id == member.id);
        let Some(subscriber) = found else { return true };
        if handed_on > reached {
            return false;
        }
        subscriber.after = reached;
        true
    }

    /// An event's frames with its number in them, and how many these are.
    fn numbered(&self, event: &Kept) -> Option<(Bytes, u64)> {
        let number = format!(r#","seq":{}}}"#, event.number);
        let mut numbered = BytesMut::with_capacity(event.frames.len() + NUMBER);
        let mut count = 0;
        for frame in frames(&event.frames) {
            let body = frame.get(HEADER..).and_then(|body| body.strip_suffix(b"}"));
            let length = body.map_or(0, <[u8]>::len) + number.len();
            let (Some(body), Ok(announced)) = (body, u32::try_from(length)) else { continue };
            numbered.put_u32(announced);
            numbered.put_slice(body);
            numbered.put_slice(number.as_bytes());
            count += 1;
        }
        if count == 0 {
            self.counters.invalid.add(1);
            return None;
        }
        Some((numbered.freeze(), count))
    }
}

/// The frames, one by one; what is no whole frame is left out.
pub(super) fn frames(all: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = all.clone();
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<HEADER>()?;
        let length = HEADER + usize::try_from(u32::from_be_bytes(*header)).ok()?;
        (length <= rest.len()).then(|| rest.split_to(length))
    })
}
