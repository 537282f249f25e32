//! What a member does with topics whose events are kept.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::access::BusAction;
use super::end::End;
use super::kept::{NUMBER, REPLAYING, TOGETHER, frames, last_of};
use super::member::{Leaving, Session};
use super::{Hub, Member, Reach};
use crate::event::codec::HEADER;
use crate::event::envelope::Envelope;

/// Bytes of events that are stored as one message, unless one is longer: as much as a stream gives at once.
const MESSAGE: usize = 64 * 1024;

/// Events that are stored as one message.
#[derive(Default)]
struct Together {
    frames: BytesMut,
    count: u64,
}

impl Together {
    fn is_full_for(&self, frame: &Bytes) -> bool {
        self.count == TOGETHER || (self.count > 0 && self.frames.len() + frame.len() > MESSAGE)
    }

    fn add(&mut self, frame: Bytes) {
        match self.count {
            // Most often it is alone.
            0 => self.frames = frame.into(),
            _ => self.frames.extend_from_slice(&frame),
        }
        self.count += 1;
    }
}

impl Session {
    /// Has frames of one topic kept, those that came together as one message: what comes then is not taken before.
    pub(super) async fn keep(&mut self, topic: &str, all: Bytes, count: u64) -> Result<(), End> {
        let (hub, member) = self.parts();
        hub.counters.published.add(count);
        // Who hears everything hears it as it comes; the others get it from the store.
        let crowded = hub.hand_on(Some(member.id), topic, Reach::All, &all, count);
        if let Some(crowded) = crowded {
            self.meanwhile(async move { crowded.outbox.room().await }).await?;
        }
        let mut together = Together::default();
        for frame in frames(&all) {
            if frame.len() - HEADER + NUMBER > hub.limits.max_frame {
                hub.counters.too_large.add(1);
                self.refuse(BusAction::Publish, topic, "too_large");
                continue;
            }
            if together.is_full_for(&frame) {
                self.keep_together(topic, std::mem::take(&mut together)).await?;
            }
            together.add(frame);
        }
        self.keep_together(topic, together).await
    }

    async fn keep_together(&mut self, topic: &str, events: Together) -> Result<(), End> {
        if events.count == 0 {
            return Ok(());
        }
        let (hub, member) = self.parts();
        let Together { frames, count } = events;
        if !self.meanwhile(hub.keep(topic, frames.freeze(), member.id)).await? {
            hub.counters.cluster.add(count);
            for _ in 0..count {
                self.refuse(BusAction::Publish, topic, "not_kept");
            }
        }
        Ok(())
    }

    /// Subscribes to such a topic: to what comes, or to what is kept after number `since` first.
    pub(super) async fn follow(
        &mut self,
        topic: &str,
        echo: bool,
        since: Option<u64>,
    ) -> Result<(), End> {
        let (hub, member) = self.parts();
        let since = since.filter(|_| self.leaving.topics.insert(topic.into()));
        // What is handed on from here on comes to this member too.
        let position = hub.position(topic);
        let after = if since.is_some() { REPLAYING } else { 0 };
        let _ = hub.subscribe(&member, topic, echo, after);
        let Some((first, last)) = self.meanwhile(hub.begun(topic)).await? else {
            self.leaving.topics.remove(topic);
            hub.unsubscribe(&member, topic);
            hub.counters.refused.add(1);
            self.refuse(BusAction::Subscribe, topic, "not_available");
            return Ok(());
        };
        // A number that has not been given yet is of a store that is gone.
        let last = last.max(position);
        let newest = last_of(last.max(hub.position(topic)));
        let since = since.map(|since| if since > newest { 0 } else { since });
        let oldest = last_of(first.saturating_sub(1));
        let from = since.map_or(last_of(last), |since| since.max(oldest));
        let payload = json!({ "topic": topic, "seq": from });
        self.tell(Envelope { kind: "__subscribed".into(), id: String::new(), payload });
        if since.is_some() {
            hub.replay(topic, from, &member);
        }
        Ok(())
    }

    fn parts(&self) -> (Arc<Hub>, Arc<Member>) {
        let Leaving { hub, member, .. } = &self.leaving;
        (Arc::clone(hub), Arc::clone(member))
    }
}
