//! Servers on the way: a session to each, on which the transport of the next is a stream.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::ConnectOptions;
use super::attempt::Attempt;
use crate::auth::{KeySource, Passphrase, Trust};
use crate::config::{Family, Transport};
use crate::dial::{Dialer, Proxy, by_way_of};
use crate::error::{Error, Phase, Result};
use crate::io::{Connected, Ends};
use crate::ssh::ANSWER_LIMIT;
use crate::target::Target;

/// A server to go through on the way to another, as `ssh -J` does. It must lead its clients to the next one.
///
/// As text: `[USER@]HOST[:PORT]`, also with `ssh://` or a transport in front (`me@wss://gate.example`), or a connection string.
#[derive(Clone, Debug, Default)]
pub struct Jump {
    /// As [`ConnectOptions::server`]; or a connection string, which brings the host key along.
    pub server: String,
    /// How bytes travel there, as [`ConnectOptions::transport`]. Empty, the default, is TCP.
    pub transport: Vec<Transport>,
    /// The user name. Default: that of the target.
    pub user: Option<String>,
    /// The private key that logs in. Default: what logs in at the target, with its certificate and passphrase.
    pub identity: Option<KeySource>,
    /// The certificate of `identity`, as [`ConnectOptions::certificate`].
    pub certificate: Option<KeySource>,
    /// The passphrase of `identity`, if it has one.
    pub passphrase: Option<Passphrase>,
    /// Expected host keys of this server. Those of the target are not its.
    pub host_keys: Vec<String>,
    /// `known_hosts` files to look this server up in. Default: those of the target.
    pub known_hosts: Option<Vec<KeySource>>,
    /// As [`ConnectOptions::host_key_alias`], of this server.
    pub host_key_alias: Option<String>,
    /// Whether it is refused when it is not in `known_hosts`. Default: as for the target.
    pub trust: Option<Trust>,
}

impl FromStr for Jump {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bare = text.trim().strip_prefix("ssh://").unwrap_or(text.trim());
        let (user, server) = match bare.rsplit_once('@') {
            Some((user, server)) if !bare.starts_with("alknet://") => (Some(user), server),
            _ => (None, bare),
        };
        if server.is_empty() || user == Some("") {
            return Err(Error::config(format!("server {text:?}: must be [USER@]HOST[:PORT]")));
        }
        Ok(Self { server: server.to_owned(), user: user.map(str::to_owned), ..Self::default() })
    }
}

impl Jump {
    /// All that it takes to have a session there, on the way to `target`.
    pub(super) fn options(&self, target: &ConnectOptions) -> Result<ConnectOptions> {
        let is_own = self.identity.is_some();
        let inherited = |theirs: &Option<KeySource>| theirs.clone().filter(|_| !is_own);
        let options = ConnectOptions {
            server: self.server.clone(),
            further_servers: Vec::new(),
            transport: self.transport.clone(),
            identity: self.identity.clone().or_else(|| target.identity.clone()),
            agent: target.agent.clone().filter(|_| !is_own),
            certificate: self.certificate.clone().or_else(|| inherited(&target.certificate)),
            passphrase: if is_own { &self.passphrase } else { &target.passphrase }.clone(),
            user: self.user.clone().unwrap_or_else(|| target.user.clone()),
            host_keys: self.host_keys.clone(),
            known_hosts: self.known_hosts.clone().or_else(|| target.known_hosts.clone()),
            host_key_alias: self.host_key_alias.clone(),
            trust: self.trust.unwrap_or(target.trust),
            peer: None,
            iroh_addresses: Vec::new(),
            tls_server_name: None,
            proxy: None,
            jump: Vec::new(),
            ..target.clone()
        };
        match self.server.starts_with("alknet://") {
            true => options.connection_string(&self.server),
            false => Ok(options),
        }
    }
}

/// What a server is dialled by.
pub(super) struct Leg {
    pub(super) dialer: Arc<dyn Dialer>,
    /// As [`super::attempt::Path::through`].
    pub(super) told: String,
    /// Whether it is a server.
    pub(super) is_hop: bool,
}

impl Leg {
    /// Straight, or through a proxy.
    pub(super) fn by(proxy: Option<&Proxy>, family: Family) -> Self {
        let told = proxy.map(|proxy| format!(" through proxy {proxy}")).unwrap_or_default();
        Self { dialer: by_way_of(proxy.cloned(), family), told, is_hop: false }
    }

    /// Through the server called `name`.
    pub(super) fn over(name: String, attempt: Attempt) -> Self {
        let told = format!(" through {name}");
        let dialer = Arc::new(Hop { name, attempt: Mutex::new(attempt) });
        Self { dialer, told, is_hop: true }
    }
}

/// Every dial is a session of its own, which ends with its stream.
struct Hop {
    name: String,
    attempt: Mutex<Attempt>,
}

impl Hop {
    async fn dial(&self, target: &Target) -> Result<Connected> {
        let attempt = self.attempt.lock().clone();
        let session = attempt.run().await?;
        self.attempt.lock().settle(0, &session.info().host_key_fingerprint);
        let stream = session.open_only(target, ANSWER_LIMIT).await;
        // To whoever dials, a target that is not reached is no more than that.
        let Connected { io, ends } = stream.map_err(|e| e.at(Phase::Tcp))?.into();
        Ok(Connected { io, ends: Ends { transport: "tcp", ..ends } })
    }
}

impl Dialer for Hop {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move { Self::dial(self, target).await.map_err(|e| e.on_hop(&self.name)) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_written_as_for_ssh() {
        for (text, user, server) in [
            ("gate", None, "gate"),
            ("me@gate:2222", Some("me"), "gate:2222"),
            ("ssh://me@[::1]:22", Some("me"), "[::1]:22"),
            ("a@b@gate", Some("a@b"), "gate"),
            ("me@wss://gate/x", Some("me"), "wss://gate/x"),
        ] {
            let jump: Jump = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((jump.user.as_deref(), jump.server.as_str()), (user, server));
        }
        for text in ["", "me@", "@gate", "ssh://"] {
            assert!(text.parse::<Jump>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn what_a_hop_leaves_out_is_as_for_the_target_but_never_its_host_key() {
        let target = ConnectOptions {
            server: "target".into(),
            identity: Some(KeySource::Path("key".into())),
            certificate: Some(KeySource::Path("cert".into())),
            host_keys: vec!["SHA256:x".into()],
            known_hosts: Some(vec![KeySource::Path("known".into())]),
            tls_server_name: Some("name".into()),
            ..ConnectOptions::default()
        };
        let jump: Jump = "gate".parse().unwrap_or_else(|e| panic!("{e}"));
        let options = jump.options(&target).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((options.server.as_str(), options.user.as_str()), ("gate", "alknet"));
        assert!(options.identity.is_some() && options.certificate.is_some());
        assert!(options.known_hosts.is_some() && options.host_keys.is_empty());
        assert!(options.tls_server_name.is_none());
        let own = Jump { identity: Some(KeySource::Path("own".into())), ..jump };
        let options = own.options(&target).unwrap_or_else(|e| panic!("{e}"));
        assert!(options.certificate.is_none(), "the certificate of another key");
    }
}
