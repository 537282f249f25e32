//! Who arrives: let in or not, led through the handshakes, and told of in the log.

use std::sync::Arc;
use std::time::Instant;

use tracing::field::display;

use crate::auth::{Gate, Offence};
use crate::io::{EndpointId, Ends};
use crate::listen::{Incoming, Listener, serve as accept_loop};
use crate::scope::Scope;
use crate::ssh::{self, Policy};
use crate::transport::Arrival;

/// Accepts from all listeners until the scope that this returns is cancelled; what was accepted goes on in `sessions`.
pub(super) fn accept_all(
    listeners: Vec<Box<dyn Listener<Arrival>>>,
    gate: &Arc<Gate>,
    policy: &Arc<Policy>,
    sessions: &Scope,
) -> Scope {
    let accepting = Scope::new();
    for listener in listeners {
        let (gate, policy, scope) = (Arc::clone(gate), Arc::clone(policy), sessions.clone());
        accepting.spawn(accept_loop(listener, sessions.clone(), move |incoming| {
            admit(incoming, Arc::clone(&gate), Arc::clone(&policy), scope.clone())
        }));
    }
    accepting
}

/// What the log has of a connection: its coming and its going. The gate bounds how many there are in a second.
struct Visit {
    source: String,
    port: u16,
    endpoint: Option<EndpointId>,
    transport: &'static str,
    begun: Instant,
}

impl Visit {
    fn begin(ends: &Ends) -> Self {
        let source = ends.remote.map(|remote| remote.ip().to_canonical().to_string());
        let (source, endpoint) = (source.unwrap_or_default(), ends.endpoint);
        let (port, transport) = (ends.remote.map_or(0, |remote| remote.port()), ends.transport);
        let key = endpoint.map(display);
        tracing::info!(
            remote_addr = %source, remote_port = port, %transport, endpoint = key, "connection opened"
        );
        Self { source, port, endpoint, transport, begun: Instant::now() }
    }

    fn end(self) {
        let Self { source, port, endpoint, transport, begun } = self;
        let endpoint = endpoint.map(display);
        let duration = begun.elapsed().as_millis() as f64 / 1000.0;
        tracing::info!(
            remote_addr = %source, remote_port = port, %transport, endpoint, duration, "connection closed"
        );
    }
}

async fn admit(incoming: Incoming<Arrival>, gate: Arc<Gate>, policy: Arc<Policy>, scope: Scope) {
    let Some(mut place) = gate.enter(&incoming.ends) else { return };
    let handshake = tokio::time::timeout(policy.limits.login_timeout, incoming.handshake);
    let Some(transport) = scope.until_cancelled(handshake).await else { return };
    match transport {
        Ok(Ok(Arrival::Stream(link))) => {
            let visit = Visit::begin(&link.ends);
            ssh::accept(link, policy, place, scope).await;
            visit.end();
        }
        Ok(Ok(Arrival::Visitor)) => place.excuse(),
        Ok(Err(e)) => tracing::debug!(error = %e, "transport handshake failed"),
        Err(_) => {
            place.blame(Offence::TimedOut);
            tracing::info!("transport handshake took too long");
        }
    }
}
