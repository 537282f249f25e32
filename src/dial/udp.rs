//! UDP from this machine: a connected socket as a stream of datagrams.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
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
/// anybody is there; a refusal that comes later (ICMP) ends the stream.
///
/// # Errors
/// `ENETUNREACH`, `EACCES` and other system codes.
pub(super) async fn connect(at: &HostPort, addresses: &[SocketAddr]) -> Result<Connected> {
    let mut failure = io::ErrorKind::NotFound.into();
    for address in addresses {
        match connect_to(*address).await {
            Ok(socket) => {
                let (remote, local) = (Some(*address), socket.local_addr().ok());
                let flow = Flow { socket, lingering: None };
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

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

struct Flow {
    socket: UdpSocket,
    /// Runs since the last datagram, once nothing more will be sent.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Datagrams for Flow {
    fn poll_recv(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> Poll<io::Result<bool>> {
        while let Poll::Ready(is_ready) = self.socket.poll_recv_ready(cx) {
            is_ready?;
            match self.socket.try_recv_buf(to) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                received => {
                    received?;
                    if let Some(lingering) = &mut self.lingering {
                        lingering.as_mut().reset(Instant::now() + LINGER);
                    }
                    return Poll::Ready(Ok(true));
                }
            }
        }
        match &mut self.lingering {
            Some(lingering) => lingering.as_mut().poll(cx).map(|()| Ok(false)),
            None => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<io::Result<()>> {
        match ready!(self.socket.poll_send(cx, datagram)) {
            Err(e) if is_too_long(&e) => {
                tracing::debug!("a datagram was too long to be sent");
                Poll::Ready(Ok(()))
            }
            sent => Poll::Ready(sent.map(drop)),
        }
    }

    fn finish(&mut self) {
        self.lingering = Some(Box::pin(sleep(LINGER)));
    }
}
