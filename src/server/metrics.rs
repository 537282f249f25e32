//! Counters for Prometheus, over plain HTTP on an address of their own: text format 0.0.4.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::bus::Bus;
use crate::error::Result;
use crate::io::BoxIo;
use crate::listen::{Incoming, serve as accept_loop};
use crate::scope::Scope;
use crate::target::HostPort;
use crate::transport::tcp::Tcp;

/// Longest head of a request: what Prometheus sends is a tenth of it.
const MAX_HEAD: usize = 8 * 1024;

/// From accept to the last byte of the answer (reference table: SOCKS5, and the same here).
const LIMIT: Duration = Duration::from_secs(10);

/// Requests at once; more are closed unanswered.
const MAX_REQUESTS: usize = 16;

/// Answers at `listen`, if that is given, while the scope lives. Returns the real address.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND`, `ERR_ALKNET_CONFIG`.
pub(super) async fn answer(
    listen: Option<&str>,
    bus: Option<&Bus>,
    scope: &Scope,
) -> Result<Option<SocketAddr>> {
    let Some(listen) = listen else { return Ok(None) };
    let (listener, address) = Tcp::bind(&HostPort::parse(listen, None)?).await?;
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    let (bus, ending) = (bus.cloned(), scope.clone());
    scope.spawn(accept_loop(Box::new(listener), scope.clone(), move |incoming| {
        let (places, bus, ending) = (Arc::clone(&places), bus.clone(), ending.clone());
        async move {
            let Ok(_place) = places.try_acquire() else { return };
            let answering = tokio::time::timeout(LIMIT, answer_one(incoming, bus.as_ref()));
            let _ = ending.until_cancelled(answering).await;
        }
    }));
    Ok(Some(address))
}

async fn answer_one(incoming: Incoming, bus: Option<&Bus>) {
    let Ok(connected) = incoming.handshake.await else { return };
    let mut io = connected.io;
    let Some(status_and_body) = asked(&mut io).await.map(|found| match found {
        Asked::Metrics => ("200 OK", text(bus)),
        Asked::Other => ("404 Not Found", "there is /metrics\n".to_owned()),
        Asked::Nonsense => ("400 Bad Request", String::new()),
    }) else {
        return;
    };
    let (status, body) = status_and_body;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever asked may be gone.
    if io.write_all(answer.as_bytes()).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

enum Asked {
    Metrics,
    Other,
    Nonsense,
}

/// Reads a request's head; `None` when it does not come.
async fn asked(io: &mut BoxIo) -> Option<Asked> {
    let mut head = Vec::new();
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.unwrap_or_default();
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                return Some(match (request.method, path) {
                    (Some("GET"), "/metrics") => Asked::Metrics,
                    _ => Asked::Other,
                });
            }
            Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
            _ => return Some(Asked::Nonsense),
        }
        let room = (MAX_HEAD - head.len()) as u64;
        if (&mut *io).take(room).read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
}

fn text(bus: Option<&Bus>) -> String {
    let mut out = String::new();
    let table = bus.map(|bus| bus.metrics().table());
    for (name, value, help, only_grows) in table.into_iter().flatten() {
        let kind = if only_grows { "counter" } else { "gauge" };
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "# HELP alknet_bus_{name} {help}\n# TYPE alknet_bus_{name} {kind}\nalknet_bus_{name} {value}\n"
        );
    }
    out
}
