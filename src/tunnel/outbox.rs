//! Messages on their way to one socket.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::http::{CloseCode, CloseFrame, Message, Utf8Bytes};

/// Counted for each message besides its bytes: many small ones must not count for nothing.
const OVERHEAD: usize = 64;

/// First in, first out; whoever fills it looks at its size.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    pub(crate) ready: Notify,
    room: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    size: usize,
    closed: bool,
}

impl Outbox {
    pub(crate) fn push(&self, message: Message) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.size += size(&message);
            queue.closed = matches!(message, Message::Close(_));
            queue.messages.push_back(message);
        }
        drop(queue);
        self.ready.notify_one();
    }

    pub(crate) fn text(&self, text: &str) {
        self.push(Message::Text(text.into()));
    }

    /// Ends the socket after what was pushed.
    pub(crate) fn close(&self, code: u16, why: &str) {
        let reason = Utf8Bytes::from(why);
        self.push(Message::Close(Some(CloseFrame { code: CloseCode::from(code), reason })));
    }

    pub(crate) fn pop(&self) -> Option<Message> {
        let mut queue = self.queue.lock();
        let message = queue.messages.pop_front()?;
        queue.size -= size(&message);
        if queue.messages.is_empty() && queue.messages.capacity() > 64 {
            queue.messages = VecDeque::new();
        }
        drop(queue);
        self.room.notify_waiters();
        Some(message)
    }

    /// Bytes that wait.
    pub(crate) fn size(&self) -> usize {
        self.queue.lock().size
    }

    /// Nothing is taken any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Waits until less than `limit` bytes wait, or nothing is taken any more.
    pub(crate) async fn below(&self, limit: usize) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.size() < limit || self.is_closed() {
                return;
            }
            room.await;
        }
    }

    /// The socket is gone: nothing is taken any more, and nobody waits.
    pub(crate) fn shut(&self) {
        let mut queue = self.queue.lock();
        *queue = Queue { closed: true, ..Queue::default() };
        drop(queue);
        self.room.notify_waiters();
    }
}

fn size(message: &Message) -> usize {
    message.len() + OVERHEAD
}
