//! Further sessions of a supervised one, for streams alone, so that no session carries more than so many.
//!
//! russh keeps about 4 KB of each channel that this side closes first until its session ends. A program that opens streams for
//! weeks would lose its memory to that; so after [`MOST_OPENED`] streams new ones go to a fresh session, and the one before
//! ends with its last stream. Remote forwards and the standing stay with the first.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ssh::{Session, Traffic};

/// Streams opened on one session before another takes over: 2 MB of what russh keeps.
const MOST_OPENED: u64 = 512;

/// Lanes that wait for their last stream. With more, the newest goes on as long as it must.
const MOST_RETIRED: usize = 8;

/// How often those are looked at, at least and by streams opened meanwhile.
const LOOK: (Duration, u64) = (Duration::from_secs(1), 128);

#[derive(Default)]
pub(super) struct Lanes {
    now: Mutex<Now>,
    worn: Notify,
}

#[derive(Default)]
struct Now {
    /// Streams asked for since the session that gets them came.
    opened: u64,
    /// Gets the new streams, instead of the session that is supervised.
    current: Option<Arc<Session>>,
    retired: Vec<Retired>,
    /// What lanes that are over have carried.
    past: Traffic,
}

struct Retired {
    lane: Arc<Session>,
    /// Whether it had no stream when last looked at. Who chose it just before may still be about to open one.
    idle: bool,
}

impl Lanes {
    /// The session for the next stream: the lane of the moment, else `main`.
    pub(super) fn choose(&self, main: Arc<Session>) -> Arc<Session> {
        let mut now = self.now.lock();
        now.opened += 1;
        if now.opened.is_multiple_of(LOOK.1) {
            now.look();
        }
        if now.opened.is_multiple_of(MOST_OPENED) && now.retired.len() < MOST_RETIRED {
            self.worn.notify_one();
        }
        now.current.as_ref().filter(|lane| !lane.is_over()).map_or(main, Arc::clone)
    }

    /// Ready when another session should take over. Ends, once a second, lanes that have served. Cancel-safe.
    pub(super) async fn worn_out(&self) {
        while tokio::time::timeout(LOOK.0, self.worn.notified()).await.is_err() {
            self.now.lock().look();
        }
    }

    /// From now on new streams go to `lane`.
    pub(super) fn add(&self, lane: Session) {
        let mut now = self.now.lock();
        now.retire();
        now.current = Some(Arc::new(lane));
    }

    /// From now on new streams go to the session that is supervised, which is a new one.
    pub(super) fn retire(&self) {
        self.now.lock().retire();
    }

    /// Ends all lanes and their streams. Ready when they are closed, 2 s at most.
    pub(super) async fn close(&self) {
        let lanes = self.now.lock().all();
        join_all(lanes.iter().map(|lane| lane.close())).await;
    }

    /// The same without waiting.
    pub(super) fn close_soon(&self) {
        self.now.lock().all().iter().for_each(|lane| lane.close_soon());
    }

    /// What all lanes have carried.
    pub(super) fn traffic(&self) -> Traffic {
        let now = self.now.lock();
        let mut all = now.past;
        for traffic in now.all().iter().map(|lane| lane.traffic()) {
            all.open_streams += traffic.open_streams;
            all.add(traffic);
        }
        all
    }
}

impl Now {
    fn retire(&mut self) {
        self.opened = 0;
        let lane = self.current.take();
        self.retired.extend(lane.map(|lane| Retired { lane, idle: false }));
    }

    fn all(&self) -> Vec<Arc<Session>> {
        let retired = self.retired.iter().map(|retired| &retired.lane);
        retired.chain(&self.current).map(Arc::clone).collect()
    }

    /// Ends lanes that have served.
    fn look(&mut self) {
        let past = &mut self.past;
        self.retired.retain_mut(|Retired { lane, idle }| {
            let was_idle = std::mem::replace(idle, lane.traffic().open_streams == 0);
            let over = lane.is_over() || (was_idle && *idle);
            if over {
                past.add(lane.traffic());
                lane.close_soon();
            }
            !over
        });
    }
}
