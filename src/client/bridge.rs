//! Composition of a way to a relay through any proxy: a proxy of this process's own on loopback, the one kind that the relay's client
//! knows, in front of the one that was asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{ForwardOptions, Route, SocksForwarder, SocksLogin};
use crate::config::{Bind, Family};
use crate::dial::{Dialer, Proxy, by_way_of};
use crate::error::{Error, Result};
use crate::io::Connected;
use crate::target::{HostPort, Target};
use crate::transport::iroh::Bridge;

/// Starts it. It leads to `relay` alone, through `proxy`, and takes nobody who does not know `password`.
pub(super) fn bridge(
    proxy: Proxy,
    relay: HostPort,
    password: String,
) -> BoxFuture<'static, Result<Bridge>> {
    async move {
        let (trouble, failed) = watch::channel(None);
        let by = by_way_of(Some(proxy), Family::Any);
        let route = Route::through(Arc::new(OnlyTo { relay, by, trouble }));
        let login = SocksLogin { user: USER.into(), password: password.clone() };
        let listen = Bind::Port { host: Some("127.0.0.1".into()), port: 0 };
        let options = ForwardOptions::default();
        let listener = SocksForwarder::start(&listen, Some(&login), route, &options).await?;
        let at = listener.addresses().first().map(SocketAddr::to_string).unwrap_or_default();
        let url = format!("http://{USER}:{password}@{at}");
        Ok(Bridge { url, failed, _listener: Box::new(listener) })
    }
    .boxed()
}

const USER: &str = "alknet";

/// Dials one target, and tells why when that fails.
struct OnlyTo {
    relay: HostPort,
    by: Arc<dyn Dialer>,
    trouble: watch::Sender<Option<(Instant, Error)>>,
}

impl Dialer for OnlyTo {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            if !matches!(target, Target::Tcp(at) if *at == self.relay) {
                return Err(Error::config("this leads to a relay and nowhere else"));
            }
            let dialled = self.by.dial(target, origin).await;
            if let Err(error) = &dialled {
                self.trouble.send_replace(Some((Instant::now(), error.clone())));
            }
            dialled
        }
        .boxed()
    }
}
