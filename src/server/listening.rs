//! Where a server listens, by each of its transports, and how clients are told of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::sync::watch;

use super::ServeOptions;
#[cfg(feature = "iroh")]
use crate::auth::endpoint_key;
use crate::config::{Place, Places, RelayStatus, Transport};
use crate::error::{Error, Result};
use crate::io::EndpointId;
use crate::listen::Listener;
use crate::scope::Scope;
#[cfg(feature = "iroh")]
use crate::transport::iroh::{Relay, listen as listen_as_peer};
use crate::transport::{Arrival, Bound, Inward, listen};

/// Where a server is to be found.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// With real ports.
    pub(super) listening: Vec<(Transport, SocketAddr)>,
    pub(super) endpoint: Option<EndpointId>,
    /// Where `endpoint` is besides, when it listens on a wildcard address.
    direct: Vec<SocketAddr>,
    /// The relay of `endpoint`.
    relay: Option<String>,
    /// How that stands.
    pub(super) status: Option<watch::Receiver<RelayStatus>>,
}

impl Bindings {
    /// The first place, for a client that is to expect `host_key`; `path` is that of a WebSocket, unless it is the usual one.
    pub(super) fn connection_string(&self, host_key: &str, path: &str) -> String {
        let first = self.listening.first().map(|(transport, at)| (*transport, reachable(*at)));
        match (first, self.endpoint) {
            (Some((Transport::Iroh, _)), Some(id)) => {
                let text = format!("alknet://{id}?host-key={host_key}&transport=iroh");
                let listening = self.listening.iter().filter(|(by, _)| *by == Transport::Iroh);
                let own = listening.map(|(_, at)| reachable(*at)).collect::<Vec<_>>();
                let more = self.direct.iter().copied().filter(|at| !own.contains(at));
                let all = own.iter().copied().chain(more);
                let text = all.fold(text, |text, at| format!("{text}&address={at}"));
                match &self.relay {
                    Some(relay) => format!("{text}&relay={relay}"),
                    None => text,
                }
            }
            (Some((Transport::Tcp, at)), _) => format!("alknet://{at}?host-key={host_key}"),
            (Some((other, at)), _) => {
                format!("alknet://{at}{path}?host-key={host_key}&transport={other}")
            }
            (None, _) => format!("alknet://?host-key={host_key}"),
        }
    }
}

/// A wildcard address as loopback: the only one that is known to lead here.
fn reachable(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, at.port())
}

/// All of them, or none.
pub(super) async fn bind_all(
    options: &ServeOptions,
    ports: &[Places],
    settings: &Inward,
    scope: &Scope,
) -> Result<(Vec<Box<dyn Listener<Arrival>>>, Bindings)> {
    let mut listeners = Vec::new();
    let mut all = Bindings { relay: options.iroh_relay.clone(), ..Bindings::default() };
    for port in ports {
        let place = &port.first;
        let bound = match place.transport {
            Transport::Iroh if all.endpoint.is_some() => {
                return Err(Error::config(
                    "a server has one endpoint id: give one address for iroh",
                ));
            }
            Transport::Iroh => listen_by_iroh(options, place, scope, &mut all).await?,
            _ => listen(port, settings).await?,
        };
        listeners.extend(bound.listeners);
        all.listening.extend(bound.addresses.into_iter().map(|address| (place.transport, address)));
    }
    if listeners.is_empty() {
        return Err(Error::config("there is no address to listen on"));
    }
    Ok((listeners, all))
}

#[cfg(feature = "iroh")]
async fn listen_by_iroh(
    options: &ServeOptions,
    place: &Place,
    scope: &Scope,
    all: &mut Bindings,
) -> Result<Bound<Arrival>> {
    let (path, insecure) = (options.iroh_key.clone(), options.insecure_permissions);
    let own = scope.blocking(move || endpoint_key(path.as_deref(), insecure)).await??;
    let ca = options.tls_ca.clone();
    let read = move || ca.map(|source| source.contents(false)).transpose();
    let ca = scope.blocking(read).await??;
    let relay = options.iroh_relay.as_deref();
    let relay = relay.map(|url| Relay::new(url, ca.as_ref().map(|pem| &pem[..]))).transpose()?;
    let key = (&*own.secret, own.held);
    let patience = options.limits.relay_timeout;
    let found = listen_as_peer(&place.at, key, relay, patience, scope).await?;
    (all.endpoint, all.direct, all.status) = (Some(found.id), found.direct, found.status);
    Ok(found.bound.plain())
}

#[cfg(not(feature = "iroh"))]
async fn listen_by_iroh(
    _options: &ServeOptions,
    _place: &Place,
    _scope: &Scope,
    _all: &mut Bindings,
) -> Result<Bound<Arrival>> {
    Err(crate::transport::no_iroh())
}
