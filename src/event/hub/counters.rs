//! What a hub has done, and what it dropped for which reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a bus. But for the first three they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusMetrics {
    /// Streams that are bridged now, the program's own included.
    pub members: u64,
    /// Topics that somebody is subscribed to now.
    pub topics: u64,
    /// Subscriptions now.
    pub subscriptions: u64,
    /// Events that came.
    pub published: u64,
    /// Events that came from other servers.
    pub received: u64,
    /// Events handed to subscribers, each subscriber counted.
    pub delivered: u64,
    /// Events that came when nobody was subscribed to them.
    pub unheard: u64,
    /// Events that a subscriber had not taken when it was closed for being slow.
    pub dropped_slow_consumer: u64,
    /// Events that a subscriber had not taken when it went away.
    pub dropped_gone: u64,
    /// Events that could not be sent to other servers, or not be taken from them fast enough.
    pub dropped_cluster: u64,
    /// Events that their publisher may not publish.
    pub dropped_not_permitted: u64,
    /// Frames that are no events.
    pub dropped_invalid: u64,
    /// Events that are too long once it is written into them who they are from.
    pub dropped_too_large: u64,
    /// Subscriptions that were refused.
    pub refused_subscriptions: u64,
}

impl BusMetrics {
    /// Name, value and help of each, and whether it only grows: what a text for Prometheus is made of.
    pub fn table(&self) -> [(&'static str, u64, &'static str, bool); 14] {
        [
            ("members", self.members, "Streams that are bridged.", false),
            ("topics", self.topics, "Topics with subscribers.", false),
            ("subscriptions", self.subscriptions, "Subscriptions.", false),
            ("published_total", self.published, "Events that came.", true),
            ("received_total", self.received, "Events from other servers.", true),
            ("delivered_total", self.delivered, "Events handed to subscribers.", true),
            ("unheard_total", self.unheard, "Events without a subscriber.", true),
            (
                "dropped_slow_consumer_total",
                self.dropped_slow_consumer,
                "Events lost to subscribers that were closed for being slow.",
                true,
            ),
            (
                "dropped_gone_total",
                self.dropped_gone,
                "Events that a subscriber had not taken when it went away.",
                true,
            ),
            (
                "dropped_cluster_total",
                self.dropped_cluster,
                "Events lost on the way to other servers or from them.",
                true,
            ),
            (
                "dropped_not_permitted_total",
                self.dropped_not_permitted,
                "Events that their publisher may not publish.",
                true,
            ),
            ("dropped_invalid_total", self.dropped_invalid, "Frames that are no events.", true),
            (
                "dropped_too_large_total",
                self.dropped_too_large,
                "Events that are too long with their sender's name.",
                true,
            ),
            (
                "refused_subscriptions_total",
                self.refused_subscriptions,
                "Subscriptions that were refused.",
                true,
            ),
        ]
    }
}

/// The same while they are counted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) members: Counter,
    pub(super) subscriptions: Counter,
    pub(super) published: Counter,
    pub(super) delivered: Counter,
    pub(super) received: Counter,
    pub(super) cluster: Counter,
    pub(super) unheard: Counter,
    pub(super) slow_consumer: Counter,
    pub(super) gone: Counter,
    pub(super) not_permitted: Counter,
    pub(super) invalid: Counter,
    pub(super) too_large: Counter,
    pub(super) refused: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn take_away(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn read(&self, topics: usize) -> BusMetrics {
        BusMetrics {
            members: self.members.get(),
            topics: topics as u64,
            subscriptions: self.subscriptions.get(),
            published: self.published.get(),
            delivered: self.delivered.get(),
            received: self.received.get(),
            dropped_cluster: self.cluster.get(),
            unheard: self.unheard.get(),
            dropped_slow_consumer: self.slow_consumer.get(),
            dropped_gone: self.gone.get(),
            dropped_not_permitted: self.not_permitted.get(),
            dropped_invalid: self.invalid.get(),
            dropped_too_large: self.too_large.get(),
            refused_subscriptions: self.refused.get(),
        }
    }
}
