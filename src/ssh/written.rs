//! Tells a stream that all it sent, its end included, is with the operating system: a program may leave when it is told.
//!
//! russh does not say how far it has come. But it takes what it is sent in order, and drops it when it has encoded it: so an
//! empty message follows a stream's end, which puts nothing on the wire, and whose drop notes the stream. All that was encoded
//! before is in the [`super::elastic::Elastic`] when the session's task reads next, and written when as many bytes have left it.
//! On a client this does not hold for channels that the server opened: russh keeps those in a queue of their own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use russh::{client, server};

use super::channel::Channel;
use super::client::Handler;

/// Where a session takes messages.
#[derive(Clone)]
pub(super) enum Inbox {
    /// Weak: a session ends when its owner drops it.
    Client(Weak<client::Handle<Handler>>),
    Server(server::Handle),
}

impl Inbox {
    /// Sends the message that notes `channel` once everything sent before is encoded.
    pub(super) async fn mark(&self, channel: &Arc<Channel>) {
        let mark = Bytes::from_owner(Mark(Arc::downgrade(channel)));
        // A session that takes no more messages is over, and its streams are told that.
        let _ = match self {
            Self::Client(handle) => match handle.upgrade() {
                Some(handle) => handle.data(channel.id, mark).await,
                None => Ok(()),
            },
            Self::Server(handle) => handle.data(channel.id, mark).await,
        };
    }
}

struct Mark(Weak<Channel>);

impl AsRef<[u8]> for Mark {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(channel) = self.0.upgrade() {
            channel.core.link().written.note(&channel);
        }
    }
}

/// The streams of a session that wait to be told.
#[derive(Default)]
pub(super) struct Written {
    any: AtomicBool,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    encoded: Vec<Weak<Channel>>,
    /// With the number of bytes that have to be written first; ascending.
    queued: VecDeque<(u64, Weak<Channel>)>,
}

impl Written {
    fn note(&self, channel: &Arc<Channel>) {
        self.marks.lock().encoded.push(Arc::downgrade(channel));
        self.any.store(true, Ordering::Release);
    }

    /// The session has handed over `taken` bytes so far, all that it has encoded, and `written` of them have left.
    pub(super) fn advance(&self, taken: u64, written: u64) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut told = Vec::new();
        let mut marks = self.marks.lock();
        let Marks { encoded, queued } = &mut *marks;
        queued.extend(encoded.drain(..).map(|channel| (taken, channel)));
        while let Some((_, channel)) = queued.pop_front_if(|(after, _)| *after <= written) {
            told.push(channel);
        }
        self.any.store(!queued.is_empty(), Ordering::Release);
        drop(marks);
        for channel in told.iter().filter_map(Weak::upgrade) {
            channel.tell_finished();
        }
    }
}
