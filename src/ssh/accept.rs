//! A server's session from its first byte to its end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::Disconnect;
use russh::server;

use super::core::{Core, EndGuard, session_error};
use super::elastic::{Elastic, Link};
use super::forwarding::Forwards;
use super::login::{Attempts, Identity};
use super::server::{Handler, Policy, Tickets};
use super::session::Info;
use super::written::Inbox;
use crate::error::{Code, Error, Phase};
use crate::io::{Connected, Ends};
use crate::scope::Scope;

/// How long a session may take to send its disconnect and close: with all else, closing a server takes no more than 2 s.
const CLOSE_LIMIT: Duration = Duration::from_millis(1500);

/// Runs one session from its first byte to its end. Never fails: what happens is logged and ends this session only.
pub(crate) async fn accept(
    transport: Connected,
    policy: Arc<Policy>,
    tickets: Tickets,
    scope: Scope,
) {
    let link = Arc::new(Link::default());
    let core = Core::new(scope.clone(), Arc::clone(&link), policy.window);
    let tickets = Arc::new(Mutex::new(Some(tickets)));
    let source = transport.ends.remote.map(|remote| remote.ip());
    let keys = &policy.keys;
    let identity = Arc::new(Identity::new(Arc::clone(keys), source));
    let mut lists = keys.watch();
    let handler = Handler {
        core: EndGuard(Arc::clone(&core)),
        attempts: Attempts::new(scope.clone(), Arc::clone(keys), source, policy.max_auth_attempts),
        identity: Arc::clone(&identity),
        rules: Arc::default(),
        tickets: Arc::clone(&tickets),
        place: None,
        info: Arc::new(blank_info(&transport.ends, &policy)),
        forwards: Forwards::new(policy.forwarding.clone()),
        policy: Arc::clone(&policy),
    };
    let io = Elastic::new(transport.io, Arc::clone(&link));
    let mut deadline = std::pin::pin!(tokio::time::sleep(policy.login_timeout));
    let mut running = tokio::select! {
        running = server::run_stream(Arc::clone(&policy.config), io, handler) => match running {
            Ok(running) => running,
            Err(e) => return tracing::debug!(error = %e, "no SSH session"),
        },
        () = &mut deadline => return tracing::info!("login took too long"),
        () = scope.cancelled() => return,
    };
    core.set_inbox(Inbox::Server(running.handle()));
    let mut undecided = true;
    loop {
        tokio::select! {
            result = &mut running => {
                if let Err(e) = result {
                    core.set_failure(session_error(&core, &e));
                }
                break;
            }
            () = &mut deadline, if undecided => {
                undecided = false;
                if tickets.lock().is_some() {
                    tracing::info!("login took too long");
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
    core.end();
}

/// Sends the client a reason, and lets the session close by itself for a while.
async fn say_goodbye(running: server::RunningSession<Handler>, text: String) {
    let handle = running.handle();
    let bye = handle.disconnect(Disconnect::ByApplication, text, String::new());
    let _ = tokio::time::timeout(CLOSE_LIMIT, async { tokio::join!(bye, running) }).await;
}

fn blank_info(ends: &Ends, policy: &Policy) -> Info {
    Info {
        remote: ends.remote,
        local: ends.local,
        transport: ends.transport,
        user: String::new(),
        key_fingerprint: String::new(),
        host_key_fingerprint: policy.host_key_fingerprint.clone(),
        peer: String::new(),
        target: String::new(),
        session_id: String::new(),
    }
}
