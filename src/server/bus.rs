//! Composition of a server's bus: streams that clients opened → members of the hub, by the name and the rules of their key.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::auth::KeyRules;
use crate::error::Result;
use crate::event::{Access, BusAction, BusLimits, BusMetrics, Hub, Who};
use crate::io::pipe;
use crate::scope::Scope;
use crate::ssh::{Backlog, Info, Stream};
use crate::target::CONTROL;

/// What a server's bus is like.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct BusOptions {
    /// Its bounds.
    pub limits: BusLimits,
    /// Who is asked what a client may do, once for each topic and session, after the rules of its key. Default: nobody.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// Addresses of NATS (`nats://[USER:PASSWORD@]HOST:PORT`, `tls://…`), of one cluster: all servers with a bus over it are one bus. Needs the
    /// feature `nats`. Default: this server alone.
    pub nats: Vec<String>,
}

impl fmt::Debug for BusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusOptions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Says what clients may do on a bus.
pub trait Authorize: Send + Sync + 'static {
    /// Whether the client may do `action` with `topic`. The client waits for the answer, and for nothing else does anybody.
    fn may(&self, who: &Info, action: BusAction, topic: &str) -> BoxFuture<'static, bool>;
}

/// See the module.
#[derive(Clone)]
pub(super) struct Bus {
    hub: Arc<Hub>,
    authorize: Option<Arc<dyn Authorize>>,
}

impl Bus {
    /// Makes every stream that clients open a member of a bus, if there is to be one, while the scope lives.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(super) async fn start(
        options: Option<&BusOptions>,
        backlog: &Arc<Backlog>,
        scope: &Scope,
    ) -> Result<Option<Self>> {
        let Some(options) = options else { return Ok(None) };
        options.limits.check()?;
        let bus = Self { hub: Hub::new(options.limits), authorize: options.authorize.clone() };
        if !options.nats.is_empty() {
            join_cluster(&bus.hub, &options.nats, scope).await?;
        }
        bus.bridge(backlog, scope);
        Ok(Some(bus))
    }

    fn bridge(&self, backlog: &Arc<Backlog>, scope: &Scope) {
        let (backlog, members) = (Arc::clone(backlog), scope.clone());
        let (hub, authorize) = (Arc::clone(&self.hub), self.authorize.clone());
        scope.spawn(async move {
            loop {
                let stream = backlog.accept().await;
                let info = Arc::new(stream.info().clone());
                let name = Some(info.key_fingerprint.clone());
                let access = Arc::new(ByKey { info, authorize: authorize.clone() });
                members.spawn(Arc::clone(&hub).join(Box::new(stream), Who { name, access }));
            }
        });
    }

    /// A member that is the program itself.
    pub(super) fn join(&self, scope: &Scope) -> Stream {
        let (near, far) = pipe();
        let who = Who { name: None, access: Arc::new(Unlimited) };
        scope.spawn(Arc::clone(&self.hub).join(Box::new(far), who));
        let info = Info { transport: "memory", target: CONTROL.to_owned(), ..Info::default() };
        Stream::of(near, info)
    }

    /// Ends in order. See [`Hub::drain`].
    pub(super) async fn drain(&self) {
        self.hub.drain().await;
    }

    pub(super) fn metrics(&self) -> BusMetrics {
        self.hub.metrics()
    }
}

#[cfg(feature = "nats")]
async fn join_cluster(hub: &Arc<Hub>, servers: &[String], scope: &Scope) -> Result<()> {
    hub.join_cluster(crate::event::Nats::connect(servers, hub, scope).await?);
    Ok(())
}

#[cfg(not(feature = "nats"))]
async fn join_cluster(_: &Arc<Hub>, _: &[String], _: &Scope) -> Result<()> {
    let message = "a bus over NATS was asked for, and this program is built without it";
    Err(crate::error::Error::config(message).hint("build it with the feature nats"))
}

/// What a client may: by its key, then by the program.
struct ByKey {
    info: Arc<Info>,
    authorize: Option<Arc<dyn Authorize>>,
}

impl ByKey {
    fn rules(&self) -> &KeyRules {
        &self.info.rules
    }
}

impl Access for ByKey {
    fn is_open(&self) -> bool {
        self.authorize.is_none() && !self.rules().limits_topics()
    }

    fn allows(&self, action: BusAction, topic: &str) -> bool {
        match action {
            BusAction::Publish => self.rules().may_publish(topic),
            BusAction::Subscribe => self.rules().may_subscribe(topic),
        }
    }

    fn ask(&self, action: BusAction, topic: &str) -> BoxFuture<'static, bool> {
        match &self.authorize {
            Some(program) => program.may(&self.info, action, topic),
            None => std::future::ready(true).boxed(),
        }
    }
}

/// The hosting program may everything.
struct Unlimited;

impl Access for Unlimited {
    fn is_open(&self) -> bool {
        true
    }

    fn allows(&self, _: BusAction, _: &str) -> bool {
        true
    }

    fn ask(&self, _: BusAction, _: &str) -> BoxFuture<'static, bool> {
        std::future::ready(true).boxed()
    }
}
