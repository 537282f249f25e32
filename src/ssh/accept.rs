//! A server's session from its first byte to its end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::{Disconnect, server};

use super::core::{Core, EndGuard, session_error};
use super::elastic::{Elastic, Link};
use super::server::{Handler, Policy, Tickets};
use super::session::Info;
use crate::io::{Connected, Ends};
use crate::scope::Scope;

/// How long a session may take to send its disconnect and close.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Runs one session from its first byte to its end. Never fails: what happens is logged and ends this session only.
pub(crate) async fn accept(
    transport: Connected,
    policy: Arc<Policy>,
    tickets: Tickets,
    scope: Scope,
) {
    let link = Arc::new(Link::default());
    let core = Core::new(scope.clone(), Arc::clone(&link), policy.window);
    let login = Arc::new(Mutex::new(Some(tickets)));
    let handler = Handler {
        core: EndGuard(Arc::clone(&core)),
        login: Arc::clone(&login),
        place: None,
        info: Arc::new(blank_info(&transport.ends, &policy)),
        offers: 0,
        policy: Arc::clone(&policy),
    };
    let config = Arc::clone(&policy.config);
    let io = Elastic::new(transport.io, Arc::clone(&link));
    let deadline = tokio::time::sleep(policy.login_timeout);
    tokio::pin!(deadline);
    let running = tokio::select! {
        running = server::run_stream(config, io, handler) => match running {
            Ok(running) => running,
            Err(e) => return tracing::debug!(error = %e, "no SSH session"),
        },
        () = &mut deadline => return tracing::info!("login took too long"),
        () = scope.cancelled() => return,
    };
    let handle = running.handle();
    tokio::pin!(running);
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
                if login.lock().is_some() {
                    tracing::info!("login took too long");
                    link.kill();
                    break;
                }
            }
            () = scope.cancelled() => {
                core.set_closing();
                let bye = handle.disconnect(Disconnect::ByApplication, "shutdown".into(), String::new());
                let _ = tokio::time::timeout(CLOSE_LIMIT, async { drop(bye.await); (&mut running).await }).await;
                link.kill();
                break;
            }
        }
    }
    core.end();
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
