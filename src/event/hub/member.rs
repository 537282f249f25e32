//! One member's task: reads its frames, writes what waits for it. It alone touches the stream.

use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::access::{BusAction, Known, Permits};
use super::end::{End, Fault};
use super::head::Head;
use super::pace::Rate;
use super::wire::{Pipe, READ};
use super::{Hub, Member, Who, refusal};
use crate::event::codec::{Decoder, FrameError, encode};
use crate::event::envelope::{Control, Envelope};
use crate::io::{BoxIo, ByteQueue};

/// Frames in a row that may be bad before a member is given up: as in `ts/event-link.ts`.
const MAX_BAD_FRAMES: u32 = 16;

/// Bytes after which the other tasks of the thread have their turn.
const FAIR: usize = 256 * 1024;

/// How long the last frames may take to leave, and the stream to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// Runs a member from its first byte to its end.
pub(super) async fn run(hub: Arc<Hub>, member: Arc<Member>, io: BoxIo, who: Who) {
    let from = who.name.map(|name| Value::from(name).to_string());
    hub.counters.members.add(1);
    let mut session = Session {
        leaving: Leaving { hub: Arc::clone(&hub), member, topics: HashSet::new() },
        from,
        permits: Permits::new(who.access),
        pipe: Pipe {
            io,
            incoming: ByteQueue::default(),
            space: BytesMut::new(),
            current: ByteQueue::default(),
        },
        decoder: Decoder::new(hub.limits.max_frame),
        batch: Batch::default(),
        bad_frames: 0,
        rate: Rate { max: hub.limits.max_rate, since: Instant::now(), count: 0 },
    };
    let (reading, quiet) = (hub.drain.readers.token(), hub.drain.quiet.clone());
    let mut end = session.serve().await;
    drop(reading);
    if matches!(end, End::Drained) {
        end = session.meanwhile(quiet.cancelled()).await.err().unwrap_or(end);
    }
    tracing::debug!(reason = end.as_str(), "an event stream has ended");
    if end.is_orderly() {
        let _ = tokio::time::timeout(LEAVE_LIMIT, session.say_goodbye(&end)).await;
    }
}

pub(super) struct Session {
    pub(super) leaving: Leaving,
    /// Who its events are from, as JSON.
    from: Option<String>,
    permits: Permits,
    pipe: Pipe,
    decoder: Decoder,
    batch: Batch,
    bad_frames: u32,
    rate: Rate,
}

/// Takes the member out of the hub, however its task ends.
pub(super) struct Leaving {
    pub(super) hub: Arc<Hub>,
    pub(super) member: Arc<Member>,
    pub(super) topics: HashSet<Box<str>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for topic in &self.topics {
            self.hub.unsubscribe(&self.member, topic);
        }
        self.hub.counters.gone.add(self.member.outbox.close());
        self.hub.counters.members.take_away(1);
    }
}

/// Events of one topic that came together and are handed on together.
#[derive(Default)]
struct Batch {
    topic: String,
    frames: BytesMut,
    count: u64,
    /// Room for the topic of the next one.
    next: String,
}

impl Session {
    async fn serve(&mut self) -> End {
        let mut unfair = 0;
        let mut drained = pin!(self.leaving.hub.drain.begun.clone().cancelled_owned());
        loop {
            let hub = Arc::clone(&self.leaving.hub);
            let member = Arc::clone(&self.leaving.member);
            let coming = std::future::poll_fn(|cx| match self.pipe.poll(cx, &hub, &member) {
                Poll::Pending => drained.as_mut().poll(cx).map(|()| Err(End::Drained)),
                came => came,
            });
            let came = match coming.await {
                Ok(came) => came,
                Err(end) => return end,
            };
            if let Err(end) = self.take_in().await {
                return end;
            }
            unfair += came;
            if unfair >= FAIR {
                unfair = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Handles all whole frames that have come.
    async fn take_in(&mut self) -> Result<(), End> {
        while let Some(piece) = self.pipe.incoming.pop(READ) {
            self.decoder.push(&piece);
        }
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.take_frame(&frame).await?,
                Ok(None) => break,
                Err(error) => return Err(self.broken(&error)),
            }
        }
        self.publish().await
    }

    async fn take_frame(&mut self, frame: &Bytes) -> Result<(), End> {
        match self.sort(frame).await {
            Ok(()) => {
                self.bad_frames = 0;
                Ok(())
            }
            Err(Fault::End(end)) => Err(end),
            Err(Fault::Frame(error)) => {
                self.leaving.hub.counters.invalid.add(1);
                self.bad_frames += 1;
                match self.bad_frames >= MAX_BAD_FRAMES {
                    true => Err(self.broken(&error)),
                    false => Ok(()),
                }
            }
        }
    }

    fn broken(&self, error: &FrameError) -> End {
        tracing::info!(%error, "an event stream is malformed");
        End::Broken
    }

    async fn sort(&mut self, frame: &Bytes) -> Result<(), Fault> {
        let head = Head::read(frame)?;
        if head.is_reserved()? {
            self.publish().await?;
            // Rare, and large: it is not to be a part of what every member has.
            return Box::pin(self.obey(frame)).await;
        }
        head.topic(&mut self.batch.next)?;
        if self.batch.next != self.batch.topic {
            self.publish().await?;
            std::mem::swap(&mut self.batch.next, &mut self.batch.topic);
        }
        if !self.permits.is_open() {
            let topic = self.batch.topic.clone();
            if !self.may(BusAction::Publish, &topic).await? {
                self.leaving.hub.counters.not_permitted.add(1);
                return Ok(());
            }
        }
        let max_frame = self.leaving.hub.limits.max_frame;
        match head.write(self.from.as_deref(), max_frame, &mut self.batch.frames) {
            Ok(()) => self.batch.count += 1,
            Err(_) => {
                self.leaving.hub.counters.too_large.add(1);
                self.refuse(BusAction::Publish, &self.batch.topic, "too_large");
            }
        }
        Ok(())
    }

    /// Hands the batch on, and waits for whoever cannot keep up but nearly does.
    async fn publish(&mut self) -> Result<(), End> {
        let Batch { topic, frames, count, .. } = &mut self.batch;
        if *count == 0 {
            return Ok(());
        }
        let (frames, count) = (frames.split().freeze(), std::mem::take(count));
        let Leaving { hub, member, .. } = &self.leaving;
        #[cfg(feature = "nats")]
        if hub.keeps(topic) {
            let topic = topic.clone();
            return Box::pin(self.keep(&topic, frames, count)).await;
        }
        let crowd = hub.publish(member.id, topic, &frames, count);
        if let Some(crowded) = crowd.member {
            self.meanwhile(Box::pin(async move { crowded.outbox.room().await })).await?;
        }
        if let Some(room) = crowd.cluster {
            self.meanwhile(room).await?;
        }
        match self.rate.pause(Instant::now(), count) {
            Some(pause) => self.meanwhile(Box::pin(tokio::time::sleep(pause))).await,
            None => Ok(()),
        }
    }

    async fn may(&mut self, action: BusAction, topic: &str) -> Result<bool, End> {
        let question = match self.permits.look_up(action, topic) {
            Known::Answer(answer) => return Ok(answer),
            Known::Question(question) => question,
        };
        let answer = self.meanwhile(question).await?;
        self.permits.learn(action, topic, answer);
        if !answer && action == BusAction::Publish {
            self.refuse(action, topic, "not_permitted");
        }
        Ok(answer)
    }

    async fn obey(&mut self, frame: &Bytes) -> Result<(), Fault> {
        let envelope = Envelope::read(frame)?;
        match envelope.control()? {
            Some(Control::Subscribe(topics)) => self.subscribe(envelope, topics).await?,
            Some(Control::Unsubscribe(topics)) => {
                for topic in topics {
                    if self.leaving.topics.remove(topic.as_str()) {
                        self.leaving.hub.unsubscribe(&self.leaving.member, &topic);
                    }
                }
            }
            // Nothing is subscribed to here, and later versions may say more.
            Some(Control::Subscribed(_)) | None => {}
        }
        Ok(())
    }

    async fn subscribe(&mut self, asked: Envelope, topics: Vec<String>) -> Result<(), End> {
        let echo = asked.payload.get("echo").and_then(Value::as_bool).unwrap_or(true);
        #[cfg(feature = "nats")]
        let since = asked.payload.get("since").and_then(Value::as_u64);
        let wanted = topics.len();
        let mut accepted = Vec::new();
        for topic in topics {
            let why = match self.why_not(&topic).await? {
                #[cfg(feature = "nats")]
                None if self.leaving.hub.keeps(&topic) => {
                    // Acknowledged there.
                    self.follow(&topic, echo, since).await?;
                    continue;
                }
                None => {
                    self.leaving.topics.insert(topic.as_str().into());
                    let Leaving { hub, member, .. } = &self.leaving;
                    if let Some(known) = hub.subscribe(member, &topic, echo, 0) {
                        self.meanwhile(known).await?;
                    }
                    accepted.push(topic);
                    continue;
                }
                Some(why) => why,
            };
            self.leaving.hub.counters.refused.add(1);
            self.refuse(BusAction::Subscribe, &topic, why);
        }
        let (id, payload) = match accepted.len() {
            0 => return Ok(()),
            some if some == wanted => (asked.id, asked.payload),
            _ => (String::new(), json!({ "topics": accepted })),
        };
        self.tell(Envelope { kind: "__subscribed".into(), id, payload });
        Ok(())
    }

    async fn why_not(&mut self, topic: &str) -> Result<Option<&'static str>, End> {
        let refused = refusal(topic);
        if refused.is_some() {
            return Ok(refused);
        }
        if !self.may(BusAction::Subscribe, topic).await? {
            return Ok(Some("not_permitted"));
        }
        let Leaving { hub, topics, .. } = &self.leaving;
        let full = topics.len() >= hub.limits.max_subscriptions && !topics.contains(topic);
        Ok(full.then_some("too_many"))
    }

    /// Tells the member that something is not done for it. Topics that are too long are cut: nobody is subscribed to them.
    pub(super) fn refuse(&self, action: BusAction, topic: &str, reason: &str) {
        let topic: String = topic.chars().take(crate::event::MAX_TOPIC).collect();
        let payload = json!({ "action": action.as_str(), "topic": topic, "reason": reason });
        self.tell(Envelope { kind: "__refused".into(), id: String::new(), payload });
    }

    pub(super) fn tell(&self, control: Envelope) {
        let Leaving { hub, member, .. } = &self.leaving;
        let mut frame = BytesMut::new();
        let written = control.write();
        if written
            .and_then(|text| encode(text.as_bytes(), hub.limits.max_frame, &mut frame))
            .is_ok()
        {
            member.outbox.push(&frame.freeze(), 0, hub.limits.max_queue, super::SLOW);
        }
    }

    /// `waiting`'s result, while the member gets what waits for it.
    pub(super) async fn meanwhile<T>(
        &mut self,
        waiting: impl Future<Output = T>,
    ) -> Result<T, End> {
        let mut waiting = pin!(waiting);
        let Leaving { hub, member, .. } = &self.leaving;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            match self.pipe.poll_send(cx, hub, member) {
                Some(end) => Poll::Ready(Err(end)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Sends what is left, and the end.
    async fn say_goodbye(&mut self, end: &End) {
        let Leaving { hub, member, .. } = &self.leaving;
        if !matches!(end, End::Slow) {
            for topic in self.leaving.topics.iter() {
                hub.unsubscribe(member, topic);
            }
        }
        let pipe = &mut self.pipe;
        std::future::poll_fn(|cx| match pipe.poll_send(cx, hub, member) {
            Some(End::Lost) => Poll::Ready(()),
            _ if pipe.current.has_remaining() => Poll::Pending,
            _ => Pin::new(&mut pipe.io).poll_shutdown(cx).map(drop),
        })
        .await;
    }
}
