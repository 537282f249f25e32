//! A forwarder as part of this process: what `alknet up` makes of one, and how a worker reaches its target.

use std::time::Duration;

use serde_json::json;
use zeroize::Zeroizing;

use super::start::wanted;
use crate::auth::Passphrase;
use crate::cli::Control;
use crate::cli::args::{Forward, ForwardAction, ForwardStart};
use crate::cli::command::peer::connect_options;
use crate::cli::exit::Exit;
use crate::cli::given::Given;
use crate::cli::report::Report;
use crate::client::{ChannelManager, ForwardOptions, LocalForwarder, Reconnect, Route, Standing};
use crate::error::{Error, Result};

pub(in crate::cli) async fn foreground(
    options: &Forward,
    given: &Given,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let ForwardAction::Start(options) = &options.action else {
        return Err(Error::config("only a start can be run"));
    };
    let wanted = wanted(options, given);
    let path = tokio::select! {
        path = Path::open(options, wanted.server.is_some(), None) => path?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let forwarder = LocalForwarder::start(&wanted.spec()?, path.route(), &bounds(options)).await?;
    let at: Vec<String> = forwarder.addresses().iter().map(ToString::to_string).collect();
    let text = format!("listening on {} for {wanted}", at.join(" and "));
    report.event("listening", json!({ "kind": "forward", "addresses": at }), &text);
    let failure = tokio::select! {
        () = control.draining() => None,
        why = path.over() => why,
    };
    forwarder.stop_listening().await;
    forwarder.drain(Duration::from_secs(u64::from(options.drain))).await;
    forwarder.close().await;
    path.close().await;
    failure.map_or(Ok(Exit::OK), Err)
}

/// The bounds of a forwarder.
pub(super) fn bounds(options: &ForwardStart) -> ForwardOptions {
    let idle = Duration::from_secs(u64::from(options.idle_timeout));
    ForwardOptions {
        max_connections: options.max_connections as usize,
        dial_timeout: Duration::from_secs(u64::from(options.peer.connect_timeout)),
        idle_timeout: (!idle.is_zero()).then_some(idle),
        ..ForwardOptions::default()
    }
}

/// How a forwarder gets to its target: straight, or through a session that comes back by itself.
pub(super) struct Path(Option<ChannelManager>);

impl Path {
    /// Opens the session, when it goes through a server.
    ///
    /// # Errors
    /// Why there is no session.
    pub(super) async fn open(
        options: &ForwardStart,
        through_server: bool,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Self> {
        if !through_server {
            return Ok(Self(None));
        }
        let mut to = connect_options(&options.peer).await?;
        if let Some(word) = passphrase {
            to.passphrase = Some(Passphrase::new(word.as_bytes()));
        }
        Ok(Self(Some(ChannelManager::new(&to, Reconnect::default()).await?)))
    }

    pub(super) fn route(&self) -> Route {
        self.0.as_ref().map_or_else(Route::direct, Route::from)
    }

    /// Logs every loss and return, until it is over for good: why, if that was a failure.
    pub(super) async fn over(&self) -> Option<Error> {
        let Some(manager) = &self.0 else { return std::future::pending().await };
        let mut watch = manager.watch();
        loop {
            match &*watch.borrow_and_update() {
                Standing::Up(_) => tracing::info!("session up"),
                Standing::Down(Some(why)) => {
                    tracing::warn!(code = why.code().as_str(), "session down; connecting again");
                }
                Standing::Down(None) => {}
                Standing::Closed(why) => return why.clone(),
            }
            if watch.changed().await.is_err() {
                return None;
            }
        }
    }

    pub(super) async fn close(&self) {
        if let Some(manager) = &self.0 {
            manager.close().await;
        }
    }
}
