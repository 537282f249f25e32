//! Composition of a remote forward: listeners at the server's end × where their connections go at this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::manager::Shared;
use super::running::Running;
use super::{ChannelManager, ForwardOptions, Route, Standing};
use crate::backoff::Backoff;
use crate::config::{Bind, PortForwardSpec};
use crate::error::Result;
use crate::forward::{Forward, ForwardMetrics};
use crate::scope::Scope;
use crate::ssh::{Remote, Session};
use crate::target::Target;

/// The longest pause between requests for a listener that a server refuses.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A remote forward, `ssh -R`: the server listens, and each connection there comes to the target here. Dropping it ends it and its
/// connections at once.
///
/// Over a [`ChannelManager`] it is asked for again on every new session, on the port that it had first, until the server agrees.
pub struct RemoteForwarder {
    spec: PortForwardSpec,
    running: Running,
    port: watch::Receiver<Option<u16>>,
}

impl RemoteForwarder {
    /// Asks the server of `session` to listen. Returns once it does; the forward ends with the session.
    ///
    /// # Errors
    /// `ERR_ALKNET_CHANNEL_REJECTED` when the server will not listen, for UDP also when it is no alknet; `ETIMEDOUT`; why the session was lost.
    pub async fn start(
        spec: &PortForwardSpec,
        session: &Session,
        to: Route,
        options: &ForwardOptions,
    ) -> Result<Self> {
        let (this, publish) = Self::new(spec, to, options);
        let remote = session.listen(spec.listen(), spec.target()).await?;
        publish.send_replace(Some(remote.port()));
        let Running { forward, scope, .. } = &this.running;
        let serving = serve(Arc::clone(forward), remote, scope.clone());
        let session = session.opener();
        this.running.listening.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = session.ended() => {}
            }
            publish.send_replace(None);
        });
        Ok(this)
    }

    /// The same on every session of `manager`, now and later. Waits for the first.
    ///
    /// # Errors
    /// Those of [`RemoteForwarder::start`] on the first session, and those of [`ChannelManager::open`] when there is none.
    pub async fn keep(
        spec: &PortForwardSpec,
        manager: &ChannelManager,
        to: Route,
        options: &ForwardOptions,
    ) -> Result<Self> {
        let (this, publish) = Self::new(spec, to, options);
        let shared = manager.shared();
        let session = shared.session_soon().await?;
        let remote = session.listen(spec.listen(), spec.target()).await?;
        publish.send_replace(Some(remote.port()));
        let listen = at_port(spec.listen(), remote.port());
        let keeper = Keeper {
            shared,
            forward: Arc::clone(&this.running.forward),
            scope: this.running.scope.clone(),
            listen,
            target: spec.target().clone(),
            publish,
        };
        this.running.listening.spawn(keeper.run(session, remote));
        Ok(this)
    }

    fn new(
        spec: &PortForwardSpec,
        to: Route,
        options: &ForwardOptions,
    ) -> (Self, watch::Sender<Option<u16>>) {
        let forward = Forward::limited(to.dialer(), options.bounds());
        let (publish, port) = watch::channel(None);
        (Self { spec: spec.clone(), running: Running::new(forward), port }, publish)
    }

    /// What was asked for.
    pub fn spec(&self) -> &PortForwardSpec {
        &self.spec
    }

    /// The real port at the server's end while the server listens; 0 for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        *self.port.borrow()
    }

    /// What it has done so far. "Up" is from the server's end to the target here.
    pub fn metrics(&self) -> ForwardMetrics {
        self.running.forward.metrics()
    }

    /// Tells the server to stop listening, and lets the connections go on.
    pub async fn stop_listening(&self) {
        self.running.stop_listening().await;
    }

    /// Waits until there is no connection, `limit` at most. For after [`Self::stop_listening`].
    pub async fn drain(&self, limit: Duration) {
        self.running.drain(limit).await;
    }

    /// Tells the server to stop listening, resets the connections and waits until they are gone, 3 s at most. Idempotent.
    pub async fn close(&self) {
        self.running.close().await;
    }
}

/// `-R spec`
impl std::fmt::Display for RemoteForwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "-R {}", self.spec)
    }
}

impl std::fmt::Debug for RemoteForwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteForwarder").field("port", &self.port()).finish_non_exhaustive()
    }
}

async fn serve(forward: Arc<Forward>, remote: Remote, scope: Scope) {
    forward.run(Box::new(remote), scope).await;
}

/// The place to ask for again: any port has become one.
fn at_port(listen: &Bind, port: u16) -> Bind {
    match listen {
        Bind::Port { host, port: 0 } => Bind::Port { host: host.clone(), port },
        other => other.clone(),
    }
}

/// Sees to it that there is a listener on each session.
struct Keeper {
    shared: Arc<Shared>,
    forward: Arc<Forward>,
    scope: Scope,
    listen: Bind,
    target: Target,
    publish: watch::Sender<Option<u16>>,
}

impl Keeper {
    async fn run(self, mut session: Arc<Session>, mut remote: Remote) {
        loop {
            let serving = serve(Arc::clone(&self.forward), remote, self.scope.clone());
            tokio::select! {
                () = serving => {}
                _ = session.closed() => {}
            }
            self.publish.send_replace(None);
            let Some(next) = self.again().await else { return };
            (session, remote) = next;
            self.publish.send_replace(Some(remote.port()));
        }
    }

    /// Asks each session until one agrees. `None` when there will be no more.
    async fn again(&self) -> Option<(Arc<Session>, Remote)> {
        let mut standing = self.shared.watch();
        let mut backoff = Backoff::new(LONGEST_PAUSE);
        loop {
            let current = standing.borrow_and_update().clone();
            let session = match current {
                Standing::Closed(_) => return None,
                Standing::Up(session) if !session.is_over() => session,
                _ => {
                    standing.changed().await.ok()?;
                    continue;
                }
            };
            tokio::time::sleep(backoff.pause(fastrand::f64())).await;
            match session.listen(&self.listen, &self.target).await {
                Ok(remote) => return Some((session, remote)),
                Err(e) => tracing::info!(code = e.code().as_str(), "no remote listener yet"),
            }
        }
    }
}
