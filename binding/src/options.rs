//! Option objects as they come from TypeScript, and their conversion.

use std::net::SocketAddr;
use std::time::Duration;

use alknet::{
    ConnectOptions, Family, Jump, Keepalive, KeySource, Passphrase, ServeOptions, TlsVersion,
    Transport,
};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::acme::NativeAcmeOptions;
use crate::bus::{Asked, NativeBusOptions};
use crate::forward::NativeForwardPolicy;
use crate::limits::NativeLimits;

#[napi(object)]
#[derive(Default)]
pub struct NativeConnectOptions {
    pub server: Option<String>,
    pub further_servers: Option<Vec<String>>,
    pub peer: Option<String>,
    pub iroh_addresses: Option<Vec<String>>,
    pub iroh_relay: Option<String>,
    /// 4 or 6; all else is both.
    pub family: Option<u32>,
    pub transport: Option<Vec<String>>,
    pub connection_string: Option<String>,
    pub identity_path: Option<String>,
    pub identity: Option<Uint8Array>,
    /// The socket of an ssh-agent.
    pub agent: Option<String>,
    pub certificate: Option<NativeSource>,
    pub passphrase: Option<Uint8Array>,
    pub insecure_permissions: Option<bool>,
    pub user: Option<String>,
    pub target: Option<String>,
    pub host_keys: Option<Vec<String>>,
    pub known_hosts: Option<Vec<NativeSource>>,
    pub host_key_alias: Option<String>,
    pub trust: Option<String>,
    pub tls_ca: Option<NativeSource>,
    pub tls_server_name: Option<String>,
    pub tls_min: Option<String>,
    pub insecure: Option<bool>,
    pub proxy: Option<String>,
    pub jump: Option<Vec<NativeJump>>,
    pub connect_timeout: Option<u32>,
    pub keepalive_interval: Option<u32>,
    pub keepalive_count: Option<u32>,
    pub window: Option<u32>,
    pub rekey_bytes: Option<u32>,
}

/// A server on the way.
#[napi(object)]
pub struct NativeJump {
    pub server: String,
    pub transport: Option<Vec<String>>,
    pub user: Option<String>,
    pub identity: Option<NativeSource>,
    pub certificate: Option<NativeSource>,
    pub passphrase: Option<Uint8Array>,
    pub host_keys: Option<Vec<String>>,
    pub known_hosts: Option<Vec<NativeSource>>,
    pub host_key_alias: Option<String>,
    pub trust: Option<String>,
}

/// A file's path, or its contents.
#[napi(object)]
pub struct NativeSource {
    pub path: Option<String>,
    pub contents: Option<Uint8Array>,
}

#[napi(object)]
#[derive(Default)]
pub struct NativeServeOptions {
    pub listen: Option<Vec<String>>,
    pub transport: Option<Vec<String>>,
    pub iroh_key: Option<String>,
    pub iroh_relay: Option<String>,
    pub tls_ca: Option<NativeSource>,
    pub host_key_path: Option<String>,
    pub host_key: Option<Uint8Array>,
    pub host_key_passphrase: Option<Uint8Array>,
    pub insecure_permissions: Option<bool>,
    pub authorized_keys_path: Option<String>,
    pub authorized_keys: Option<Uint8Array>,
    pub cert_authority: Option<NativeSource>,
    pub revoked_keys: Option<NativeSource>,
    pub host_certificate: Option<NativeSource>,
    pub keepalive_interval: Option<u32>,
    pub keepalive_count: Option<u32>,
    pub window: Option<u32>,
    pub rekey_bytes: Option<u32>,
    pub limits: Option<NativeLimits>,
    /// Absent: no forwards.
    pub forwarding: Option<NativeForwardPolicy>,
    pub tls_cert: Option<NativeSource>,
    pub tls_key: Option<NativeSource>,
    pub tls_min: Option<String>,
    /// Absent: no ACME.
    pub acme: Option<NativeAcmeOptions>,
    pub acme_ca: Option<NativeSource>,
    pub stealth: Option<bool>,
    pub ws_hosts: Option<Vec<String>>,
    pub ws_origins: Option<Vec<String>>,
    pub proxy: Option<String>,
    /// Absent: no bus.
    pub bus: Option<NativeBusOptions>,
    /// Absent: none.
    pub metrics: Option<String>,
}

impl TryFrom<NativeConnectOptions> for ConnectOptions {
    type Error = alknet::Error;

    fn try_from(options: NativeConnectOptions) -> Result<Self, Self::Error> {
        let default = Self::default();
        let made = Self {
            server: options.server.unwrap_or_default(),
            further_servers: options.further_servers.unwrap_or_default(),
            peer: options.peer,
            iroh_addresses: addresses(options.iroh_addresses)?,
            iroh_relay: options.iroh_relay,
            family: family(options.family),
            transport: transports(options.transport)?,
            identity: source(options.identity_path, options.identity.as_ref()),
            agent: options.agent,
            certificate: options.certificate.and_then(given),
            passphrase: options.passphrase.as_ref().map(passphrase),
            insecure_permissions: options.insecure_permissions.unwrap_or_default(),
            user: options.user.unwrap_or(default.user),
            host_keys: options.host_keys.unwrap_or_default(),
            known_hosts: options.known_hosts.map(all_given),
            host_key_alias: options.host_key_alias,
            trust: options.trust.map_or(Ok(default.trust), |text| text.parse())?,
            // Who looks at a key passes it in `hostKeys`.
            first_use_key: None,
            tls_ca: options.tls_ca.and_then(given),
            tls_server_name: options.tls_server_name,
            tls_min: tls_min(options.tls_min)?,
            insecure: options.insecure.unwrap_or_default(),
            proxy: options.proxy.map(|url| url.parse()).transpose()?,
            jump: options
                .jump
                .unwrap_or_default()
                .into_iter()
                .map(jump)
                .collect::<Result<_, _>>()?,
            timeout: millis(options.connect_timeout, default.timeout),
            keepalive: keepalive(options.keepalive_interval, options.keepalive_count),
            window: options.window.unwrap_or(default.window),
            rekey_bytes: options.rekey_bytes.unwrap_or(default.rekey_bytes),
        };
        match options.connection_string {
            Some(text) => made.connection_string(&text),
            None => Ok(made),
        }
    }
}

impl NativeServeOptions {
    /// The options, and where questions about the bus come.
    pub(crate) fn split(mut self) -> alknet::Result<(ServeOptions, Asked)> {
        let bus = self.bus.take().map(NativeBusOptions::split);
        let mut options = ServeOptions::try_from(self)?;
        let (bus, asked) = bus.unzip();
        options.bus = bus;
        Ok((options, asked.unwrap_or_default()))
    }
}

impl TryFrom<NativeServeOptions> for ServeOptions {
    type Error = alknet::Error;

    fn try_from(options: NativeServeOptions) -> Result<Self, Self::Error> {
        let default = Self::default();
        Ok(Self {
            listen: options.listen.unwrap_or(default.listen),
            transport: transports(options.transport)?,
            iroh_key: options.iroh_key.map(Into::into),
            iroh_relay: options.iroh_relay,
            tls_ca: options.tls_ca.and_then(given),
            host_key: source(options.host_key_path, options.host_key.as_ref()),
            host_key_passphrase: options.host_key_passphrase.as_ref().map(passphrase),
            insecure_permissions: options.insecure_permissions.unwrap_or_default(),
            authorized_keys: source(options.authorized_keys_path, options.authorized_keys.as_ref()),
            cert_authority: options.cert_authority.and_then(given),
            revoked_keys: options.revoked_keys.and_then(given),
            host_certificate: options.host_certificate.and_then(given),
            keepalive: keepalive(options.keepalive_interval, options.keepalive_count),
            window: options.window.unwrap_or(default.window),
            rekey_bytes: options.rekey_bytes.unwrap_or(default.rekey_bytes),
            limits: options.limits.map_or(default.limits, Into::into),
            forwarding: options.forwarding.map(Into::into),
            tls_cert: options.tls_cert.and_then(given),
            tls_key: options.tls_key.and_then(given),
            tls_min: tls_min(options.tls_min)?,
            acme: options.acme.map(Into::into),
            acme_ca: options.acme_ca.and_then(given),
            stealth: options.stealth.unwrap_or_default(),
            ws_hosts: options.ws_hosts.unwrap_or_default(),
            ws_origins: options.ws_origins.unwrap_or_default(),
            proxy: options.proxy.map(|url| url.parse()).transpose()?,
            control: default.control,
            bus: None,
            metrics: options.metrics,
        })
    }
}

fn addresses(given: Option<Vec<String>>) -> Result<Vec<SocketAddr>, alknet::Error> {
    let address = |text: String| {
        text.parse().map_err(|_| {
            alknet::Error::config(format!("irohAddress {text:?}: must be an address and a port"))
        })
    };
    given.unwrap_or_default().into_iter().map(address).collect()
}

/// What a string says, and what is said beside it.
fn jump(given_jump: NativeJump) -> Result<Jump, alknet::Error> {
    let said: Jump = given_jump.server.parse()?;
    Ok(Jump {
        transport: transports(given_jump.transport)?,
        user: given_jump.user.or(said.user),
        identity: given_jump.identity.and_then(given),
        certificate: given_jump.certificate.and_then(given),
        passphrase: given_jump.passphrase.as_ref().map(passphrase),
        host_keys: given_jump.host_keys.unwrap_or_default(),
        known_hosts: given_jump.known_hosts.map(all_given),
        host_key_alias: given_jump.host_key_alias,
        trust: given_jump.trust.map(|text| text.parse()).transpose()?,
        server: said.server,
    })
}

fn family(number: Option<u32>) -> Family {
    match number {
        Some(4) => Family::V4,
        Some(6) => Family::V6,
        _ => Family::Any,
    }
}

fn tls_min(version: Option<String>) -> Result<TlsVersion, alknet::Error> {
    version.map_or(Ok(TlsVersion::default()), |text| text.parse())
}

fn transports(names: Option<Vec<String>>) -> Result<Vec<Transport>, alknet::Error> {
    names.unwrap_or_default().iter().map(|name| name.parse()).collect()
}

fn passphrase(bytes: &Uint8Array) -> Passphrase {
    Passphrase::new(bytes.to_vec())
}

pub(crate) fn source(path: Option<String>, memory: Option<&Uint8Array>) -> Option<KeySource> {
    match memory {
        Some(bytes) => Some(KeySource::memory(bytes.to_vec())),
        None => path.map(|path| KeySource::Path(path.into())),
    }
}

fn all_given(list: Vec<NativeSource>) -> Vec<KeySource> {
    list.into_iter().filter_map(given).collect()
}

pub(crate) fn given(given: NativeSource) -> Option<KeySource> {
    source(given.path, given.contents.as_ref())
}

pub(crate) fn millis(given: Option<u32>, default: Duration) -> Duration {
    given.map_or(default, |ms| Duration::from_millis(u64::from(ms)))
}

fn keepalive(interval: Option<u32>, count: Option<u32>) -> Keepalive {
    let default = Keepalive::default();
    Keepalive {
        interval: millis(interval, default.interval),
        count: count.unwrap_or(default.count),
    }
}
