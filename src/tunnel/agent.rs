//! What an agent is asked for, as a listener of requests: CONNECTED is yes, ERROR is no.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::frame::Proto;
use super::link::{Link, Wanted};
use crate::error::{Error, Result};
use crate::io::{Connected, DatagramStream, Ends};
use crate::listen::{Answer, Incoming, Listener, Request};
use crate::target::{HostPort, Target};

/// The target of who asks for a terminal.
pub(crate) const TERMINAL: &str = "alknet-terminal";

/// See the module. Never yields anything again once the link is gone.
pub(crate) struct Asks {
    pub(crate) link: Arc<Link>,
    pub(crate) wanted: mpsc::Receiver<Wanted>,
}

impl Listener<Request> for Asks {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Incoming<Request>>> {
        async {
            let Some(Wanted { id, proto, port }) = self.wanted.recv().await else {
                return std::future::pending().await;
            };
            let at = HostPort { host: "localhost".to_owned(), port };
            let target = match proto {
                Proto::Tcp => Target::Tcp(at),
                Proto::Udp => Target::Udp(at),
                Proto::Terminal => Target::Reserved(TERMINAL.to_owned()),
            };
            let answer = Box::new(Ask { link: Arc::clone(&self.link), id, proto, open: true });
            let origin: Option<SocketAddr> = None;
            let request = Request { target, origin, answer };
            Ok(Incoming { ends: ends(), handshake: std::future::ready(Ok(request)).boxed() })
        }
        .boxed()
    }
}

pub(super) fn ends() -> Ends {
    Ends { transport: "tunnel", ..Ends::default() }
}

struct Ask {
    link: Arc<Link>,
    id: u32,
    proto: Proto,
    open: bool,
}

impl Answer for Ask {
    fn accept(mut self: Box<Self>) -> BoxFuture<'static, Result<Connected>> {
        self.open = false;
        let accepted =
            self.link.accept(self.id).map(|connection| connected(connection, self.proto));
        std::future::ready(accepted).boxed()
    }

    fn refuse(mut self: Box<Self>, why: Error) -> BoxFuture<'static, ()> {
        self.open = false;
        self.link.refuse(self.id, &said(&why));
        std::future::ready(()).boxed()
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if self.open {
            self.link.refuse(self.id, "the agent is ending");
        }
    }
}

/// A connection as the stream that it is.
pub(super) fn connected(connection: Connection, proto: Proto) -> Connected {
    match proto {
        Proto::Tcp | Proto::Terminal => Connected { io: Box::new(connection), ends: ends() },
        Proto::Udp => Connected { io: Box::new(DatagramStream::new(connection)), ends: ends() },
    }
}

/// What the original says of a failed dial, without the address: its users see nothing else.
fn said(why: &Error) -> String {
    match why.cause() {
        Some(cause) => cause.to_string(),
        None => why.to_string(),
    }
}
