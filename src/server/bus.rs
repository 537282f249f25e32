//! Composition of a server's bus: streams that clients opened → members of the hub, by the name and the rules of their key.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::auth::KeyRules;
use crate::error::{Error, Result};
use crate::event::{Access, BusAction, BusLimits, BusMetrics, Hub, Who};
use crate::io::{BoxIo, pipe};
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
    /// Topics whose events NATS keeps, in JetStream, for subscribers that are away: each has a number, and who subscribes may ask for all
    /// since one. Kept are the last 24 hours and 1 GiB of each topic, in three copies where there is a cluster. Default: none.
    pub durable: Vec<String>,
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
        let bus = Self::make(options, scope).await?;
        bus.bridge(backlog, scope);
        Ok(Some(bus))
    }

    async fn make(options: &BusOptions, scope: &Scope) -> Result<Self> {
        options.limits.check()?;
        let bus = Self { hub: Hub::new(options.limits), authorize: options.authorize.clone() };
        if !options.nats.is_empty() {
            join_cluster(&bus.hub, options, scope).await?;
        } else if !options.durable.is_empty() {
            return Err(Error::config(
                "durable topics are kept by NATS, and no address of it was given",
            ));
        }
        Ok(bus)
    }

    fn bridge(&self, backlog: &Arc<Backlog>, scope: &Scope) {
        let (backlog, bus, scope) = (Arc::clone(backlog), self.clone(), scope.clone());
        scope.clone().spawn(async move {
            loop {
                let stream = backlog.accept().await;
                bus.admit(stream.shared_info(), Box::new(stream), &scope);
            }
        });
    }

    /// Makes a stream a member, by the key of whoever logged in.
    fn admit(&self, info: Arc<Info>, stream: BoxIo, scope: &Scope) {
        let name = Some(info.key_fingerprint.clone()).filter(|key| !key.is_empty());
        let access = Arc::new(ByKey { info, authorize: self.authorize.clone() });
        scope.spawn(Arc::clone(&self.hub).join(stream, Who { name, access }));
    }

    /// A member that is the program itself.
    pub(super) fn join(&self, scope: &Scope) -> Stream {
        let (near, far) = pipe();
        let who = Who { name: None, access: Arc::new(Unlimited) };
        scope.spawn(Arc::clone(&self.hub).join(Box::new(far), who));
        Stream::of(near, within())
    }

    /// Ends in order. See [`Hub::drain`].
    pub(super) async fn drain(&self) {
        self.hub.drain().await;
    }

    pub(super) fn metrics(&self) -> BusMetrics {
        self.hub.metrics()
    }
}

/// A bus without a server: streams join it, whichever end dialled them. Dropping it ends it.
pub struct EventBus {
    bus: Bus,
    scope: Scope,
}

impl EventBus {
    /// Makes one, on the current tokio runtime.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`; with NATS also why that cannot be reached.
    pub async fn new(options: &BusOptions) -> Result<Self> {
        let scope = Scope::new();
        let bus = Bus::make(options, &scope).await?;
        Ok(Self { bus, scope })
    }

    /// Makes a stream a member, until its end. `from` is what its events are stamped with, as the other end's key in
    /// [`Server::bus`](crate::Server::bus); nothing, for a stream of the program's own.
    pub fn join(&self, stream: Stream, from: Option<String>) {
        let key_fingerprint = from.unwrap_or_default();
        let info = Info { key_fingerprint, ..stream.info().clone() };
        self.bus.admit(Arc::new(info), Box::new(stream), &self.scope);
    }

    /// A member's stream, for bytes that come otherwise.
    pub fn member(&self, from: Option<String>) -> Stream {
        let (near, far) = pipe();
        self.join(Stream::of(far, within()), from);
        Stream::of(near, within())
    }

    /// A stream to the bus for the program itself, which may everything.
    pub fn own(&self) -> Stream {
        self.bus.join(&self.scope)
    }

    /// What it has done so far.
    pub fn metrics(&self) -> BusMetrics {
        self.bus.metrics()
    }

    /// Ends every member's stream.
    pub fn close(&self) {
        self.scope.cancel();
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").finish_non_exhaustive()
    }
}

impl Drop for EventBus {
    fn drop(&mut self) {
        self.close();
    }
}

/// Of streams within the process.
fn within() -> Info {
    Info { transport: "memory", target: CONTROL.to_owned(), ..Info::default() }
}

#[cfg(feature = "nats")]
async fn join_cluster(hub: &Arc<Hub>, options: &BusOptions, scope: &Scope) -> Result<()> {
    let BusOptions { nats, durable, .. } = options;
    hub.join_cluster(crate::event::Nats::connect(nats, durable, hub, scope).await?);
    Ok(())
}

#[cfg(not(feature = "nats"))]
async fn join_cluster(_: &Arc<Hub>, _: &BusOptions, _: &Scope) -> Result<()> {
    let message = "a bus over NATS was asked for, and this program is built without it";
    Err(Error::config(message).hint("build it with the feature nats"))
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
