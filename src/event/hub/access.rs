//! Who may publish and hear what: the rules of a key, then the program's word. Answers are remembered.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// What somebody wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusAction {
    /// Send events of it.
    Publish,
    /// Get events of it.
    Subscribe,
}

impl BusAction {
    /// The action's name, as programs see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Whether a member may do something with a topic.
pub(crate) trait Access: Send + Sync + 'static {
    /// Whether everything is allowed, so that nothing need be asked.
    fn is_open(&self) -> bool;

    /// Whether the rules allow it.
    fn allows(&self, action: BusAction, topic: &str) -> bool;

    /// Asks further, for what the rules allow.
    fn ask(&self, action: BusAction, topic: &str) -> BoxFuture<'static, bool>;
}

/// Answers that are remembered, of each kind; beyond, all of them are forgotten (reference table: subscriptions).
const MAX_KNOWN: usize = 1024;

/// What one member may, as far as it is known.
pub(super) struct Permits {
    access: Arc<dyn Access>,
    open: bool,
    known: [HashMap<Box<str>, bool>; 2],
}

/// What is known of a question.
pub(super) enum Known {
    Answer(bool),
    /// Whoever gets the answer tells it to [`Permits::learn`].
    Question(BoxFuture<'static, bool>),
}

impl Permits {
    pub(super) fn new(access: Arc<dyn Access>) -> Self {
        Self { open: access.is_open(), access, known: Default::default() }
    }

    /// Whether everything is allowed.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn look_up(&mut self, action: BusAction, topic: &str) -> Known {
        if self.open {
            return Known::Answer(true);
        }
        if let Some(answer) = self.known[action as usize].get(topic) {
            return Known::Answer(*answer);
        }
        if self.access.allows(action, topic) {
            return Known::Question(self.access.ask(action, topic));
        }
        self.learn(action, topic, false);
        // Not remembered before: whoever asks may tell of it, once.
        Known::Question(Box::pin(std::future::ready(false)))
    }

    pub(super) fn learn(&mut self, action: BusAction, topic: &str, answer: bool) {
        let known = &mut self.known[action as usize];
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(topic.into(), answer);
    }
}
