//! From what is written on a command line to [`ConnectOptions`].

use std::path::PathBuf;
use std::time::Duration;

use super::passphrase::passphrase;
use super::wishes::Wishes;
use crate::auth::KeySource;
use crate::cli::args::Peer;
use crate::client::{ConnectOptions, Proxy, count_agent_keys};
use crate::error::{Error, Result};
use crate::ssh::Keepalive;
use crate::target::HostPort;

/// Keys that are looked for when none is given, in the order of ssh(1).
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The options of every command that reaches a server.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) async fn connect_options(peer: &Peer) -> Result<ConnectOptions> {
    let named = peer.place.as_deref().or(peer.server.as_deref());
    // A peer needs no address.
    let place = named.or(peer.peer.as_ref().map(|_| "")).ok_or_else(|| {
        Error::config("no server was given")
            .hint("name one: alknet connect user@host, --server, --peer, or ALKNET_SERVER")
    })?;
    let wishes = Wishes::parse(&peer.options)?;
    let (user, server) = match place.rsplit_once('@') {
        Some((user, server)) if !place.starts_with("alknet://") => (Some(user), server),
        _ => (None, place),
    };
    let named = peer.identity.clone().or(wishes.identity);
    let agent = if named.is_some() { None } else { agent().await };
    let usual = || if agent.is_some() { None } else { usual_key() };
    let identity = named.or_else(usual).map(KeySource::Path);
    let options = ConnectOptions {
        passphrase: match &identity {
            Some(key) => {
                let file = peer.passphrase_file.as_deref();
                passphrase(key, file, peer.insecure_permissions).await?
            }
            None => None,
        },
        identity,
        agent,
        certificate: peer.certificate.clone().or(wishes.certificate).map(KeySource::Path),
        insecure_permissions: peer.insecure_permissions,
        user: user
            .map(str::to_owned)
            .or_else(|| peer.user.clone())
            .or(wishes.user)
            .unwrap_or_else(login_name),
        peer: peer.peer.clone(),
        iroh_addresses: peer.iroh_address.clone(),
        iroh_relay: peer.iroh_relay.clone(),
        transport: peer.transport.clone(),
        tls_ca: peer.tls_ca.clone().map(KeySource::Path),
        tls_server_name: peer.tls_server_name.clone(),
        insecure: peer.insecure,
        host_keys: peer.host_keys.clone(),
        known_hosts: known_hosts(&peer.known_hosts, wishes.known_hosts),
        trust: wishes.trust.unwrap_or(peer.trust),
        proxy: proxy(peer.proxy.as_deref())?,
        timeout: seconds(wishes.connect_timeout.unwrap_or(peer.connect_timeout)),
        keepalive: Keepalive {
            interval: seconds(wishes.keepalive.unwrap_or(peer.keepalive)),
            count: wishes.keepalive_count.unwrap_or(Keepalive::default().count),
        },
        ..ConnectOptions::default()
    };
    if server.starts_with("alknet://") {
        return options.connection_string(server);
    }
    if server.is_empty() {
        return Ok(options);
    }
    let server = match peer.port.or(wishes.port) {
        Some(port) => at_port(server, port)?,
        None => server.to_owned(),
    };
    Ok(ConnectOptions { server, ..options })
}

/// `server` with a port, that of its own if it names one.
fn at_port(server: &str, port: u16) -> Result<String> {
    let (transport, at) = server.split_once("://").unwrap_or(("", server));
    let at = HostPort::parse(at, Some(port))?;
    Ok(if transport.is_empty() { at.to_string() } else { format!("{transport}://{at}") })
}

/// Not a parser of clap's, whose message would repeat the text and with it a password.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) fn proxy(url: Option<&str>) -> Result<Option<Proxy>> {
    url.map(str::parse).transpose()
}

/// Whether `-o ExitOnForwardFailure=yes` was given.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) fn exits_on_forward_failure(peer: &Peer) -> Result<bool> {
    Ok(Wishes::parse(&peer.options)?.exit_on_forward_failure)
}

/// The socket of the ssh-agent, if there is one that holds a key.
async fn agent() -> Option<String> {
    let socket = std::env::var("SSH_AUTH_SOCK").ok().filter(|path| !path.is_empty())?;
    match count_agent_keys(&socket).await {
        Ok(0) => None,
        Ok(_) => Some(socket),
        Err(e) => {
            tracing::info!(code = e.code().as_str(), "the ssh-agent is not used");
            None
        }
    }
}

/// The first of the usual keys that is there.
fn usual_key() -> Option<PathBuf> {
    let home = std::env::home_dir()?;
    USUAL_KEYS.iter().map(|name| home.join(".ssh").join(name)).find(|path| path.exists())
}

fn known_hosts(named: &[PathBuf], wished: Option<PathBuf>) -> Option<Vec<KeySource>> {
    let files: Vec<_> = named.iter().cloned().chain(wished).map(KeySource::Path).collect();
    (!files.is_empty()).then_some(files)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

fn login_name() -> String {
    let known = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    known("USER").or_else(|| known("USERNAME")).unwrap_or_else(|| "alknet".into())
}
