//! What the hub does with events that are kept: each has a number, and a subscriber gets it once, be it from the store or as it comes.

use std::fmt::Write as _;
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

/// Events that are stored together are one message of the store, of which each has so many numbers: one for an event. Of longer messages,
/// which servers make that keep nothing themselves, the first events share one.
pub(super) const TOGETHER: u64 = 2048;

/// The number of the last event of a message; of message 0, what is before the first.
pub(super) const fn last_of(message: u64) -> u64 {
    message.saturating_mul(TOGETHER).saturating_add(TOGETHER - 1)
}

/// The last message that was heard to its end by who has heard an event of that number.
pub(super) const fn heard_to_its_end(number: u64) -> u64 {
    if number % TOGETHER == TOGETHER - 1 {
        number / TOGETHER
    } else {
        (number / TOGETHER).saturating_sub(1)
    }
}

/// Bytes that a number takes in a frame, at most.
pub(super) const NUMBER: usize = r#","seq":18446744073709551615"#.len();

impl Hub {
    /// See [`super::Cluster::keeps`]; and so on.
    pub(super) fn keeps(&self, topic: &str) -> bool {
        self.cluster.get().is_some_and(|cluster| cluster.keeps(topic))
    }

    pub(super) fn keep(&self, topic: &str, frames: Bytes, author: u64) -> BoxFuture<'static, bool> {
        match self.cluster.get() {
            Some(cluster) => cluster.keep(topic, frames, author),
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

    /// The last message of a topic whose events were handed on as they came.
    pub(super) fn position(&self, topic: &str) -> u64 {
        let topics = self.topics.read();
        topics.named.get(topic).map_or(0, |topic| topic.reached.load(Ordering::Relaxed))
    }

    /// Hands on a message's events as it comes. Returns a subscriber that should be waited for.
    pub(super) fn receive_kept(&self, topic: &str, event: &Kept) -> Option<Arc<Member>> {
        let topics = self.topics.read();
        let topic = topics.named.get(topic)?;
        if topic.reached.fetch_max(event.message, Ordering::Relaxed) >= event.message {
            return None;
        }
        let (frames, count) = self.numbered(event, 0)?;
        if event.author.is_none() {
            self.counters.received.add(count);
        }
        let mut crowded = None;
        for subscriber in &topic.subscribers {
            let own = event.author == Some(subscriber.member.id) && !subscriber.echo;
            if own || event.message <= subscriber.after {
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

    /// Sends a message's events to one subscriber, those beyond number `after`; whether that is still there.
    pub(super) fn send_kept(&self, member: &Member, event: &Kept, after: u64) -> bool {
        let Some((frames, count)) = self.numbered(event, after) else { return true };
        match member.outbox.push(&frames, count, self.limits.max_queue, SLOW) {
            Pushed::Taken | Pushed::Crowded => true,
            Pushed::Overflow(lost) => {
                self.counters.slow_consumer.add(lost);
                false
            }
            Pushed::Gone => false,
        }
    }

    /// Has a subscriber that got all up to message `reached` hear what comes after; false when more than that has come already.
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

    /// A message's frames beyond number `after`, each with its number in it, and how many these are.
    fn numbered(&self, event: &Kept, after: u64) -> Option<(Bytes, u64)> {
        let together = frames(&event.frames).count() as u64;
        if together == 0 {
            self.counters.invalid.add(1);
            return None;
        }
        let mut numbered = BytesMut::with_capacity(event.frames.len() + NUMBER * together as usize);
        let mut count = 0;
        for (place, frame) in (1..).zip(frames(&event.frames)) {
            let number = last_of(event.message) - (together - place).min(TOGETHER - 1);
            let Some(body) = frame.get(HEADER..).and_then(|body| body.strip_suffix(b"}")) else {
                self.counters.invalid.add(1);
                continue;
            };
            if number <= after {
                continue;
            }
            let at = numbered.len();
            numbered.put_u32(0);
            numbered.put_slice(body);
            // Writing to memory does not fail.
            let _ = write!(numbered, r#","seq":{number}}}"#);
            let length = (numbered.len() - at - HEADER) as u32;
            numbered[at..at + HEADER].copy_from_slice(&length.to_be_bytes());
            count += 1;
        }
        (count > 0).then(|| (numbered.freeze(), count))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_message_have_numbers_of_their_own_and_the_last_is_known_before_it_is_read() {
        let hub = Hub::new(crate::event::BusLimits::default());
        let mut all = BytesMut::new();
        for text in [r#"{"payload":1}"#, r#"{"payload":22}"#, r#"{"payload":333}"#] {
            crate::event::encode(text.as_bytes(), 100, &mut all).unwrap();
        }
        let event = Kept { message: 7, author: None, frames: all.freeze() };
        let heard = |after| {
            let (frames_, count) = hub.numbered(&event, after)?;
            let texts =
                frames(&frames_).map(|frame| String::from_utf8(frame[HEADER..].to_vec()).unwrap());
            let texts: Vec<_> = texts.collect();
            assert_eq!(texts.len() as u64, count);
            Some(texts)
        };
        let last = last_of(7);
        let expected = [
            format!(r#"{{"payload":1,"seq":{}}}"#, last - 2),
            format!(r#"{{"payload":22,"seq":{}}}"#, last - 1),
            format!(r#"{{"payload":333,"seq":{last}}}"#),
        ];
        assert_eq!(heard(0).unwrap(), expected);
        assert_eq!(heard(last_of(6)).unwrap(), expected);
        assert_eq!(heard(last - 2).unwrap(), expected[1..]);
        assert_eq!(heard(last), None);
        assert_eq!([last_of(6), last - 2, last].map(heard_to_its_end), [6, 6, 7]);
        assert_eq!(heard_to_its_end(0), 0);
    }
}
