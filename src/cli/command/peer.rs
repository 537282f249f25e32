//! From what is written on a command line to [`ConnectOptions`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::passphrase::passphrase;
use super::ssh_config::{Asked, look_up};
use super::wishes::{Server, Wishes, path};
use crate::auth::{KeySource, Passphrase};
use crate::cli::args::Peer;
use crate::client::{ConnectOptions, Jump, Proxy, count_agent_keys};
use crate::error::{Error, Result};
use crate::ssh::Keepalive;
use crate::target::HostPort;

/// Keys that are looked for when none is given, in the order of ssh(1).
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// Servers to go through: more are a circle in an ssh_config.
const MOST_JUMPS: usize = 8;

/// What a token of a path stands for when no port is named.
const SSH_PORT: u16 = 22;

/// The options of every command that reaches a server.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) async fn connect_options(peer: &Peer) -> Result<ConnectOptions> {
    Ok(reach(peer).await?.0)
}

/// The same, with what else is wished for.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) async fn reach(peer: &Peer) -> Result<(ConnectOptions, Wishes)> {
    let (options, wishes) = reach_unkeyed(peer).await?;
    if options.identity.is_none() && options.agent.is_none() {
        return Err(Error::config("there is no key to log in with").hint(NO_KEY));
    }
    Ok((options, wishes))
}

/// The same for who brings a key later, if any.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) async fn reach_unkeyed(peer: &Peer) -> Result<(ConnectOptions, Wishes)> {
    let (place, further) = place(peer)?;
    let user = place.user.as_deref().or(peer.user.as_deref());
    let named = Named { server: &place.server, user, port: peer.port };
    let said = Wishes::parse(&peer.options)?;
    let found = Found::of(named, said, peer.ssh_config.as_deref()).await?;
    let wishes = &found.wishes;
    let port = peer.port.or(wishes.port);
    let further_servers =
        further.iter().map(|one| address(one, None, port)).collect::<Result<_>>()?;
    let named = peer.identity.clone().map_or_else(|| found.identity(), |key| Ok(Some(key)))?;
    let agent = if named.is_some() { None } else { agent(wishes).await };
    let usual = || if agent.is_some() { None } else { usual_key() };
    let identity = named.or_else(usual).map(KeySource::Path);
    let certificate =
        peer.certificate.clone().map_or_else(|| found.certificate(), |it| Ok(Some(it)))?;
    let options = ConnectOptions {
        passphrase: unlock(peer, identity.as_ref(), peer.files.passphrase_file.as_deref(), wishes)
            .await?,
        identity,
        agent,
        certificate: certificate.map(KeySource::Path),
        insecure_permissions: peer.files.insecure_permissions,
        user: found.user.clone(),
        peer: peer.peer.clone(),
        iroh_addresses: peer.iroh_address.clone(),
        iroh_relay: peer.iroh_relay.clone(),
        transport: peer.transport.clone(),
        tls_ca: peer.trusted.tls_ca.clone().map(KeySource::Path),
        tls_server_name: peer.tls_server_name.clone(),
        tls_min: peer.tls_min,
        insecure: peer.insecure,
        host_keys: peer.host_keys.clone(),
        host_key_alias: wishes.host_key_alias.clone(),
        family: peer.family().or(wishes.family).unwrap_or_default(),
        known_hosts: known_hosts(&peer.known_hosts, wishes),
        trust: peer.trust.or(wishes.trust).unwrap_or_default(),
        proxy: proxy(peer.proxy.as_deref())?,
        jump: jumps(peer, wishes).await?,
        timeout: seconds(wishes.connect_timeout.unwrap_or(peer.connect_timeout)),
        keepalive: Keepalive {
            interval: seconds(wishes.keepalive.unwrap_or(peer.keepalive)),
            count: wishes.keepalive_count.unwrap_or(Keepalive::default().count),
        },
        ..ConnectOptions::default()
    };
    let options = match found.server.starts_with("alknet://") {
        true => options.connection_string(&found.server)?,
        false => ConnectOptions { server: found.server.clone(), further_servers, ..options },
    };
    Ok((options, found.wishes))
}

const NO_KEY: &str = "name one with -i; `alknet keygen PATH` makes one; without -i, an ssh-agent is asked and ~/.ssh/id_ed25519, \
    id_ecdsa and id_rsa are looked for";

/// Who and where: what was named first, and further servers, after commas. A peer needs no address.
fn place(peer: &Peer) -> Result<(Jump, Vec<&str>)> {
    match (peer.place.as_deref().or(peer.server.as_deref()), &peer.peer) {
        (Some(place), _) => {
            let mut servers = place.split(',');
            let first = servers.next().unwrap_or(place).parse()?;
            Ok((first, servers.collect()))
        }
        (None, Some(_)) => Ok((Jump::default(), Vec::new())),
        (None, None) => Err(Error::config("no server was given")
            .hint("name one: alknet connect user@host, --server, --peer, or ALKNET_SERVER")),
    }
}

/// A server as it was named.
struct Named<'a> {
    server: &'a str,
    user: Option<&'a str>,
    /// Where `server` has none.
    port: Option<u16>,
}

/// The same, and what was found of it.
struct Found {
    /// The host's name before it was looked up.
    named: String,
    server: String,
    user: String,
    wishes: Wishes,
}

impl Found {
    async fn of(named: Named<'_>, said: Wishes, file: Option<&Path>) -> Result<Self> {
        let Named { server, user, port } = named;
        let (host, own_port) = parts(server)?;
        let wishes = match file {
            Some(file) if has_address(server) => {
                let asked = Asked { host: &host, user, port: own_port.or(port) };
                said.or(look_up(file, &asked).await?)
            }
            _ => said,
        };
        let user = user.or(wishes.user.as_deref()).map_or_else(login_name, str::to_owned);
        let port = own_port.or(port).or(wishes.port);
        let server = address(server, wishes.host.as_deref(), port)?;
        Ok(Self { named: host, server, user, wishes })
    }

    /// The first key of those wished for that is there; what `ssh` would skip is told of when it is the only one.
    fn identity(&self) -> Result<Option<PathBuf>> {
        let paths = self.wishes.identities.iter().map(|text| self.path(text));
        let paths: Vec<_> = paths.collect::<Result<_>>()?;
        let there = paths.iter().find(|path| path.exists()).or(paths.first());
        Ok(there.cloned())
    }

    fn certificate(&self) -> Result<Option<PathBuf>> {
        self.wishes.certificate.as_deref().map(|text| self.path(text)).transpose()
    }

    fn path(&self, text: &str) -> Result<PathBuf> {
        let (host, port) = parts(&self.server)?;
        let port = port.unwrap_or(SSH_PORT);
        path(text, &Server { host: &host, named: &self.named, port, user: &self.user })
    }
}

/// Whether it is neither a connection string nor, beside a peer, nothing.
fn has_address(server: &str) -> bool {
    !server.is_empty() && !server.starts_with("alknet://")
}

/// Host and port of an address, if it is one.
fn parts(server: &str) -> Result<(String, Option<u16>)> {
    if !has_address(server) {
        return Ok((String::new(), None));
    }
    let (_, at) = server.split_once("://").unwrap_or(("", server));
    let at = HostPort::parse(at.split('/').next().unwrap_or(at), Some(0))?;
    Ok((at.host, Some(at.port).filter(|port| *port != 0)))
}

/// `server` with another host, if there is one, and with a port unless it has its own.
fn address(server: &str, host: Option<&str>, port: Option<u16>) -> Result<String> {
    if !has_address(server) || (host.is_none() && port.is_none()) {
        return Ok(server.to_owned());
    }
    let (named, own_port) = parts(server)?;
    let host = host.unwrap_or(&named).to_owned();
    let at = match own_port.or(port) {
        Some(port) => HostPort { host, port }.to_string(),
        None if host.contains(':') => format!("[{host}]"),
        None => host,
    };
    let (transport, rest) = server.split_once("://").unwrap_or(("", server));
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    Ok(if transport.is_empty() { at } else { format!("{transport}://{at}{path}") })
}

/// The servers to go through, and before the first those that the ssh_config has for it.
async fn jumps(peer: &Peer, wishes: &Wishes) -> Result<Vec<Jump>> {
    let mut todo = match peer.jump.is_empty() {
        true => wishes.jump.clone().unwrap_or_default(),
        false => peer.jump.iter().filter(|hop| *hop != "none").cloned().collect(),
    };
    let mut all = Vec::new();
    while !todo.is_empty() {
        let (mut these, mut before) = (Vec::new(), None);
        for text in &todo {
            let (jump, own) = jump(peer, text).await?;
            before.get_or_insert(own);
            these.push(jump);
        }
        these.append(&mut all);
        all = these;
        if all.len() > MOST_JUMPS {
            return Err(Error::config(format!("more than {MOST_JUMPS} servers to go through")));
        }
        todo = before.unwrap_or_default();
    }
    Ok(all)
}

/// One of them, and through which it is reached in turn. As with ssh, what was said of the target's user is not about it.
async fn jump(peer: &Peer, text: &str) -> Result<(Jump, Vec<String>)> {
    let place: Jump = text.parse()?;
    let named = Named { server: &place.server, user: place.user.as_deref(), port: None };
    let found = Found::of(named, Wishes::default(), peer.ssh_config.as_deref()).await?;
    let identity = found.identity()?.map(KeySource::Path);
    let jump = Jump {
        passphrase: unlock(peer, identity.as_ref(), None, &found.wishes).await?,
        identity,
        certificate: found.certificate()?.map(KeySource::Path),
        known_hosts: known_hosts(&[], &found.wishes),
        host_key_alias: found.wishes.host_key_alias.clone(),
        trust: found.wishes.trust.filter(|_| peer.trust.is_none()),
        server: found.server,
        user: Some(found.user),
        ..Jump::default()
    };
    Ok((jump, found.wishes.jump.unwrap_or_default()))
}

/// The passphrase of `key`, if it needs one: from `file`, else asked for, unless nobody may be.
async fn unlock(
    peer: &Peer,
    key: Option<&KeySource>,
    file: Option<&Path>,
    wishes: &Wishes,
) -> Result<Option<Passphrase>> {
    let Some(key) = key else { return Ok(None) };
    let may_ask = wishes.batch != Some(true);
    passphrase(key, file, peer.files.insecure_permissions, may_ask).await
}

/// Not a parser of clap's, whose message would repeat the text and with it a password.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) fn proxy(url: Option<&str>) -> Result<Option<Proxy>> {
    url.map(str::parse).transpose()
}

/// The socket of the ssh-agent, if there is one that holds a key and may be asked.
async fn agent(wishes: &Wishes) -> Option<String> {
    if wishes.identities_only == Some(true) {
        return None;
    }
    let usual = || std::env::var("SSH_AUTH_SOCK").ok();
    let socket = wishes.agent.clone().or_else(usual).filter(|path| !path.is_empty())?;
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

fn known_hosts(named: &[PathBuf], wishes: &Wishes) -> Option<Vec<KeySource>> {
    let files = named.iter().cloned().chain(wishes.known_hosts());
    let files: Vec<_> = files.map(KeySource::Path).collect();
    (!files.is_empty()).then_some(files)
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

pub(super) fn login_name() -> String {
    let known = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    known("USER").or_else(|| known("USERNAME")).unwrap_or_else(|| "alknet".into())
}
