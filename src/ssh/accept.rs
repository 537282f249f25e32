//! A server's session from its first byte to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::{Disconnect, server};

use super::core::{Core, EndGuard, session_error};
use super::elastic::Elastic;
use super::link::Link;
use super::login::Identity;
use super::prelude::{Unheard, prelude};
use super::server::{Handler, Policy};
use super::session::Info;
use super::written::Inbox;
use crate::auth::{Member, Offence, Place};
use crate::error::{Code, Error, Phase};
use crate::io::{Connected, EndpointId, Ends};
use crate::scope::Scope;

/// How long a session may take to send its disconnect and close: with all else, closing a server takes no more than 2 s.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

/// A session's place among those not logged in, until it logs in or ends; shared by those who see to either.
#[derive(Clone)]
pub(super) struct Door(Arc<Mutex<Hall>>);

struct Hall {
    place: Option<Place>,
    /// The client has begun to log in, and none of its keys was judged so far.
    is_unjudged: bool,
}

impl Door {
    fn new(place: Place) -> Self {
        Self(Arc::new(Mutex::new(Hall { place: Some(place), is_unjudged: false })))
    }

    /// Notes that the client begins to log in.
    pub(super) fn knock(&self) {
        self.0.lock().is_unjudged = true;
    }

    /// Notes that a key of the client is judged here, and so told of in the log.
    pub(super) fn judge(&self) {
        self.0.lock().is_unjudged = false;
    }

    /// Notes what the session is to be blamed for, should it not log in.
    pub(super) fn blame(&self, offence: Offence) {
        if let Some(place) = &mut self.0.lock().place {
            place.blame(offence);
        }
    }

    /// Whether one more line about the client may be logged now.
    pub(super) fn may_log(&self) -> bool {
        self.0.lock().place.as_ref().is_none_or(Place::may_log)
    }

    /// The key by which the transport knows the client.
    pub(super) fn endpoint(&self) -> Option<EndpointId> {
        self.0.lock().place.as_ref().and_then(Place::endpoint)
    }

    /// Exchanges the place for one among the sessions. `Err` says why there is none.
    pub(super) fn log_in(&self, key: &str) -> Result<Option<Member>, &'static str> {
        let mut hall = self.0.lock();
        let Some(place) = &mut hall.place else { return Ok(None) };
        let member = place.log_in(key)?;
        hall.place = None;
        Ok(Some(member))
    }

    fn has_passed(&self) -> bool {
        self.0.lock().place.is_none()
    }

    /// Whether the client has tried to log in and nothing of it was ever judged here: russh refuses certificates that are not valid now,
    /// or not well signed, by itself.
    fn was_refused_unseen(&self) -> bool {
        let hall = self.0.lock();
        hall.place.is_some() && hall.is_unjudged
    }
}

/// Runs one session from its first byte to its end. Never fails: what happens is logged and ends this session only.
pub(crate) async fn accept(
    mut transport: Connected,
    policy: Arc<Policy>,
    place: Place,
    scope: Scope,
) {
    let deadline = tokio::time::sleep(policy.limits.login_timeout);
    tokio::pin!(deadline);
    let door = Door::new(place);
    let prelude = tokio::select! {
        heard = prelude(&mut transport.io) => heard,
        () = &mut deadline => Err(Unheard::Slow),
        () = scope.cancelled() => return,
    };
    let prelude = match prelude {
        Ok(prelude) => prelude,
        Err(why) => return unheard(&door, &why),
    };
    let link = Arc::new(Link::default());
    let core = Core::new(scope.clone(), Arc::clone(&link), policy.window);
    let config = policy.configs.of_session(prelude.is_strict);
    let silence = policy.configs.silence();
    let source = transport.ends.remote.map(|remote| remote.ip());
    let identity = Arc::new(Identity::new(Arc::clone(&policy.keys), source));
    let mut lists = policy.keys.watch();
    let info = blank_info(&transport.ends, &policy);
    let guard = EndGuard(Arc::clone(&core));
    let handler = Handler::new(guard, policy, door.clone(), Arc::clone(&identity), info);
    let io = Elastic::resume(transport.io, Arc::clone(&link), silence, prelude);
    let mut running = match server::run_stream(config, io, handler).await {
        Ok(running) => running,
        Err(e) => return ended(&core, &door, &e),
    };
    core.set_inbox(Inbox::Server(running.handle()));
    let mut undecided = true;
    loop {
        tokio::select! {
            result = &mut running => {
                if let Err(e) = result {
                    ended(&core, &door, &e);
                }
                break;
            }
            () = &mut deadline, if undecided => {
                undecided = false;
                if !door.has_passed() {
                    unheard(&door, &Unheard::Slow);
                    break;
                }
            }
            text = identity.revoked(&mut lists) => {
                core.set_failure(Error::new(Code::SessionClosed, text.as_str()).at(Phase::Stream));
                say_goodbye(running, text).await;
                break;
            }
            () = scope.cancelled() => {
                core.set_closing();
                say_goodbye(running, "shutdown".into()).await;
                break;
            }
        }
    }
    tell_of_unseen(&door, source);
    core.end();
}

/// The line of the log that nobody has written for a client that got nowhere.
fn tell_of_unseen(door: &Door, source: Option<IpAddr>) {
    if !door.was_refused_unseen() || !door.may_log() {
        return;
    }
    let remote_addr = source.map(|source| source.to_string()).unwrap_or_default();
    let reason = "no key that could be judged: none at all, or a certificate that is not valid now";
    let endpoint = door.endpoint().map(tracing::field::display);
    // Shown as they are, without quotes: so the filter for fail2ban knows them.
    let (user, key_fingerprint, result) = ("", "", "reject");
    tracing::info!(%remote_addr, %user, %key_fingerprint, endpoint, %result, reason, "auth attempt");
}

/// Sends the client a reason, and lets the session close by itself for a while.
async fn say_goodbye(running: server::RunningSession<Handler>, text: String) {
    let handle = running.handle();
    let bye = handle.disconnect(Disconnect::ByApplication, text, String::new());
    let _ = tokio::time::timeout(CLOSE_LIMIT, async { tokio::join!(bye, running) }).await;
}

fn unheard(door: &Door, why: &Unheard) {
    let (offence, what) = match why {
        Unheard::Gone => (Offence::NoAuth, "went away without a word"),
        Unheard::Slow => (Offence::TimedOut, "login took too long"),
        Unheard::Nonsense => (Offence::Malformed, "does not speak SSH 2"),
    };
    door.blame(offence);
    if door.may_log() {
        tracing::info!(reason = what, "no SSH session");
    }
}

/// Keeps the reason of a session's end, for its streams if it has any, for its source if it has not logged in.
fn ended(core: &Core, door: &Door, error: &russh::Error) {
    core.set_failure(session_error(core, error));
    if door.has_passed() {
        return;
    }
    door.blame(offence(error));
    if door.may_log() {
        tracing::info!(error = %error, "session ended before log-in");
    }
}

/// Whether the client broke the protocol. One that went away, or speaks other algorithms, did not.
fn offence(error: &russh::Error) -> Offence {
    use russh::Error as E;
    match error {
        // So does `Elastic` end a session whose byte budget is spent.
        E::IO(e) if e.kind() == std::io::ErrorKind::InvalidData => Offence::Malformed,
        E::IO(_) | E::HUP | E::Disconnect | E::SendError | E::NoCommonAlgo { .. } => {
            Offence::NoAuth
        }
        E::Elapsed(_) | E::InactivityTimeout | E::KeepaliveTimeout | E::ConnectionTimeout => {
            Offence::TimedOut
        }
        _ => Offence::Malformed,
    }
}

fn blank_info(ends: &Ends, policy: &Policy) -> Info {
    Info {
        remote: ends.remote,
        local: ends.local,
        transport: ends.transport,
        user: String::new(),
        key_fingerprint: String::new(),
        certificate: None,
        host_key_fingerprint: policy.host_key_fingerprint.clone(),
        peer: String::new(),
        target: String::new(),
        session_id: String::new(),
        rules: Arc::default(),
    }
}
