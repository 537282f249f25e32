//! UDP to listen on: what comes from one address is one flow, and each flow an arrival, its stream that of `io::datagram`.
//!
//! One socket serves all flows. The accept loop is who reads it, so accepting never waits for a flow: one that is not read loses
//! datagrams, as the network would.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::io::{Connected, DatagramStream, Datagrams, Ends, is_too_long};
use crate::listen::{Incoming, Listener};

/// Addresses that a socket knows at once (reference table: ids per link). What comes from others meanwhile is lost.
const MOST_FLOWS: usize = 4096;

/// What waits in a flow that is not read, in datagrams and in bytes: four of the largest there are.
const QUEUE: (usize, usize) = (256, 256 * 1024);

/// What the system may keep until it is read here; it cuts this to its own limit.
const SYSTEM_QUEUE: usize = 1024 * 1024;

/// Room for any datagram.
const ROOM: usize = u16::MAX as usize;

/// For so long, what comes from an address whose flow has failed is lost, instead of asking the far end again for each datagram.
const QUIET: Duration = Duration::from_secs(1);

/// Binds `at`, one address family alone, and says which port that became.
pub(super) fn open(at: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(SYSTEM_QUEUE);
    socket.bind(&at.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// A bound UDP port.
pub(super) struct Udp {
    shared: Arc<Shared>,
    local: Option<SocketAddr>,
    idle: Duration,
    space: BytesMut,
}

struct Shared {
    socket: UdpSocket,
    flows: Mutex<HashMap<SocketAddr, Known>>,
    dropped: Arc<AtomicU64>,
}

/// What is known of an address.
enum Known {
    /// Its flow's queue.
    Flow(Arc<Queue>),
    /// Its flow has failed; nothing is taken from it before then.
    Quiet(Instant),
}

struct Queue {
    to: mpsc::Sender<Bytes>,
    bytes: AtomicUsize,
}

impl Udp {
    pub(super) fn new(socket: UdpSocket, idle: Duration, dropped: Arc<AtomicU64>) -> Self {
        let local = socket.local_addr().ok();
        let shared = Arc::new(Shared { socket, flows: Mutex::default(), dropped });
        Self { shared, local, idle, space: BytesMut::with_capacity(ROOM) }
    }

    /// The next datagram, and who sent it. Cancel-safe.
    async fn receive(&mut self) -> io::Result<(Bytes, SocketAddr)> {
        self.space.clear();
        let (_, from) = self.shared.socket.recv_buf_from(&mut self.space).await?;
        // A copy, so that what waits in a queue holds no more memory than it counts.
        Ok((Bytes::copy_from_slice(&self.space), from))
    }
}

impl Listener for Udp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            loop {
                let (datagram, from) = self.receive().await?;
                let Some(arrivals) = self.shared.take(datagram, from) else { continue };
                let flow = Flow {
                    shared: Arc::clone(&self.shared),
                    from,
                    arrivals,
                    idle: self.idle,
                    moved_at: Instant::now(),
                    clock: Box::pin(sleep(self.idle)),
                    finished: false,
                    failed: false,
                };
                let ends = Ends {
                    remote: Some(from),
                    local: self.local,
                    endpoint: None,
                    transport: "udp",
                };
                let io = Box::new(DatagramStream::new(flow));
                let link = Connected { io, ends: ends.clone() };
                return Ok(Incoming { ends, handshake: std::future::ready(Ok(link)).boxed() });
            }
        }
        .boxed()
    }
}

impl Shared {
    /// Gives a datagram to its flow; what a new flow reads from, when it is the first of one.
    fn take(&self, datagram: Bytes, from: SocketAddr) -> Option<Arrivals> {
        let mut flows = self.flows.lock();
        if !flows.contains_key(&from) && flows.len() >= MOST_FLOWS {
            let now = Instant::now();
            flows.retain(|_, known| !matches!(known, Known::Quiet(until) if *until <= now));
        }
        let crowded = flows.len() >= MOST_FLOWS;
        let (taken, arrivals) = match flows.entry(from) {
            Entry::Occupied(mut known) => match known.get() {
                Known::Flow(queue) => (queue.push(datagram), None),
                Known::Quiet(until) if *until > Instant::now() => (false, None),
                Known::Quiet(_) => {
                    let (queue, arrivals) = Queue::new();
                    known.insert(Known::Flow(Arc::clone(&queue)));
                    (queue.push(datagram), Some(arrivals))
                }
            },
            Entry::Vacant(_) if crowded => (false, None),
            Entry::Vacant(place) => {
                let (queue, arrivals) = Queue::new();
                place.insert(Known::Flow(Arc::clone(&queue)));
                (queue.push(datagram), Some(arrivals))
            }
        };
        drop(flows);
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        arrivals
    }

    /// Forgets a flow, if it is still the one of its address.
    fn forget(&self, from: SocketAddr, queue: &Arc<Queue>, quiet: bool) {
        let mut flows = self.flows.lock();
        let is_its_own =
            matches!(flows.get(&from), Some(Known::Flow(known)) if Arc::ptr_eq(known, queue));
        if is_its_own && quiet {
            flows.insert(from, Known::Quiet(Instant::now() + QUIET));
        } else if is_its_own {
            flows.remove(&from);
        }
    }
}

/// The reader's end of a [`Queue`].
struct Arrivals {
    queue: Arc<Queue>,
    of: mpsc::Receiver<Bytes>,
}

impl Queue {
    fn new() -> (Arc<Self>, Arrivals) {
        let (to, of) = mpsc::channel(QUEUE.0);
        let queue = Arc::new(Self { to, bytes: AtomicUsize::new(0) });
        (Arc::clone(&queue), Arrivals { queue, of })
    }

    /// False when there is no room.
    fn push(&self, datagram: Bytes) -> bool {
        let len = datagram.len();
        if self.bytes.load(Ordering::Relaxed) + len > QUEUE.1 {
            return false;
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        let taken = self.to.try_send(datagram).is_ok();
        if !taken {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        taken
    }
}

/// What goes to and fro between the socket and one address.
struct Flow {
    shared: Arc<Shared>,
    from: SocketAddr,
    arrivals: Arrivals,
    idle: Duration,
    /// When a datagram last came or went.
    moved_at: Instant,
    clock: Pin<Box<Sleep>>,
    /// The other side has ended, or this one was silent for too long.
    finished: bool,
    failed: bool,
}

impl Flow {
    /// Whether nothing moved for so long that it is over.
    fn is_idle(&mut self, cx: &mut Context<'_>) -> bool {
        while self.clock.as_mut().poll(cx).is_ready() {
            let until = self.moved_at + self.idle;
            if until <= Instant::now() {
                return true;
            }
            self.clock.as_mut().reset(until);
        }
        false
    }
}

impl Datagrams for Flow {
    fn poll_recv(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>> {
        if let Poll::Ready(Some(datagram)) = self.arrivals.of.poll_recv(cx) {
            self.arrivals.queue.bytes.fetch_sub(datagram.len(), Ordering::Relaxed);
            self.moved_at = Instant::now();
            to.extend_from_slice(&datagram);
            return Poll::Ready(Ok(true));
        }
        if !self.finished && !self.is_idle(cx) {
            return Poll::Pending;
        }
        self.finish();
        Poll::Ready(Ok(false))
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        self.moved_at = Instant::now();
        match self.shared.socket.try_send_to(datagram, self.from) {
            Ok(_) => Poll::Ready(Ok(())),
            // Nobody is told when there is room again, for all flows share the socket.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || is_too_long(&e) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(Ok(()))
            }
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        // From here on its address begins a new flow.
        self.shared.forget(self.from, &self.arrivals.queue, false);
    }

    fn abort(&mut self) {
        self.failed = true;
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.forget(self.from, &self.arrivals.queue, self.failed);
        let mut lost = 0;
        while self.arrivals.of.try_recv().is_ok() {
            lost += 1;
        }
        self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_flow_that_is_not_read_loses_datagrams_and_counts_them() {
        let (socket, at) = open("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let dropped = Arc::default();
        let mut udp = Udp::new(socket, Duration::from_secs(60), Arc::clone(&dropped));
        let near = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        near.connect(at).await.expect("an address");
        near.send(b"first").await.expect("a send");
        let incoming = udp.accept().await.expect("a flow");
        let mut flow = incoming.handshake.await.expect("a stream").io;
        let sending = async {
            for _ in 0..QUEUE.0 + 10 {
                near.send(b"more").await.expect("a send");
                tokio::task::yield_now().await;
            }
            while dropped.load(Ordering::Relaxed) < 11 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = udp.accept() => panic!("a second flow"),
            () = sending => {}
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 11);
        let mut frame = [0; 7];
        flow.read_exact(&mut frame).await.expect("a datagram");
        assert_eq!(frame, *b"\0\x05first");
        drop(flow);
        assert_eq!(dropped.load(Ordering::Relaxed), 11 + QUEUE.0 as u64 - 1, "those that waited");
    }
}
