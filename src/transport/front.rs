//! What a server's TCP port shows to who arrives: SSH, a web server, or whichever the visitor asks for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;

use super::Arrival;
use crate::config::Transport;
use crate::error::Result;
use crate::http::{self, Served, Site, SocketIo};
use crate::io::{BoxIo, Connected, Prefixed};
use crate::listen::{Incoming, Listener};

/// How an SSH client's first line begins (RFC 4253 §4.2).
const SSH: &[u8] = b"SSH-";

/// For a visitor's first bytes: the same for a silent web client, which [`http::serve`] waits for.
const FIRST_LIMIT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub(super) struct Front {
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsAcceptor>,
    /// What who speaks SSH comes by; without it only a WebSocket leads to SSH.
    pub(super) direct: Option<Transport>,
    /// What a WebSocket is called, if there is one.
    pub(super) socket: Option<Transport>,
    /// What the others see; without it everybody is taken for an SSH client.
    pub(super) site: Option<Arc<Site>>,
}

/// A port with a [`Front`].
pub(super) struct Fronted {
    pub(super) inner: Box<dyn Listener>,
    pub(super) front: Front,
}

impl Listener<Arrival> for Fronted {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Arrival>>> {
        async {
            let Incoming { mut ends, handshake } = self.inner.accept().await?;
            ends.transport = self.front.first_guess();
            let front = self.front.clone();
            let handshake = async move { front.receive(handshake.await?).await };
            Ok(Incoming { ends, handshake: handshake.boxed() })
        }
        .boxed()
    }
}

impl Front {
    /// By what somebody comes of whom nothing is known.
    fn first_guess(&self) -> &'static str {
        self.direct.or(self.socket).map_or("", Transport::as_str)
    }

    async fn receive(&self, link: Connected) -> Result<Arrival> {
        let Connected { io, mut ends } = link;
        ends.transport = self.first_guess();
        let Some(io) = self.unwrapped(io).await? else { return Ok(Arrival::Visitor) };
        let Some(site) = &self.site else { return Ok(Arrival::Stream(Connected { io, ends })) };
        let io = match self.direct {
            // What ALPN has said does not matter: a web server would hear whoever begins like one of its clients.
            Some(_) => match sniff(io).await? {
                First::Ssh(io) => return Ok(Arrival::Stream(Connected { io, ends })),
                First::Other(io) => io,
                First::Nothing => return Ok(Arrival::Visitor),
            },
            None => io,
        };
        match http::serve(io, site).await {
            Ok(Served::Upgraded(upgraded)) => {
                ends.transport = self.socket.map_or("", Transport::as_str);
                let io = Box::new(SocketIo::new(upgraded.socket));
                Ok(Arrival::Stream(Connected { io, ends }))
            }
            Ok(Served::Closed) => Ok(Arrival::Visitor),
            Err(e) => {
                tracing::debug!(error = %e, "a visitor left");
                Ok(Arrival::Visitor)
            }
        }
    }

    /// `None` for an authority, which has seen all that it wanted.
    #[cfg(feature = "tls")]
    async fn unwrapped(&self, io: BoxIo) -> Result<Option<BoxIo>> {
        let Some(tls) = &self.tls else { return Ok(Some(io)) };
        super::tls::accept(tls, io).await
    }

    #[cfg(not(feature = "tls"))]
    async fn unwrapped(&self, io: BoxIo) -> Result<Option<BoxIo>> {
        Ok(Some(io))
    }
}

/// What a visitor begins with; its bytes are still to be read.
enum First {
    Ssh(BoxIo),
    Other(BoxIo),
    /// It went away, or waited.
    Nothing,
}

/// Reads until it is clear what is spoken, wherever the bytes are cut, and says nothing.
async fn sniff(mut io: BoxIo) -> Result<First> {
    let mut first = BytesMut::with_capacity(64);
    let hearing = async {
        while first.len() < SSH.len() && SSH.starts_with(&first) {
            match io.read_buf(&mut first).await {
                Ok(n) if n > 0 => {}
                _ => return false,
            }
        }
        true
    };
    // Who has begun like SSH and waits is served like who has not: it is told nothing.
    if !tokio::time::timeout(FIRST_LIMIT, hearing).await.unwrap_or(false) {
        return Ok(First::Nothing);
    }
    let is_ssh = first.starts_with(SSH);
    let io: BoxIo = Box::new(Prefixed::new(first.freeze(), io));
    Ok(if is_ssh { First::Ssh(io) } else { First::Other(io) })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn first(chunks: &[&[u8]]) -> (&'static str, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(1024);
        let talk = async {
            for chunk in chunks {
                far.write_all(chunk).await.unwrap();
                tokio::task::yield_now().await;
            }
            far.shutdown().await.unwrap();
        };
        let (found, ()) = tokio::join!(sniff(Box::new(near)), talk);
        let (name, io) = match found.unwrap() {
            First::Ssh(io) => ("ssh", io),
            First::Other(io) => ("other", io),
            First::Nothing => return ("nothing", Vec::new()),
        };
        let (mut io, mut all) = (io, Vec::new());
        io.read_to_end(&mut all).await.unwrap();
        (name, all)
    }

    #[tokio::test]
    async fn a_banner_is_known_wherever_it_is_cut_and_nothing_of_it_is_lost() {
        let banner = b"SSH-2.0-x\r\n".to_vec();
        for cut in 0..banner.len() {
            let (one, two) = banner.split_at(cut);
            assert_eq!(first(&[one, two]).await, ("ssh", banner.clone()), "cut at {cut}");
        }
        let each: Vec<_> = banner.chunks(1).collect();
        assert_eq!(first(&each).await, ("ssh", banner));
        assert_eq!(
            first(&[b"GET / HTTP/1.1\r\n"]).await,
            ("other", b"GET / HTTP/1.1\r\n".to_vec())
        );
        assert_eq!(first(&[b"S", b"SX"]).await, ("other", b"SSX".to_vec()));
        assert_eq!(first(&[b"SSH"]).await.0, "nothing");
        assert_eq!(first(&[]).await.0, "nothing");
    }
}
