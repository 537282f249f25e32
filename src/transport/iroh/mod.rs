//! Peer to peer over QUIC, by the peer's key instead of its address (the iroh crate): straight, or by way of a relay.
//!
//! One connection carries one stream, which is one SSH session. The side that dials opens it and speaks first, for a QUIC stream
//! exists for its peer only once it has bytes.

mod endpoint;
mod home;
mod relay;
mod stream;

use std::any::Any;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use iroh::endpoint::{Connection, IncomingAddr};
use iroh::{EndpointAddr, PublicKey};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Bound, Way};
use crate::config::{RelayStatus, Transport};
use crate::dial::Proxy;
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, EndpointId, Ends};
use crate::listen::{Incoming, Listener};
use crate::scope::Scope;
use crate::target::HostPort;

use endpoint::{Shared, dialling, listening};
use home::Home;
pub(crate) use relay::Relay;
use stream::QuicStream;

/// What both ends say they speak (RFC 7301).
const ALPN: &[u8] = b"alknet-ssh";

/// QUIC handshakes at once (reference table: unauthenticated at once). More wait, in a queue that QUIC bounds.
const MOST_GREETED: usize = 256;

/// From so many on, who arrives must first show that it receives at its address (reference table: the soft limit of the same).
const MOST_TRUSTED: usize = 64;

/// Longest QUIC handshake (reference table: TLS).
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// An HTTP proxy of this process's own: the one kind that a relay's client knows.
pub(crate) struct Bridge {
    /// With user and password.
    pub(crate) url: String,
    /// When and why the proxy behind it did not lead to the relay the last time.
    pub(crate) failed: watch::Receiver<Option<(Instant, Error)>>,
    /// Listens while it is there.
    pub(crate) _listener: Box<dyn Any + Send + Sync>,
}

/// Makes a bridge to a relay through a proxy, for whoever knows the password.
pub(crate) type StartBridge = fn(Proxy, HostPort, String) -> BoxFuture<'static, Result<Bridge>>;

/// How to get to a peer.
pub(crate) struct IrohWay {
    peer: PublicKey,
    addresses: Vec<SocketAddr>,
    relay: Option<Relay>,
    proxy: Option<(Proxy, StartBridge)>,
}

impl IrohWay {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what is no endpoint id, or when nothing leads there.
    pub(crate) fn new(
        peer: &str,
        addresses: &[SocketAddr],
        relay: Option<Relay>,
        proxy: Option<(Proxy, StartBridge)>,
    ) -> Result<Self> {
        if relay.is_none() && addresses.is_empty() {
            return Err(Error::config("an endpoint id alone does not say where its peer is")
                .hint("give irohAddress or irohRelay, or the connection string of the server"));
        }
        if proxy.is_some() && relay.is_none() {
            return Err(Error::config(
                "through a proxy a peer is only reached by a relay: set irohRelay",
            ));
        }
        Ok(Self { peer: parse_id(peer)?, addresses: addresses.to_vec(), relay, proxy })
    }

    /// The peer's id as it is printed.
    pub(crate) fn id(&self) -> String {
        self.peer.to_string()
    }

    async fn connect(&self) -> Result<Connected> {
        let begun = Instant::now();
        let shared = dialling(self.relay.as_ref(), self.proxy.as_ref()).await?;
        tokio::select! {
            failure = shared.bridge_failure(begun) => Err(failure),
            connected = self.connect_from(Arc::clone(&shared)) => connected,
        }
    }

    async fn connect_from(&self, shared: Arc<Shared>) -> Result<Connected> {
        let mut peer = EndpointAddr::new(self.peer);
        if let Some(relay) = &self.relay {
            peer = peer.with_relay_url(relay.url.clone());
        }
        // Through a proxy there are no other ways than the relay.
        let direct = self.addresses.iter().filter(|_| self.proxy.is_none());
        let peer = direct.fold(peer, |peer, address| peer.with_ip_addr(*address));
        let dial = shared.dial();
        let connection = shared.endpoint.connect(peer, ALPN).await.map_err(|e| self.failed(&e))?;
        let (send, recv) = connection.open_bi().await.map_err(|e| self.failed(&e))?;
        dial.succeeded();
        let ends = ends(&connection, None);
        Ok(Connected { io: Box::new(QuicStream::new(send, recv, connection, shared)), ends })
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> Error {
        let message = format!("cannot reach peer {}: {why}", self.peer.fmt_short());
        Error::new(Code::System("EHOSTUNREACH"), message).at(Phase::Tcp)
    }
}

impl Way for IrohWay {
    fn transport(&self) -> Transport {
        Transport::Iroh
    }

    fn dial<'a>(&'a self, _phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>> {
        self.connect().boxed()
    }
}

/// Listens at a UDP address, as the peer whose secret key is `key`, and at a relay if there is one. What keeps others from the key is
/// held as long as it listens. `scope` is that of the server.
///
/// # Errors
/// `EADDRINUSE` and other system codes; `ERR_ALKNET_CONFIG` for what is no address of this machine or no relay.
pub(crate) async fn listen(
    at: &HostPort,
    (key, held): (&[u8; 32], Option<File>),
    relay: Option<Relay>,
    patience: Duration,
    scope: &Scope,
) -> Result<Listening> {
    let home = listening(at, key, relay, patience, scope).await?;
    let first = home.shared().map(|shared| &shared.endpoint);
    let first = first.ok_or_else(|| Error::config("there is no endpoint"))?;
    let addresses = first.bound_sockets();
    let id = EndpointId(*first.id().as_bytes());
    let direct = first.addr().ip_addrs().copied().collect();
    let status = home.status();
    let listener = Box::new(IrohListener { home, greeted: FuturesUnordered::new(), _held: held });
    Ok(Listening { bound: Bound { listeners: vec![listener], addresses }, id, direct, status })
}

/// What listens, and how it is found.
pub(crate) struct Listening {
    pub(crate) bound: Bound,
    pub(crate) id: EndpointId,
    /// Of the interfaces that it listens on.
    pub(crate) direct: Vec<SocketAddr>,
    /// Of the relay, if there is one.
    pub(crate) status: Option<watch::Receiver<RelayStatus>>,
}

type Greeting = BoxFuture<'static, Option<(Connection, Option<SocketAddr>)>>;

/// Peers whose key is proved. Their handshakes go on in `accept`, which is always being polled.
struct IrohListener {
    home: Home,
    greeted: FuturesUnordered<Greeting>,
    _held: Option<File>,
}

impl Listener for IrohListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            loop {
                let room = self.greeted.len() < MOST_GREETED;
                let idle = self.greeted.is_empty();
                tokio::select! {
                    arrived = self.home.arrival(room, idle) => self.greet(arrived),
                    Some(greeted) = self.greeted.next() => {
                        if let (Some((connection, remote)), Some(shared)) = (greeted, self.home.shared()) {
                            return Ok(arrival(connection, remote, Arc::clone(shared)));
                        }
                    }
                }
            }
        }
        .boxed()
    }
}

impl IrohListener {
    fn greet(&self, arrived: iroh::endpoint::Incoming) {
        if self.greeted.len() >= MOST_TRUSTED && !arrived.remote_addr_validated() {
            // It comes again at once, with a token that was sent to its address.
            let _ = arrived.retry();
            return;
        }
        let remote = match arrived.remote_addr() {
            IncomingAddr::Ip(address) => Some(address),
            _ => None,
        };
        let greeting = tokio::time::timeout(GREETING_LIMIT, arrived.into_future());
        let connection = greeting.map(move |done| Some((done.ok()?.ok()?, remote)));
        self.greeted.push(connection.boxed());
    }
}

fn arrival(connection: Connection, remote: Option<SocketAddr>, shared: Arc<Shared>) -> Incoming {
    let ends = ends(&connection, remote);
    let known = ends.clone();
    let handshake = async move {
        let (send, recv) = connection.accept_bi().await.map_err(|e| {
            Error::system("accept", "a peer's stream", io::Error::from(e)).at(Phase::Tcp)
        })?;
        let io = Box::new(QuicStream::new(send, recv, connection, shared));
        Ok(Connected { io, ends: known })
    };
    Incoming { ends, handshake: handshake.boxed() }
}

/// `remote` is where the peer was when it arrived; it may move.
fn ends(connection: &Connection, remote: Option<SocketAddr>) -> Ends {
    let endpoint = Some(EndpointId(*connection.remote_id().as_bytes()));
    Ends { remote, local: None, transport: Transport::Iroh.as_str(), endpoint }
}

/// An endpoint id: 64 hex digits, as it is printed, or 52 signs of base32 (RFC 4648, without padding) or of z-base-32.
fn parse_id(text: &str) -> Result<PublicKey> {
    let plain = text.trim().to_ascii_lowercase();
    // 256 bits leave four zeros in the last of 52 signs, and the two alphabets spell those differently.
    let parsed = match plain.len() == 52 && plain.ends_with(['y', 'o']) {
        true => PublicKey::from_z32(&plain),
        false => plain.parse(),
    };
    parsed.map_err(|e| Error::config(format!("peer {text:?} is no endpoint id: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_id_may_be_written_in_three_ways() {
        for _ in 0..64 {
            let id = iroh::SecretKey::generate().public();
            let base32 = data(id.as_bytes(), b"abcdefghijklmnopqrstuvwxyz234567");
            for text in [id.to_string(), id.to_string().to_uppercase(), base32, id.to_z32()] {
                assert_eq!(parse_id(&text).unwrap(), id, "{text}");
            }
        }
        for text in ["", "x", "host:22", &"0".repeat(63), &"z".repeat(64)] {
            assert!(parse_id(text).is_err(), "{text:?} was accepted");
        }
    }

    fn data(bytes: &[u8], alphabet: &[u8; 32]) -> String {
        let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
        let sign = |at: usize| (0..5).fold(0, |sum, bit_of| sum << 1 | bit(at * 5 + bit_of));
        (0..52).map(|at| char::from(alphabet[usize::from(sign(at))])).collect()
    }

    #[test]
    fn a_peer_must_be_somewhere() {
        let id = iroh::SecretKey::generate().public().to_string();
        let here = [SocketAddr::from(([127, 0, 0, 1], 1))];
        let proxy: Proxy = "http://proxy:1".parse().unwrap();
        let no_bridge: StartBridge = |_, _, _| async { Err(Error::config("none")) }.boxed();
        let proxy = || Some((proxy.clone(), no_bridge));
        let relay = || Some(Relay::new("https://relay.example", None).unwrap());
        assert!(IrohWay::new(&id, &here, None, None).is_ok());
        assert!(IrohWay::new(&id, &[], relay(), proxy()).is_ok());
        assert!(IrohWay::new(&id, &[], None, None).is_err());
        assert!(IrohWay::new(&id, &here, None, proxy()).is_err());
        assert!(Relay::new("relay.example", None).is_err());
        assert!(IrohWay::new("no id", &here, None, None).is_err());
    }
}
