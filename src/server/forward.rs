//! Composition of what a server offers of forwards: a policy → the dialer of its clients' opens, and the listeners they ask for.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::config::{Bind, Family};
use crate::dial::{Dialer, Guard, Guarded, Patience, Proxy};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::forward::Forward;
use crate::listen::{Fixed, Request};
use crate::scope::Scope;
use crate::ssh::{Forwarding, Info, Listening, Wanted};
use crate::target::{HostPort, Target};
use crate::transport::{Bound, UDP_IDLE, bind, bind_udp};

/// Streams of all sessions that lead elsewhere (reference table: channels per server).
const MAX_FORWARDED: usize = 16_384;

/// Connections of one listener (reference table: SOCKS5, and the same here).
const MAX_CONNECTIONS: usize = 1024;

/// The net below the dialer's own limits, and how long a client may take to accept a connection.
const DIAL_LIMIT: Duration = Duration::from_secs(20);

/// How long a new session waits until the listener of an older one is gone.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(1);

/// What a server offers of forwards. Whatever it says, these are no targets: addresses of no host, multicast, port 0 and the
/// server's own listeners.
#[derive(Clone, Debug)]
pub struct ForwardPolicy {
    /// Streams to TCP addresses (`ssh -L`). Default true.
    pub tcp: bool,
    /// Flows of UDP, of alknet clients (`-L udp:…`). Default true.
    pub udp: bool,
    /// Streams to Unix sockets, with the rights of this process. Default false.
    pub unix: bool,
    /// Link-local addresses as targets, and the metadata services of clouds. Default false.
    pub link_local: bool,
    /// No targets but public addresses: neither this machine nor its own networks. Default false.
    pub public_only: bool,
    /// Listeners for clients (`ssh -R`). Default false. On loopback, with ports from 1024.
    pub remote: bool,
    /// These may be on any address (OpenSSH: GatewayPorts). Default false.
    pub gateway_ports: bool,
}

impl Default for ForwardPolicy {
    fn default() -> Self {
        Self {
            tcp: true,
            udp: true,
            unix: false,
            link_local: false,
            public_only: false,
            remote: false,
            gateway_ports: false,
        }
    }
}

/// What `policy` offers, on a server that listens at `own`.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for a policy that cannot be held when `proxy` looks names up.
pub(super) fn offer(
    policy: &ForwardPolicy,
    own: &[SocketAddr],
    proxy: Option<&Proxy>,
    scope: &Scope,
) -> Result<Arc<dyn Forwarding>> {
    if policy.public_only && proxy.is_some() {
        let why = "publicOnly and a proxy contradict each other";
        return Err(Error::config(format!(
            "{why}: nobody here sees what the proxy's names lead to"
        )));
    }
    let guard = Guard {
        link_local: policy.link_local,
        public_only: policy.public_only,
        unix: policy.unix,
        own: own.to_vec(),
        patience: Patience::default(),
    };
    let dialer = Arc::new(Guarded { guard, proxy: proxy.cloned() });
    Ok(Arc::new(Offer {
        policy: policy.clone(),
        forward: Forward::new(dialer, DIAL_LIMIT, MAX_FORWARDED),
        scope: scope.clone(),
        held: Arc::default(),
        count: AtomicU64::new(0),
    }))
}

struct Offer {
    policy: ForwardPolicy,
    forward: Arc<Forward>,
    /// That of the server.
    scope: Scope,
    held: Arc<Mutex<HashMap<Place, Holder>>>,
    count: AtomicU64,
}

/// What a listener has to itself.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp(u16),
    Udp(u16),
    Unix(String),
}

impl Place {
    /// Where `wanted` is, once its port is known.
    fn of(wanted: Wanted<'_>, port: u16) -> Self {
        match wanted {
            Wanted::Tcp(..) => Self::Tcp(port),
            Wanted::Udp(..) => Self::Udp(port),
            Wanted::Unix(path) => Self::Unix(path.to_owned()),
        }
    }
}

/// Whose a listener is.
struct Holder {
    number: u64,
    user: String,
    key_fingerprint: String,
    session_id: String,
    listening: Scope,
}

impl Forwarding for Offer {
    fn open(&self, request: Request, _who: &Info) {
        let (forward, scope) = (Arc::clone(&self.forward), self.scope.clone());
        let refused = match request.target {
            Target::Tcp(_) if !self.policy.tcp => Some("streams to TCP addresses"),
            Target::Udp(_) if !self.policy.udp => Some("flows of UDP"),
            _ => None,
        };
        self.scope.spawn_to_end(async move {
            match refused {
                None => drop(scope.until_cancelled(forward.answer(request)).await),
                Some(what) => request.answer.refuse(prohibited(what)).await,
            }
        });
    }

    fn listen<'a>(
        &'a self,
        wanted: Wanted<'a>,
        back: Arc<dyn Dialer>,
        who: &'a Info,
    ) -> BoxFuture<'a, Result<Listening>> {
        async move {
            let place = self.place(wanted)?;
            let forward = Forward::new(back, DIAL_LIMIT, MAX_CONNECTIONS);
            let bound = match bind_for(wanted, &place, &forward).await {
                Err(e) if e.code() == Code::System("EADDRINUSE") => {
                    self.take_over(wanted, who).await.ok_or(e)?;
                    bind_for(wanted, &place, &forward).await?
                }
                bound => bound?,
            };
            Ok(self.start(wanted, bound, forward, who))
        }
        .boxed()
    }
}

impl Offer {
    /// Where to listen for a client that wants `wanted`: RFC 4254 §7.1, but within the policy. Names are not looked up.
    fn place(&self, wanted: Wanted<'_>) -> Result<Bind> {
        if !self.policy.remote {
            return Err(prohibited("listeners for clients"));
        }
        let (address, port) = match wanted {
            Wanted::Tcp(_, 1..1024) | Wanted::Udp(_, 1..1024) => {
                return Err(prohibited("ports below 1024"));
            }
            Wanted::Udp(..) if !self.policy.udp => return Err(prohibited("flows of UDP")),
            Wanted::Tcp(address, port) | Wanted::Udp(address, port) => (address, port),
            Wanted::Unix(path) => {
                return match self.policy.unix {
                    true => Target::from_path(path).map(|_| Bind::Unix(path.to_owned())),
                    false => Err(prohibited("Unix sockets")),
                };
            }
        };
        let any = self.policy.gateway_ports;
        let host = match address {
            "localhost" => None,
            // Many clients ask for every address and mean any.
            "" => any.then(String::new),
            "*" if any => Some(String::new()),
            _ => match address.parse::<IpAddr>() {
                Ok(ip) if any || ip.is_loopback() => Some(address.to_owned()),
                _ => return Err(prohibited("addresses other than loopback")),
            },
        };
        Ok(Bind::Port { host, port })
    }

    /// Ends the listener that is in the way, if it is that of an older session of the same user and key: a client that comes back
    /// before its lost session was noticed would find its port taken by itself.
    async fn take_over(&self, wanted: Wanted<'_>, who: &Info) -> Option<()> {
        let place = match wanted {
            Wanted::Tcp(_, port) | Wanted::Udp(_, port) => Place::of(wanted, port),
            Wanted::Unix(_) => Place::of(wanted, 0),
        };
        let listening = {
            let held = self.held.lock();
            let holder = held.get(&place)?;
            let same = holder.user == who.user && holder.key_fingerprint == who.key_fingerprint;
            (same && holder.session_id != who.session_id).then(|| holder.listening.clone())?
        };
        listening.cancel();
        listening.join(TAKEOVER_LIMIT).await;
        tracing::info!("a newer session of the same key takes a listener over");
        Some(())
    }

    fn start(
        &self,
        wanted: Wanted<'_>,
        bound: Bound,
        forward: Arc<Forward>,
        who: &Info,
    ) -> Listening {
        let port = bound.addresses.first().map_or(0, SocketAddr::port);
        let at = |host: &str| HostPort { host: host.to_owned(), port };
        let target = match wanted {
            Wanted::Tcp(host, _) => Target::Tcp(at(host)),
            Wanted::Udp(host, _) => Target::Udp(at(host)),
            Wanted::Unix(path) => Target::Unix(path.to_owned()),
        };
        let place = Place::of(wanted, port);
        // The listener ends with its registration; connections that came through it do not.
        let listening = Scope::new();
        for inner in bound.listeners {
            let fixed = Fixed { inner, target: target.clone() };
            listening.spawn(Arc::clone(&forward).run(Box::new(fixed), self.scope.clone()));
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let holder = Holder {
            number,
            user: who.user.clone(),
            key_fingerprint: who.key_fingerprint.clone(),
            session_id: who.session_id.clone(),
            listening: listening.clone(),
        };
        self.held.lock().insert(place.clone(), holder);
        let held = Arc::clone(&self.held);
        Listening { port, _guard: Box::new(Registration { held, place, number, listening }) }
    }
}

/// Listens at `place` for what comes to be `forward`ed.
async fn bind_for(wanted: Wanted<'_>, place: &Bind, forward: &Forward) -> Result<Bound> {
    match wanted {
        Wanted::Udp(..) => bind_udp(place, Family::Any, UDP_IDLE, forward.dropped()).await,
        _ => bind(place, true, Family::Any).await,
    }
}

/// Ends a listener when dropped.
struct Registration {
    held: Arc<Mutex<HashMap<Place, Holder>>>,
    place: Place,
    number: u64,
    listening: Scope,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.listening.cancel();
        let mut held = self.held.lock();
        if held.get(&self.place).is_some_and(|holder| holder.number == self.number) {
            held.remove(&self.place);
        }
    }
}

fn prohibited(what: &str) -> Error {
    Error::new(Code::ChannelRejected, format!("{what} are not offered here"))
        .at(Phase::Channel)
        .refused(Refusal::Prohibited)
}
