//! A server's bus: its bounds, its counters, and the questions that the program is asked.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use alknet::event::{BusAction, BusLimits, BusMetrics};
use alknet::{Authorize, BusOptions, Events, Info};
use napi_derive::napi;
use tokio::sync::oneshot;

use crate::bell::Bell;
use crate::stream::NativeInfo;

/// As `AlknetBusOptions`; what is absent has its default.
#[napi(object)]
#[derive(Default)]
pub struct NativeBusOptions {
    pub max_frame: Option<u32>,
    pub max_queue: Option<u32>,
    pub max_subscriptions: Option<u32>,
    pub max_rate: Option<u32>,
    /// Addresses of NATS.
    pub nats: Option<Vec<String>>,
    /// Topics whose events are kept.
    pub durable: Option<Vec<String>>,
    /// Whether the program is asked what clients may do.
    pub asks: Option<bool>,
}

impl NativeBusOptions {
    /// The options, and where the questions come, if the program is asked.
    pub(crate) fn split(self) -> (BusOptions, Asked) {
        let default = BusLimits::default();
        let size = |given: Option<u32>, or: usize| given.map_or(or, |n| n as usize);
        let mut options = BusOptions::default();
        options.limits = BusLimits {
            max_frame: size(self.max_frame, default.max_frame),
            max_queue: size(self.max_queue, default.max_queue),
            max_subscriptions: size(self.max_subscriptions, default.max_subscriptions),
            max_rate: self.max_rate,
        };
        options.nats = self.nats.unwrap_or_default();
        options.durable = self.durable.unwrap_or_default();
        let questions = self.asks.unwrap_or_default().then(Arc::<Questions>::default);
        options.authorize = questions.clone().map(|asked| asked as Arc<dyn Authorize>);
        (options, Asked(questions))
    }
}

/// Counters.
#[napi(object)]
pub struct NativeBusMetrics {
    pub members: f64,
    pub topics: f64,
    pub subscriptions: f64,
    pub published: f64,
    pub received: f64,
    pub delivered: f64,
    pub unheard: f64,
    pub dropped_slow_consumer: f64,
    pub dropped_gone: f64,
    pub dropped_cluster: f64,
    pub dropped_not_permitted: f64,
    pub dropped_invalid: f64,
    pub dropped_too_large: f64,
    pub refused_subscriptions: f64,
}

impl From<BusMetrics> for NativeBusMetrics {
    fn from(metrics: BusMetrics) -> Self {
        Self {
            members: metrics.members as f64,
            topics: metrics.topics as f64,
            subscriptions: metrics.subscriptions as f64,
            published: metrics.published as f64,
            received: metrics.received as f64,
            delivered: metrics.delivered as f64,
            unheard: metrics.unheard as f64,
            dropped_slow_consumer: metrics.dropped_slow_consumer as f64,
            dropped_gone: metrics.dropped_gone as f64,
            dropped_cluster: metrics.dropped_cluster as f64,
            dropped_not_permitted: metrics.dropped_not_permitted as f64,
            dropped_invalid: metrics.dropped_invalid as f64,
            dropped_too_large: metrics.dropped_too_large as f64,
            refused_subscriptions: metrics.refused_subscriptions as f64,
        }
    }
}

/// Whether a client may do something with a topic.
#[napi(object)]
pub struct NativeQuestion {
    pub id: u32,
    pub info: NativeInfo,
    /// `publish` or `subscribe`.
    pub action: String,
    pub topic: String,
}

/// Where the questions come, if the program is asked at all.
#[derive(Default)]
pub(crate) struct Asked(Option<Arc<Questions>>);

impl Asked {
    /// Rings `bell` for `id` from now on, `WRITABLE` when there is a question.
    pub(crate) fn ring(&self, bell: &Arc<Bell>, id: u32) {
        if let Some(questions) = &self.0 {
            questions.ring(bell, id);
        }
    }

    pub(crate) fn take(&self) -> Option<NativeQuestion> {
        self.0.as_ref()?.state().waiting.pop_front()
    }

    pub(crate) fn answer(&self, id: u32, answer: bool) {
        if let Some(questions) = &self.0 {
            questions.answer(id, answer);
        }
    }
}

/// Questions that wait to be taken, and those that wait to be answered: one at most for each stream.
#[derive(Default)]
struct Questions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bell: Option<(Arc<Bell>, u32)>,
    last: u32,
    waiting: VecDeque<NativeQuestion>,
    asked: Vec<(u32, oneshot::Sender<bool>)>,
}

impl Questions {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, bell: &Arc<Bell>, id: u32) {
        let mut state = self.state();
        state.bell = Some((Arc::clone(bell), id));
        if !state.waiting.is_empty() {
            bell.ring(id, Events::WRITABLE.bits());
        }
    }

    fn answer(&self, id: u32, answer: bool) {
        let mut state = self.state();
        if let Some(at) = state.asked.iter().position(|(asked, _)| *asked == id) {
            // Whoever asked may be gone.
            let _ = state.asked.swap_remove(at).1.send(answer);
        }
    }
}

impl Authorize for Questions {
    fn may(
        &self,
        who: &Info,
        action: BusAction,
        topic: &str,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        state.asked.retain(|(_, tell)| !tell.is_closed());
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        state.asked.push((id, tell));
        let action = action.as_str().to_owned();
        state.waiting.push_back(NativeQuestion {
            id,
            info: who.into(),
            action,
            topic: topic.to_owned(),
        });
        if let Some((bell, server)) = &state.bell {
            bell.ring(*server, Events::WRITABLE.bits());
        }
        Box::pin(async move { told.await.unwrap_or(false) })
    }
}
