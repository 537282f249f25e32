//! A byte stream within the process: two ends, a bounded queue each way. For the non-waiting calls of the JS boundary as well as for
//! tasks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lock::{Mutex, MutexGuard};
use super::{ByteQueue, Events, Face, Io, Observer, Read, polled_write};
use crate::error::{Code, Error, Phase, Result};

/// Bytes written to one end and not read at the other; more is refused until half is gone. As of a stream over SSH.
#[cfg(not(all(test, feature = "model")))]
const CAPACITY: usize = 1024 * 1024;
/// So few that a model of it has few steps.
#[cfg(all(test, feature = "model"))]
pub(super) const CAPACITY: usize = 2;

/// Two ends of a stream.
pub(crate) fn pipe() -> (PipeEnd, PipeEnd) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (PipeEnd { shared: Arc::clone(&shared), side: 0 }, PipeEnd { shared, side: 1 })
}

/// One end. Dropped, its direction ends and what comes is dropped.
pub(crate) struct PipeEnd {
    shared: Arc<Mutex<Shared>>,
    side: usize,
}

#[derive(Default)]
struct Shared {
    /// What the end of this number has written.
    lanes: [Lane; 2],
    ends: [End; 2],
}

#[derive(Default)]
struct Lane {
    queue: ByteQueue,
    ended: bool,
    /// Nobody reads any more.
    unread: bool,
}

#[derive(Default)]
struct End {
    observer: Option<Arc<dyn Observer>>,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    read_armed: bool,
    write_armed: bool,
    finish_armed: bool,
    closed_told: bool,
}

impl PipeEnd {
    /// Moves what has arrived. `None`: something was.
    fn receive(
        &self,
        waker: Option<&Waker>,
        take: impl FnOnce(&mut ByteQueue) -> usize,
    ) -> Option<Read> {
        let mut shared = self.shared.lock();
        let lane = &mut shared.lanes[1 - self.side];
        if take(&mut lane.queue) == 0 {
            if lane.ended {
                return Some(Read::Eof);
            }
            let end = &mut shared.ends[self.side];
            match waker {
                Some(waker) => end.read_waker = Some(waker.clone()),
                None => end.read_armed = true,
            }
            return Some(Read::Pending);
        }
        let (left, ended) = (lane.queue.len(), lane.ended);
        if left <= CAPACITY / 2 {
            let events = shared.wake_writer(1 - self.side, left == 0 && ended);
            tell(shared, 1 - self.side, events);
        }
        None
    }

    fn send(
        &self,
        waker: Option<&Waker>,
        give: impl FnOnce(&mut ByteQueue, usize) -> usize,
    ) -> Result<usize> {
        let mut shared = self.shared.lock();
        let lane = &mut shared.lanes[self.side];
        if lane.ended || lane.unread {
            let message = "the other end of the stream is closed";
            return Err(Error::new(Code::System("EPIPE"), message).by("write").at(Phase::Stream));
        }
        let room = CAPACITY.saturating_sub(lane.queue.len());
        let count = if room == 0 { 0 } else { give(&mut lane.queue, room) };
        if lane.queue.len() >= CAPACITY || count == 0 {
            let end = &mut shared.ends[self.side];
            match waker {
                Some(waker) => end.write_waker = Some(waker.clone()),
                None => end.write_armed = true,
            }
        }
        if count > 0 {
            let events = shared.wake_reader(1 - self.side);
            tell(shared, 1 - self.side, events);
        }
        Ok(count)
    }

    /// Ends this side after what was accepted.
    fn end(&self) {
        let mut shared = self.shared.lock();
        let lane = &mut shared.lanes[self.side];
        if std::mem::replace(&mut lane.ended, true) {
            return;
        }
        let all_read = lane.queue.is_empty();
        shared.ends[self.side].finish_armed = true;
        let events = shared.wake_reader(1 - self.side);
        tell(shared, 1 - self.side, events);
        if all_read {
            let mut shared = self.shared.lock();
            let events = shared.wake_writer(self.side, true);
            tell(shared, self.side, events);
        }
        self.tell_if_over();
    }

    fn tell_if_over(&self) {
        for side in [0, 1] {
            let mut shared = self.shared.lock();
            let over = shared.lanes.iter().all(|lane| lane.ended);
            if over && !std::mem::replace(&mut shared.ends[side].closed_told, true) {
                tell(shared, side, Events::CLOSED);
            }
        }
    }
}

impl Shared {
    fn wake_reader(&mut self, side: usize) -> Events {
        let end = &mut self.ends[side];
        if let Some(waker) = end.read_waker.take() {
            waker.wake();
        }
        match std::mem::take(&mut end.read_armed) {
            true => Events::READABLE,
            false => Events::default(),
        }
    }

    fn wake_writer(&mut self, side: usize, finished: bool) -> Events {
        let end = &mut self.ends[side];
        if let Some(waker) = end.write_waker.take() {
            waker.wake();
        }
        let mut events = Events::default();
        if std::mem::take(&mut end.write_armed) {
            events.add(Events::WRITABLE);
        }
        if finished && std::mem::take(&mut end.finish_armed) {
            events.add(Events::FINISHED);
        }
        events
    }
}

/// Tells an end's observer, after the lock is gone.
fn tell(shared: MutexGuard<'_, Shared>, side: usize, events: Events) {
    if events == Events::default() {
        return;
    }
    let observer = shared.ends[side].observer.clone();
    drop(shared);
    if let Some(observer) = observer {
        observer.notify(events);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncRead for PipeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(buf.remaining(), Some(cx.waker())).polled(buf)
    }
}

impl AsyncWrite for PipeEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        polled_write(self.write(bytes, Some(cx.waker())), bytes.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Face for PipeEnd {
    fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared.lock().ends[self.side].observer = Some(observer);
    }

    fn read(&self, max: usize, waker: Option<&Waker>) -> Read {
        let mut bytes = None;
        self.receive(waker, |queue| {
            bytes = queue.pop(max);
            bytes.as_ref().map_or(0, Bytes::len)
        })
        .unwrap_or_else(|| bytes.map_or(Read::Pending, Read::Data))
    }

    fn write(&self, bytes: &[u8], waker: Option<&Waker>) -> Result<usize> {
        self.send(waker, |queue, room| {
            let count = bytes.len().min(room);
            queue.push_slice(&bytes[..count]);
            count
        })
    }

    fn finish(&self, _waker: Option<&Waker>) -> Result<bool> {
        self.end();
        Ok(true)
    }

    /// What the other end has not read yet it may still read.
    fn close(&self) {
        let mut shared = self.shared.lock();
        let theirs = &mut shared.lanes[1 - self.side];
        (theirs.unread, theirs.ended) = (true, true);
        theirs.queue.clear();
        shared.lanes[self.side].ended = true;
        for side in [self.side, 1 - self.side] {
            let mut events = shared.wake_reader(side);
            events.add(shared.wake_writer(side, true));
            tell(shared, side, events);
            shared = self.shared.lock();
        }
        drop(shared);
        self.tell_if_over();
    }

    /// Bytes received and not read, and bytes accepted and not read at the other end.
    fn buffered(&self) -> (usize, usize) {
        let shared = self.shared.lock();
        (shared.lanes[1 - self.side].queue.len(), shared.lanes[self.side].queue.len())
    }

    fn failure(&self) -> Option<Error> {
        None
    }
}

impl Io for PipeEnd {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
        _space: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut moved = 0;
        let found = self.receive(Some(cx.waker()), |from| {
            moved = from.move_to(queue, max);
            moved
        });
        match found {
            None => Poll::Ready(Ok(moved)),
            Some(Read::Eof) => Poll::Ready(Ok(0)),
            Some(_) => Poll::Pending,
        }
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        queue: &mut ByteQueue,
    ) -> Poll<io::Result<usize>> {
        polled_write(self.send(Some(cx.waker()), |to, room| queue.move_to(to, room)), 1)
    }
}
