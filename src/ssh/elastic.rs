//! The stream under an SSH session: writes never block, so that the session always reads.
//!
//! russh awaits its transport writes inside the loop that also reads. Two such peers with full socket buffers wait for each other
//! for ever. Here `poll_write` takes what it is given; what the socket does not want yet stays in a queue that every later
//! poll of the session's task drains. The [`Link`] is the other end of the bargain: senders look at it before they add more.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::link::Link;
use super::prelude::Prelude;
use super::silence::Silence;

/// Queued bytes above which channel senders wait. What a socket does not take at once is copied, so this is small.
const HIGH_WATER: usize = 256 * 1024;

/// Queued bytes below which they go on.
const LOW_WATER: usize = 64 * 1024;

/// Queued bytes that end the session: only a peer that asks for replies and never reads them gets here.
const HARD_LIMIT: usize = 16 * 1024 * 1024;

/// Bytes read before log-in that end the session (reference table: pre-auth byte budget).
const LOGIN_BUDGET: usize = 256 * 1024;

/// How long a closing end sends what is queued and waits for the other to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Read buffer: packets smaller than this share a system call.
pub(super) const READ_BUFFER: usize = 16 * 1024;

/// See the module.
pub(crate) struct Elastic<S> {
    inner: S,
    link: Arc<Link>,
    /// Filled from the transport, `start..` not yet taken. A session that waits has none.
    read: Vec<u8>,
    start: usize,
    budget: usize,
    /// Taken from the session, `sent..` not yet written.
    write: Vec<u8>,
    sent: usize,
    /// The transport may hold written bytes back until it is flushed.
    unflushed: bool,
    /// Bytes ever taken from the session.
    taken: u64,
    /// Of these, how many the transport has let go.
    flushed: u64,
    /// Bytes of the session's first words that have been said already.
    said: usize,
    hear_ours: bool,
    hear_theirs: bool,
    limit: Option<Pin<Box<Sleep>>>,
    lingering: bool,
    /// How long the peer may say nothing, once it has logged in.
    silence: Option<Silence>,
    /// It said nothing for longer.
    silent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Elastic<S> {
    /// With `silence`, a read fails (`TimedOut`) when the peer says nothing for so long.
    pub(crate) fn new(inner: S, link: Arc<Link>, silence: Option<Duration>) -> Self {
        let budget = LOGIN_BUDGET;
        Self {
            inner,
            link,
            read: Vec::new(),
            start: 0,
            budget,
            write: Vec::new(),
            sent: 0,
            unflushed: false,
            taken: 0,
            flushed: 0,
            said: 0,
            hear_ours: true,
            hear_theirs: true,
            limit: None,
            lingering: false,
            silence: silence.map(Silence::new),
            silent: false,
        }
    }

    /// Goes on where a prelude left off.
    pub(crate) fn resume(
        inner: S,
        link: Arc<Link>,
        silence: Option<Duration>,
        prelude: Prelude,
    ) -> Self {
        let mut this = Self::new(inner, link, silence);
        let Prelude { heard, said, .. } = prelude;
        this.hear_theirs = this.link.theirs.lock().hear(&heard);
        this.budget -= heard.len();
        this.read = heard;
        this.said = said;
        this
    }

    fn queued(&self) -> usize {
        self.write.len() - self.sent
    }

    /// Writes what the transport takes now; `Ready` when nothing is left. Registers the session's task otherwise.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut all = true;
        while all && self.sent < self.write.len() {
            match Pin::new(&mut self.inner).poll_write(cx, &self.write[self.sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => self.sent += n?,
                Poll::Pending => all = false,
            }
            self.unflushed = true;
        }
        self.settle();
        ready!(self.flush(cx))?;
        if all { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Has the transport pass on what it holds back, as TLS does when the socket is full.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.flushed = self.taken - self.queued() as u64;
        Poll::Ready(Ok(()))
    }

    /// Gives memory back and tells the senders.
    fn settle(&mut self) {
        if self.sent == self.write.len() {
            self.write.clear();
            self.sent = 0;
            if self.write.capacity() > HIGH_WATER {
                self.write = Vec::new();
            }
        } else if self.sent >= HIGH_WATER {
            self.write.drain(..self.sent);
            self.sent = 0;
        }
        let queued = self.queued();
        if queued > HIGH_WATER {
            self.link.full.store(true, Ordering::Release);
        } else if queued <= LOW_WATER && self.link.full.swap(false, Ordering::AcqRel) {
            self.link.drained.notify_waiters();
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.link.killed.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    /// Counts bytes that came against the pre-login budget.
    fn spend(&mut self, n: usize) -> io::Result<()> {
        if let Some(silence) = &mut self.silence {
            silence.heard();
        }
        if self.budget == usize::MAX {
            return Ok(());
        }
        if self.link.logged_in.load(Ordering::Acquire) {
            self.budget = usize::MAX;
            return Ok(());
        }
        self.budget = self.budget.checked_sub(n).ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    }

    /// Whether the peer has said nothing for too long. Before log-in other limits hold.
    fn falls_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(silence) = &mut self.silence else { return false };
        let silent = silence.poll(cx).is_ready();
        self.silent = silent && self.link.logged_in.load(Ordering::Acquire);
        self.silent
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.start = 0;
        self.read.clear();
        self.read.reserve_exact(READ_BUFFER);
        let filled = poll_read_buf(Pin::new(&mut self.inner), cx, &mut self.read);
        if filled.is_pending() {
            self.read = Vec::new();
        } else if self.hear_theirs {
            self.hear_theirs = self.link.theirs.lock().hear(&self.read);
        }
        filled
    }

    /// Reads on until the peer has closed too: a socket closed with unread bytes resets the connection, and a reset takes from
    /// the peer what it has not read yet.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Ok(())),
                Ok(_) => {}
            }
        }
    }

    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start == self.read.len() {
            // A long packet body goes straight to its place.
            if buf.remaining() >= READ_BUFFER && !self.hear_theirs {
                let before = buf.filled().len();
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
                return Poll::Ready(self.spend(buf.filled().len() - before));
            }
            let n = ready!(self.poll_fill(cx))?;
            self.spend(n)?;
        }
        let n = buf.remaining().min(self.read.len() - self.start);
        buf.put_slice(&self.read[self.start..self.start + n]);
        self.start += n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Elastic<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.link.reader.register(cx.waker());
        this.check()?;
        if (this.sent < this.write.len() || this.unflushed)
            && let Poll::Ready(Err(e)) = this.drain(cx)
        {
            return Poll::Ready(Err(this.link.failed(e)));
        }
        this.link.written.advance(this.taken, this.flushed);
        let read = this.poll_read_some(cx, buf);
        if read.is_pending() {
            this.link.is_idle();
            this.link.tell_now();
            if this.falls_silent(cx) {
                return Poll::Ready(Err(this.link.failed(io::ErrorKind::TimedOut.into())));
            }
        }
        read.map_err(|e| this.link.failed(e))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Elastic<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        if let Poll::Ready(Err(e)) = this.drain(cx) {
            return Poll::Ready(Err(this.link.failed(e)));
        }
        if this.hear_ours {
            this.hear_ours = this.link.ours.lock().hear(bytes);
        }
        let mut taken = this.said.min(bytes.len());
        this.said -= taken;
        while this.write.is_empty() && taken < bytes.len() {
            match Pin::new(&mut this.inner).poll_write(cx, &bytes[taken..]) {
                Poll::Ready(Ok(n)) if n > 0 => taken += n,
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(this.link.failed(e))),
                Poll::Pending => break,
            }
        }
        this.write.extend_from_slice(&bytes[taken..]);
        this.taken += bytes.len() as u64;
        this.settle();
        this.unflushed = true;
        if let Poll::Ready(Err(e)) = this.flush(cx) {
            return Poll::Ready(Err(this.link.failed(e)));
        }
        if this.queued() > HARD_LIMIT {
            return Poll::Ready(Err(this.link.failed(io::ErrorKind::TimedOut.into())));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Waiting here is what must never happen; `poll_read` goes on draining.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.link.leaves();
        this.link.reader.register(cx.waker());
        this.check()?;
        // Nobody is there to wait for.
        if this.silent {
            return Poll::Ready(Ok(()));
        }
        let limit = this.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_LIMIT)));
        if limit.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !this.lingering {
            ready!(this.drain(cx))?;
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.lingering = true;
        }
        this.poll_linger(cx)
    }
}

impl<S> Drop for Elastic<S> {
    fn drop(&mut self) {
        self.link.kill();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::io::pipe;

    #[tokio::test]
    async fn a_session_that_waits_keeps_no_room_for_reading_and_loses_nothing() {
        let (mut far, near) = pipe();
        let mut elastic = Elastic::new(near, Arc::default(), None);
        for turn in 0..3 {
            let sent: Vec<u8> = (0..5000).map(|at| (at % 251 + turn) as u8).collect();
            far.write_all(&sent).await.unwrap();
            let mut heard = vec![0; sent.len()];
            let (first, rest) = heard.split_at_mut(7);
            elastic.read_exact(first).await.unwrap();
            assert!(elastic.read.capacity() > 0, "what came is kept until it is taken");
            elastic.read_exact(rest).await.unwrap();
            assert_eq!(heard, sent);
            assert!(AsyncReadExt::read(&mut elastic, &mut [0; 7]).now_or_never().is_none());
            assert_eq!(elastic.read.capacity(), 0);
        }
    }
}
