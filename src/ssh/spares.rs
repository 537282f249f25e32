//! A client's spare channels: opened in the background, as many as its forwards have use for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::channel::Channel;
use super::flush::Writer;
use super::open::{ANSWER_LIMIT, Opener};
use super::spare::{self, originator};
use crate::target::Target;

/// Spare channels of a session: as many connections as a browser opens to a host, and a few more. What a burst asks for beyond is opened
/// as usual.
const MOST: usize = 8;

/// What there is of them once one was asked for. They are opened by two at least, which costs less than one by one: with 2 for 4, connections one
/// after another take a tenth longer.
const LEAST: usize = 4;

/// Pause after a server had no room for one.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Spares(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    ready: Vec<Arc<Channel>>,
    opening: usize,
    /// How many there should be.
    wanted: usize,
    /// The server knows no spare channels.
    unknown: bool,
    not_before: Option<Instant>,
}

impl Spares {
    /// A channel that asks for what `header` says, if there is one, and sees to it that there soon are.
    pub(super) fn take(
        &self,
        opener: &Opener,
        target: &Target,
        header: &[u8],
    ) -> Option<Arc<Channel>> {
        if !opener.core.peer_is_alknet() {
            return None;
        }
        let mut pool = self.0.lock();
        let mut found = None;
        while found.is_none()
            && let Some(channel) = pool.ready.pop()
        {
            found = channel.ask(target, header).then_some(channel);
        }
        if found.is_none() {
            pool.wanted = (pool.wanted * 2).clamp(LEAST, MOST);
        }
        let missing = pool.missing();
        pool.opening += missing;
        drop(pool);
        if missing > 0 {
            let opener = opener.clone();
            opener.core.scope().clone().spawn_to_end(fill(opener, missing));
        }
        found
    }
}

impl Pool {
    /// How many to open now. Some together cost less than one by one.
    fn missing(&self) -> usize {
        let pausing = self.not_before.is_some_and(|until| Instant::now() < until);
        let there = self.ready.len() + self.opening;
        match self.unknown || pausing || there * 2 > self.wanted {
            true => 0,
            false => self.wanted - there,
        }
    }
}

async fn fill(opener: Opener, count: usize) {
    let filling = join_all((0..count).map(|_| open(&opener)));
    tokio::select! {
        biased;
        () = opener.core.ended() => {}
        _ = tokio::time::timeout(ANSWER_LIMIT, filling) => {}
    }
    opener.spares.0.lock().opening -= count;
}

async fn open(opener: &Opener) {
    let (from, from_port) = originator(None);
    match opener.handle.channel_open_direct_tcpip(spare::NAME, 0, from, from_port).await {
        Ok(channel) => {
            let id = channel.id();
            let (incoming, writer) = channel.split();
            let channel = Channel::open_spare(&opener.core, id, incoming, Writer::Client(writer));
            opener.spares.0.lock().ready.push(channel);
        }
        Err(russh::Error::ChannelOpenFailure(reason)) => {
            opener.refusals.take(reason.code()).await;
            let mut pool = opener.spares.0.lock();
            match reason.code() {
                4 => pool.not_before = Some(Instant::now() + PAUSE),
                _ => pool.unknown = true,
            }
        }
        Err(_) => {}
    }
}
