//! Transports: each turns an address into a stream, and a port into arrivals. TCP legs come from a [`Dialer`], so that every
//! transport goes through proxies too.

#[cfg(feature = "acme")]
mod acme;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "ws")]
mod front;
#[cfg(feature = "iroh")]
pub(crate) mod iroh;
#[cfg(feature = "ws")]
mod pages;
mod ports;
pub(crate) mod tcp;
#[cfg(feature = "tls")]
mod tls;
pub(crate) mod udp;
#[cfg(unix)]
pub(crate) mod unix;
#[cfg(feature = "ws")]
mod ws;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::config::{Bind, Family, Place, Places, TlsVersion, Transport};
use crate::dial::Dialer;
use crate::error::{Error, Phase, Result};
use crate::io::Connected;
use crate::listen::{Incoming, Listener};

#[cfg(feature = "acme")]
pub(crate) use acme::Acme;
#[cfg(feature = "tls")]
pub(crate) use certificate::{Certificate, Https};
#[cfg(feature = "tls")]
pub(crate) use tls::{TlsTrust, https};

/// Silence after which a flow of datagrams is over, unless asked otherwise (reference table: UDP idle).
pub(crate) const UDP_IDLE: Duration = Duration::from_secs(60);

/// A way to a server. Every dial is a new stream.
pub(crate) trait Way: Send + Sync + 'static {
    fn transport(&self) -> Transport;

    /// Returns once the far end has confirmed; dropping the future cancels. `phase` follows what is going on.
    fn dial<'a>(&'a self, phase: &'a Mutex<Phase>) -> BoxFuture<'a, Result<Connected>>;
}

/// What a client's transports need besides an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outward {
    #[cfg(feature = "tls")]
    pub(crate) trust: TlsTrust,
}

impl Outward {
    /// PEM certificates of authorities that the user named.
    #[cfg(feature = "iroh")]
    pub(crate) fn ca(&self) -> Option<&[u8]> {
        #[cfg(feature = "tls")]
        return self.trust.ca.as_deref();
        #[cfg(not(feature = "tls"))]
        None
    }
}

/// What a server's transports need besides an address.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "TCP needs nothing of it"))]
pub(crate) struct Inward {
    #[cfg(feature = "tls")]
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// The oldest TLS that is spoken.
    pub(crate) least: TlsVersion,
    /// Who does not speak SSH on a TLS port sees a web server.
    pub(crate) stealth: bool,
    /// Names by which a WebSocket's server may be called; none: any.
    pub(crate) hosts: Vec<String>,
    /// Origins of web pages that may open the WebSocket.
    pub(crate) origins: Vec<String>,
}

/// The way to `place`, whose TCP legs are dialled by `leg`.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for a transport that this build does not have, or settings of it that cannot be used.
pub(crate) fn way(
    place: &Place,
    leg: &Arc<dyn Dialer>,
    settings: &Outward,
) -> Result<Arc<dyn Way>> {
    let (at, leg) = (place.at.clone(), Arc::clone(leg));
    match place.transport {
        Transport::Tcp => Ok(Arc::new(tcp::TcpWay { at, leg })),
        #[cfg(feature = "tls")]
        Transport::Tls => {
            let tls = tls::Tls::new(&settings.trust, tls::ALPN)?;
            Ok(Arc::new(tls::TlsWay { at, leg, tls }))
        }
        #[cfg(feature = "ws")]
        Transport::Ws => Ok(Arc::new(ws::WsWay {
            at,
            path: place.path.clone(),
            leg,
            #[cfg(feature = "tls")]
            tls: None,
        })),
        #[cfg(feature = "tls")]
        Transport::Wss => {
            let tls = Some(tls::Tls::new(&settings.trust, tls::ALPN_HTTP)?);
            Ok(Arc::new(ws::WsWay { at, path: place.path.clone(), leg, tls }))
        }
        Transport::Iroh => Err(no_iroh()),
        #[allow(unreachable_patterns, reason = "a build with all of them has no others")]
        other => Err(absent(other, settings)),
    }
}

fn absent<T>(transport: Transport, _settings: &T) -> Error {
    Error::config(format!("this build does not have the transport {transport}"))
}

/// Listens for a server at `places`, which are one port: by one transport, or by TLS and by a WebSocket in TLS at once.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` and other system codes; `ERR_ALKNET_CONFIG` as for [`way`], and for TLS without a
/// certificate.
pub(crate) async fn listen(places: &Places, settings: &Inward) -> Result<Bound<Arrival>> {
    #[cfg(feature = "ws")]
    let front = front(places, settings)?;
    #[cfg(not(feature = "ws"))]
    if let Some(place) = places.iter().find(|place| place.transport != Transport::Tcp) {
        return Err(absent(place.transport, settings));
    }
    let (listener, address) = tcp::Tcp::bind(&places.first.at).await?;
    let inner: Box<dyn Listener> = Box::new(listener);
    #[cfg(feature = "ws")]
    if let Some(front) = front {
        let fronted = Box::new(front::Fronted { inner, front });
        return Ok(Bound { listeners: vec![fronted], addresses: vec![address] });
    }
    Ok(Bound { listeners: vec![Box::new(Plain(inner))], addresses: vec![address] })
}

/// What a port shows besides TCP itself, if it does.
#[cfg(feature = "ws")]
fn front(places: &Places, settings: &Inward) -> Result<Option<front::Front>> {
    if places.first.transport == Transport::Iroh {
        return Err(no_iroh());
    }
    let by = |wanted: &[Transport]| {
        places.iter().find(|place| wanted.contains(&place.transport)).cloned()
    };
    let direct = by(&[Transport::Tls]);
    let socket = by(&[Transport::Ws, Transport::Wss]);
    let is_tls = by(&[Transport::Tls, Transport::Wss]).is_some();
    let site = match (&socket, &direct) {
        (Some(socket), _) => {
            let mut rules = crate::http::SocketRules::new("ssh");
            rules.hosts = (!settings.hosts.is_empty()).then(|| settings.hosts.clone());
            rules.origins.clone_from(&settings.origins);
            rules.is_hidden = settings.stealth;
            Some(pages::with_socket(&socket.path, rules))
        }
        (None, Some(_)) => settings.stealth.then(pages::empty),
        (None, None) => return Ok(None),
    };
    let [direct, socket] = [direct, socket].map(|place| place.map(|place| place.transport));
    #[cfg(feature = "tls")]
    {
        let mut alpn: Vec<&[u8]> = Vec::new();
        alpn.extend(direct.map(|_| tls::ALPN));
        alpn.extend(site.as_ref().map(|_| tls::ALPN_HTTP));
        let tls = is_tls.then(|| acceptor(settings, &alpn)).transpose()?;
        Ok(Some(front::Front { tls, direct, socket, site }))
    }
    #[cfg(not(feature = "tls"))]
    match is_tls {
        true => Err(absent(Transport::Tls, settings)),
        false => Ok(Some(front::Front { direct, socket, site })),
    }
}

#[cfg(feature = "tls")]
fn acceptor(settings: &Inward, alpn: &[&[u8]]) -> Result<tokio_rustls::TlsAcceptor> {
    let certificate = settings.certificate.as_ref().ok_or_else(|| {
        Error::config("TLS needs a certificate")
            .hint("set tlsCert and tlsKey to its PEM files, or acmeDomain")
    })?;
    Arc::clone(certificate).acceptor(alpn, settings.least)
}

/// What became of who arrived.
#[cfg_attr(not(feature = "ws"), allow(dead_code, reason = "there is no web server to want"))]
pub(crate) enum Arrival {
    /// Somebody who may speak SSH.
    Stream(Connected),
    /// Somebody who wanted a web server and was served.
    Visitor,
}

/// A port where everybody who arrives may speak SSH.
pub(crate) struct Plain(pub(crate) Box<dyn Listener>);

impl Listener<Arrival> for Plain {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Arrival>>> {
        async {
            let Incoming { ends, handshake } = self.0.accept().await?;
            let handshake = async move { handshake.await.map(Arrival::Stream) };
            Ok(Incoming { ends, handshake: handshake.boxed() })
        }
        .boxed()
    }
}

/// Where the feature is on, iroh has ways and listeners of its own, for which a place is not enough.
pub(crate) fn no_iroh() -> Error {
    Error::config("this build has no iroh")
}

/// What listens for a [`Bind`], or for a server.
pub(crate) struct Bound<T = Connected> {
    pub(crate) listeners: Vec<Box<dyn Listener<T>>>,
    /// With real ports; none for a Unix socket.
    pub(crate) addresses: Vec<SocketAddr>,
}

#[cfg(feature = "iroh")]
impl Bound {
    /// For a server, where everybody who arrives may speak SSH.
    pub(crate) fn plain(self) -> Bound<Arrival> {
        let plain = |inner| -> Box<dyn Listener<Arrival>> { Box::new(Plain(inner)) };
        Bound {
            listeners: self.listeners.into_iter().map(plain).collect(),
            addresses: self.addresses,
        }
    }
}

/// Listens where a user wants it, on addresses of `family`. `replace` removes a Unix socket's file that nobody listens on.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND` and other system codes.
pub(crate) async fn bind(listen: &Bind, replace: bool, family: Family) -> Result<Bound> {
    let (host, port) = match listen {
        Bind::Port { host, port } => (host.as_deref(), *port),
        Bind::Unix(path) => return bind_unix(path, replace),
    };
    let sockets = ports::open_at(host, port, family, tcp::Tcp::open).await?;
    let addresses = sockets.iter().map(|(_, address)| *address).collect();
    let boxed = |(socket, _)| -> Box<dyn Listener> { Box::new(socket) };
    Ok(Bound { listeners: sockets.into_iter().map(boxed).collect(), addresses })
}

/// The same for UDP: each flow is an arrival, ended when it was silent for `idle`. Datagrams that are lost here are counted.
///
/// # Errors
/// Those of [`bind`]; `ERR_ALKNET_CONFIG` for a path.
pub(crate) async fn bind_udp(
    listen: &Bind,
    family: Family,
    idle: Duration,
    dropped: &Arc<AtomicU64>,
) -> Result<Bound> {
    let Bind::Port { host, port } = listen else {
        return Err(Error::config("a UDP forward listens on a port, not on a socket path"));
    };
    let sockets = ports::open_at(host.as_deref(), *port, family, udp::open).await?;
    let addresses = sockets.iter().map(|(_, address)| *address).collect();
    let boxed = |(socket, _)| -> Box<dyn Listener> {
        Box::new(udp::Udp::new(socket, idle, Arc::clone(dropped)))
    };
    Ok(Bound { listeners: sockets.into_iter().map(boxed).collect(), addresses })
}

#[cfg(unix)]
fn bind_unix(path: &str, replace: bool) -> Result<Bound> {
    let listener = unix::Unix::bind(path, replace)?;
    Ok(Bound { listeners: vec![Box::new(listener)], addresses: Vec::new() })
}

#[cfg(not(unix))]
fn bind_unix(path: &str, _replace: bool) -> Result<Bound> {
    Err(Error::config(format!("listen {path:?}: this system has no Unix sockets")))
}
