//! UDP from this machine: a connected socket as a stream of datagrams.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep, sleep};

use crate::error::{Error, Phase, Result};
use crate::io::{Connected, DatagramStream, Datagrams, Ends, is_too_long};
use crate::target::HostPort;

/// How long answers may still come after the last datagram was sent: that of a name server, asked once, must not be lost.
const LINGER: Duration = Duration::from_secs(5);

/// A socket that sends to the first of `addresses` that there is a way to, which are those of `at`. Nobody is asked whether
/// anybody is there; a refusal that comes later (ICMP), before any answer, leads on to the next address, and after the last ends the
/// stream.
///
/// # Errors
/// `ENETUNREACH`, `EACCES` and other system codes.
pub(super) fn connect(at: &HostPort, addresses: &[SocketAddr]) -> Result<Connected> {
    let mut failure = io::ErrorKind::NotFound.into();
    for (i, address) in addresses.iter().enumerate() {
        match connect_to(*address, None) {
            Ok(socket) => {
                let (remote, local) = (Some(*address), socket.local_addr().ok());
                let flow = Flow {
                    socket,
                    settled: false,
                    others: addresses[i + 1..].iter().copied().collect(),
                    last: Vec::new(),
                    waiting: [None, None],
                    lingering: None,
                };
                let ends = Ends { remote, local, endpoint: None, transport: "udp" };
                return Ok(Connected { io: Box::new(DatagramStream::new(flow)), ends });
            }
            Err(e) => failure = e,
        }
    }
    Err(Error::system("connect", &at.to_string(), failure)
        .at(Phase::Tcp)
        .address(&at.host, at.port))
}

/// A socket that sends to `address`, and has sent it `first`, which it has not refused at once.
fn connect_to(address: SocketAddr, first: Option<&[u8]>) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    if let Some(datagram) = first {
        socket.send(datagram)?;
        if let Some(refused) = socket.take_error()? {
            return Err(refused);
        }
    }
    UdpSocket::from_std(socket)
}

struct Flow {
    socket: UdpSocket,
    /// An answer has come: this address it is.
    settled: bool,
    /// Where it goes when this address refuses before.
    others: VecDeque<SocketAddr>,
    /// What was sent last, to be sent again there.
    last: Vec<u8>,
    /// Who waits for the socket, to read and to write.
    waiting: [Option<Waker>; 2],
    /// Runs since the last datagram, once nothing more will be sent.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Flow {
    /// Goes on to the next address, if this one has refused and there is one.
    fn goes_on(&mut self, why: &io::Error) -> bool {
        if self.settled || why.kind() != io::ErrorKind::ConnectionRefused {
            return false;
        }
        while let Some(address) = self.others.pop_front() {
            if let Ok(socket) = connect_to(address, Some(&self.last)) {
                self.socket = socket;
                self.waiting.iter_mut().filter_map(Option::take).for_each(Waker::wake);
                return true;
            }
        }
        false
    }

    /// A datagram has gone out. On this machine a refusal has come already, and the system tells no reader of it.
    fn sent(&mut self, datagram: &[u8]) -> io::Result<()> {
        if self.settled {
            return Ok(());
        }
        if !self.others.is_empty() {
            self.last.clear();
            self.last.extend_from_slice(datagram);
        }
        match self.socket.take_error()? {
            Some(why) if !self.goes_on(&why) => Err(why),
            _ => Ok(()),
        }
    }

    fn settle(&mut self) {
        if !self.settled {
            (self.settled, self.others, self.last) = (true, VecDeque::new(), Vec::new());
        }
    }
}

impl Datagrams for Flow {
    fn poll_recv(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>> {
        while let Poll::Ready(is_ready) = self.socket.poll_recv_ready(cx) {
            is_ready?;
            match self.socket.try_recv_buf(to) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || self.goes_on(&e) => {}
                received => {
                    received?;
                    self.settle();
                    if let Some(lingering) = &mut self.lingering {
                        lingering.as_mut().reset(Instant::now() + LINGER);
                    }
                    return Poll::Ready(Ok(true));
                }
            }
        }
        if !self.settled {
            self.waiting[0] = Some(cx.waker().clone());
        }
        match &mut self.lingering {
            Some(lingering) => lingering.as_mut().poll(cx).map(|()| Ok(false)),
            None => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        loop {
            match self.socket.poll_send(cx, datagram) {
                Poll::Pending => {
                    self.waiting[1] = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) if is_too_long(&e) => {
                    tracing::debug!("a datagram was too long to be sent");
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(e)) if self.goes_on(&e) => {}
                Poll::Ready(sent) => return Poll::Ready(sent.and_then(|_| self.sent(datagram))),
            }
        }
    }

    fn finish(&mut self) {
        self.lingering = Some(Box::pin(sleep(LINGER)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_refusal_leads_on_to_the_next_address_and_loses_nothing_that_was_sent() {
        let service = UdpSocket::bind("[::1]:0").await.expect("IPv6 loopback");
        let port = service.local_addr().expect("an address").port();
        let at = HostPort { host: "localhost".into(), port };
        let nobody = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), port);
        let mut flow = connect(&at, &[nobody("127.0.0.1"), nobody("::1")]).expect("a flow").io;
        let mut room = [0; 9];
        for datagram in [b"\0\x03one", b"\0\x03two"] {
            flow.write_all(datagram).await.expect("sent");
            let (len, from) = service.recv_from(&mut room).await.expect("received");
            assert_eq!(room[..len], datagram[2..]);
            service.send_to(b"got", from).await.expect("answered");
            flow.read_exact(&mut room[..5]).await.expect("an answer");
            assert_eq!(&room[..5], b"\0\x03got");
        }
        // Whoever has answered is who it is: no other is asked when it goes.
        drop(service);
        let _other = UdpSocket::bind(nobody("127.0.0.1")).await.expect("the port");
        flow.write_all(b"\0\x03end").await.expect("sent");
        let refused = flow.read_exact(&mut room).await.expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn the_last_refusal_ends_the_flow() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = closed.local_addr().expect("an address").port();
        drop(closed);
        let at = HostPort { host: "localhost".into(), port };
        let both = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().expect("ip"), port));
        let mut flow = connect(&at, &both).expect("a flow").io;
        let refused = match flow.write_all(b"\0\x03one").await {
            Err(refused) => refused,
            Ok(()) => flow.read_u8().await.expect_err("nobody is there"),
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
