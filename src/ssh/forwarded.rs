//! A client's remote forwards: what it asked the server to listen on, and the channels that come of it. All others are refused.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use russh::ChannelOpenFailure;
use russh::client::{ChannelOpenHandle, Msg};
use tokio::sync::mpsc;

use super::core::Core;
use super::flush::Writer;
use super::open::{Opener, no_udp};
use super::opening::{Ask, Opening};
use super::session::{Info, Session};
use crate::config::Bind;
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Ends;
use crate::listen::{Incoming, Listener, Request};
use crate::target::{Target, udp_name};

/// Channels of one forward that wait to be taken: as many as may wait for a server's answer (`Limits::max_pending_per_session`), and
/// more than may come in a second.
const QUEUE: usize = 128;

/// Channels that a server may open in a second (reference table: a server that opens channels).
const PER_SECOND: u32 = 100;

/// Channels kept while the answer to the request that they are of is still to be heard.
const PARKED: usize = 16;

/// Longest wait for the answer to a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Where a server listens: address as asked for and real port, or path and 0.
type Place = (String, u32);

/// A pending channel, and who comes.
type Arrival = (Option<SocketAddr>, Box<Opening<Msg>>);

/// See the module.
#[derive(Default)]
pub(super) struct Forwarded {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted: HashMap<Place, mpsc::Sender<Arrival>>,
    /// Addresses of requests for any port whose answer is still to come: a server may open channels right behind it.
    asking: Vec<String>,
    parked: Vec<(Place, Arrival)>,
    second: Option<Instant>,
    count: u32,
}

impl State {
    fn is_too_fast(&mut self) -> bool {
        let now = Instant::now();
        match self.second {
            Some(began) if now - began < Duration::from_secs(1) => self.count += 1,
            _ => (self.second, self.count) = (Some(now), 1),
        }
        self.count > PER_SECOND
    }

    /// Hands a channel on, keeps it for a moment, or gives it back with the reason.
    fn place(&mut self, at: Place, arrival: Arrival) -> Result<(), (Arrival, &'static str, u32)> {
        if let Some(queue) = self.wanted.get(&at) {
            let full = "connections are not taken fast enough";
            return queue.try_send(arrival).map_err(|e| (e.into_inner(), full, 4));
        }
        if self.asking.contains(&at.0) && self.parked.len() < PARKED {
            self.parked.push((at, arrival));
            return Ok(());
        }
        Err((arrival, "this was not asked for", 1))
    }
}

impl Forwarded {
    /// Takes a channel that a server opens, if it was asked for.
    pub(super) async fn take(
        &self,
        core: &Arc<Core>,
        at: (&str, u32),
        origin: Option<SocketAddr>,
        channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
    ) -> Result<(), russh::Error> {
        let id = channel.id();
        let (incoming, writer) = channel.split();
        let writer = Writer::Client(writer);
        let (core, info) = (Arc::clone(core), Info::default());
        let ask = Ask::Open { id, incoming, writer, reply };
        let opening = Opening { core, info, ask, place: None, room: None };
        let placed = {
            let mut state = self.state.lock();
            let arrival = (origin, Box::new(opening));
            match state.is_too_fast() {
                true => Err((arrival, "too many channels in a second", 4)),
                false => state.place((at.0.to_owned(), at.1), arrival),
            }
        };
        if let Err(((_, opening), reason, code)) = placed {
            let reason = reason.to_owned();
            let Opening { core, ask, .. } = *opening;
            ask.reject(&core, ChannelOpenFailure::Other { code, reason }).await;
        }
        Ok(())
    }

    fn expect(&self, at: Place) -> mpsc::Receiver<Arrival> {
        let (queue, arrivals) = mpsc::channel(QUEUE);
        self.state.lock().wanted.insert(at, queue);
        arrivals
    }

    /// The answer of a request for any port has come: what was parked for it goes where it belongs.
    fn answered(&self, address: &str) {
        let mut state = self.state.lock();
        if let Some(at) = state.asking.iter().position(|asked| asked == address) {
            state.asking.swap_remove(at);
        }
        let parked = std::mem::take(&mut state.parked);
        let left: Vec<_> =
            parked.into_iter().filter_map(|(at, arrival)| state.place(at, arrival).err()).collect();
        drop(state);
        // Dropped, they are refused.
        drop(left);
    }

    fn forget(&self, at: &Place) {
        self.state.lock().wanted.remove(at);
    }
}

/// The answer to channels of all other kinds.
pub(super) async fn refuse(reply: ChannelOpenHandle) -> Result<(), russh::Error> {
    let reason = "this client takes no channels".to_owned();
    reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
    Ok(())
}

/// The originator of a channel, when it is an address.
pub(super) fn origin(address: &str, port: u32) -> Option<SocketAddr> {
    Some(SocketAddr::new(address.parse().ok()?, u16::try_from(port).ok()?))
}

/// A listener at the server's end: each connection to it is a request for one target. Dropped, it is cancelled.
pub(crate) struct Remote {
    opener: Opener,
    forwarded: Arc<Forwarded>,
    at: Place,
    is_path: bool,
    arrivals: mpsc::Receiver<Arrival>,
    target: Target,
}

impl Session {
    /// Asks the server to listen; connections want `target`.
    ///
    /// # Errors
    /// `ERR_ALKNET_CHANNEL_REJECTED` when the server will not; `ETIMEDOUT`; why the session was lost.
    pub(crate) async fn listen(&self, listen: &Bind, target: &Target) -> Result<Remote> {
        let opener = self.opener();
        let (name, port, is_path) = match listen {
            // Loopback, in the words of RFC 4254 §7.1.
            Bind::Port { host: None, port } => ("localhost".to_owned(), *port, false),
            Bind::Port { host: Some(host), port } if host == "*" => (String::new(), *port, false),
            Bind::Port { host: Some(host), port } => (host.clone(), *port, false),
            Bind::Unix(path) => (path.clone(), 0, true),
        };
        let name = match target {
            Target::Udp(_) if !opener.core.peer_is_alknet() => {
                return Err(no_udp(&format!("listen {listen}")));
            }
            Target::Udp(_) => udp_name(&name),
            _ => name,
        };
        let forwarded = Arc::clone(&self.forwarded);
        let known =
            (is_path || port != 0).then(|| forwarded.expect((name.clone(), u32::from(port))));
        if known.is_none() {
            forwarded.state.lock().asking.push(name.clone());
        }
        let asked = ask(&opener, listen, &name, port, is_path).await;
        let (at, arrivals) = match (asked, known) {
            (Ok(_), Some(arrivals)) => ((name, u32::from(port)), arrivals),
            (Ok(bound), None) => {
                let at = (name.clone(), bound);
                let arrivals = forwarded.expect(at.clone());
                forwarded.answered(&name);
                (at, arrivals)
            }
            (Err(why), known) => {
                match known {
                    Some(_) => forwarded.forget(&(name, u32::from(port))),
                    None => forwarded.answered(&name),
                }
                return Err(why);
            }
        };
        Ok(Remote { opener, forwarded, at, is_path, arrivals, target: target.clone() })
    }
}

async fn ask(opener: &Opener, listen: &Bind, name: &str, port: u16, is_path: bool) -> Result<u32> {
    let handle = &opener.handle;
    let asking = async {
        match is_path {
            true => handle.streamlocal_forward(name).await.map(|()| 0),
            false => handle.tcpip_forward(name, u32::from(port)).await,
        }
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(ANSWER_LIMIT, asking) => answer,
        () = opener.core.ended() => return Err(opener.lost()),
    };
    match answer {
        Ok(Ok(bound)) => Ok(bound),
        Ok(Err(russh::Error::RequestDenied)) => {
            let message = format!("the server does not listen on {listen} for this client");
            Err(Error::new(Code::ChannelRejected, message)
                .at(Phase::Listen)
                .refused(Refusal::Prohibited)
                .hint("the port may be taken, or remote forwards not be allowed there"))
        }
        Ok(Err(_)) => Err(opener.lost()),
        Err(_) => {
            let message = format!("the server did not answer the request to listen on {listen}");
            Err(Error::new(Code::System("ETIMEDOUT"), message).at(Phase::Listen))
        }
    }
}

impl Remote {
    /// The real port at the server's end; 0 for a path.
    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.at.1).unwrap_or_default()
    }
}

impl Listener<Request> for Remote {
    /// An error says that the session is over, for good.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Request>>> {
        async {
            let arrival = tokio::select! {
                arrival = self.arrivals.recv() => arrival,
                // Whoever uses this listener is told of the end of the session otherwise.
                () = self.opener.core.ended() => std::future::pending().await,
            };
            let (origin, mut opening) = arrival.ok_or(io::ErrorKind::NotConnected)?;
            opening.info =
                Info { target: self.target.to_string(), ..Info::clone(&self.opener.info) };
            let Info { remote, local, transport, .. } = opening.info;
            let request = Request { target: self.target.clone(), origin, answer: opening };
            let handshake = std::future::ready(Ok(request)).boxed();
            Ok(Incoming { ends: Ends { remote, local, transport, ..Ends::default() }, handshake })
        }
        .boxed()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.forwarded.forget(&self.at);
        if self.opener.core.is_ended() {
            return;
        }
        let (opener, (name, port), is_path) = (self.opener.clone(), self.at.clone(), self.is_path);
        self.opener.core.scope().spawn_to_end(async move {
            let cancelling = async {
                match is_path {
                    true => opener.handle.cancel_streamlocal_forward(name).await,
                    false => opener.handle.cancel_tcpip_forward(name, port).await,
                }
            };
            let _ = tokio::time::timeout(ANSWER_LIMIT, cancelling).await;
        });
    }
}
