//! `alknet serve`.

use std::path::PathBuf;

use clap::Args;

use super::KeyFiles;
use super::common::{Ready, TlsCertificate, tls_version, transport};
use crate::config::{TlsVersion, Transport};

const EXAMPLES: &str = "\
Examples:
  alknet keygen host_key
  alknet serve --key host_key --authorized-keys ~/.ssh/authorized_keys --listen 0.0.0.0:2222
  alknet serve --key host_key --authorized-keys keys --transport tls --acme-domain host.example";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Serve {
    /// The host's private key, in OpenSSH format
    #[arg(long, value_name = "PATH", env = "ALKNET_KEY")]
    pub(in crate::cli) key: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) files: KeyFiles,
    /// Who may log in: an authorized_keys file
    #[arg(
        long,
        value_name = "PATH",
        env = "ALKNET_AUTHORIZED_KEYS",
        required_unless_present = "cert_authority"
    )]
    pub(in crate::cli) authorized_keys: Option<PathBuf>,
    /// Authorities whose user certificates may log in: a file with their public keys
    #[arg(long, value_name = "PATH", env = "ALKNET_CERT_AUTHORITY")]
    pub(in crate::cli) cert_authority: Option<PathBuf>,
    /// What may not log in all the same: a file with keys, fingerprints, serial: N and id: NAME, or one of ssh-keygen -k
    #[arg(long, value_name = "PATH", env = "ALKNET_REVOKED_KEYS")]
    pub(in crate::cli) revoked_keys: Option<PathBuf>,
    /// The host key's certificate, shown to clients that know its authority
    #[arg(long, value_name = "PATH", env = "ALKNET_HOST_CERTIFICATE")]
    pub(in crate::cli) host_certificate: Option<PathBuf>,
    /// Where to listen, by every transport or one by each; port 0 takes a free one; repeatable [default port: that of the transport]
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        default_value = "0.0.0.0",
        env = "ALKNET_LISTEN",
        value_delimiter = ','
    )]
    pub(in crate::cli) listen: Vec<String>,
    /// How bytes travel; repeatable [default: tcp]
    #[arg(long, value_name = "NAME", env = "ALKNET_TRANSPORT", value_parser = transport(), value_delimiter = ',')]
    pub(in crate::cli) transport: Vec<Transport>,
    #[command(flatten)]
    pub(in crate::cli) certificate: TlsCertificate,
    /// For tls and wss: a name to get a certificate for, and to renew it, from an authority that speaks ACME; repeatable
    #[arg(
        long,
        value_name = "NAME",
        env = "ALKNET_ACME_DOMAIN",
        value_delimiter = ',',
        conflicts_with = "tls_cert"
    )]
    pub(in crate::cli) acme_domain: Vec<String>,
    /// The authority's directory [default: that of Let's Encrypt]
    #[arg(long, value_name = "URL", env = "ALKNET_ACME_DIRECTORY", requires = "acme_domain")]
    pub(in crate::cli) acme_directory: Option<String>,
    /// A PEM file with what vouches for the authority's own server instead of the public ones
    #[arg(long, value_name = "PATH", env = "ALKNET_ACME_CA", requires = "acme_domain")]
    pub(in crate::cli) acme_ca: Option<PathBuf>,
    /// A folder for account and certificates [default: acme in the folder of state]
    #[arg(long, value_name = "PATH", env = "ALKNET_ACME_CACHE", requires = "acme_domain")]
    pub(in crate::cli) acme_cache: Option<PathBuf>,
    /// Where the authority may write to: an address of mail [default: none]
    #[arg(long, value_name = "MAIL", env = "ALKNET_ACME_CONTACT", requires = "acme_domain")]
    pub(in crate::cli) acme_contact: Option<String>,
    /// For tls and wss: the oldest TLS that is spoken
    #[arg(long, value_name = "VERSION", default_value = "1.3", env = "ALKNET_TLS_MIN", value_parser = tls_version())]
    pub(in crate::cli) tls_min: TlsVersion,
    /// For tls and wss: have who does not speak SSH see a web server
    #[arg(long, env = "ALKNET_STEALTH")]
    pub(in crate::cli) stealth: bool,
    /// For ws and wss: a name by which clients may call the server; repeatable [default: any]
    #[arg(long, value_name = "NAME", env = "ALKNET_WS_HOST", value_delimiter = ',')]
    pub(in crate::cli) ws_host: Vec<String>,
    /// For ws and wss: an origin whose web pages may connect; repeatable [default: none]
    #[arg(long, value_name = "ORIGIN", env = "ALKNET_WS_ORIGIN", value_delimiter = ',')]
    pub(in crate::cli) ws_origin: Vec<String>,
    /// The key whose public half is the endpoint id, for iroh; made if it is not there [default: another id at each start]
    #[arg(long, value_name = "PATH", env = "ALKNET_IROH_KEY")]
    pub(in crate::cli) iroh_key: Option<PathBuf>,
    /// A relay by which iroh can be reached too [default: none]
    #[arg(long, value_name = "URL", env = "ALKNET_IROH_RELAY")]
    pub(in crate::cli) iroh_relay: Option<String>,
    /// A PEM file with authorities that may vouch for the relay besides the public ones
    #[arg(long, value_name = "PATH", env = "ALKNET_TLS_CA")]
    pub(in crate::cli) tls_ca: Option<PathBuf>,
    /// Let nobody through: clients log in and reach nothing
    #[arg(long, env = "ALKNET_NO_FORWARDING", help_heading = "What clients may do")]
    pub(in crate::cli) no_forwarding: bool,
    /// Let clients listen here (ssh -R): on loopback, ports from 1024
    #[arg(
        long,
        env = "ALKNET_ALLOW_REMOTE_FORWARD",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) allow_remote_forward: bool,
    /// Let those listeners be on any address
    #[arg(
        long,
        env = "ALKNET_GATEWAY_PORTS",
        requires = "allow_remote_forward",
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) gateway_ports: bool,
    /// Let clients reach Unix sockets, with the rights of this process
    #[arg(
        long,
        env = "ALKNET_ALLOW_SOCKETS",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) allow_sockets: bool,
    /// Let clients reach link-local addresses too, and the metadata services of clouds
    #[arg(
        long,
        env = "ALKNET_ALLOW_LINK_LOCAL",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) allow_link_local: bool,
    /// Let clients reach public addresses only: neither this machine nor its own networks
    #[arg(
        long,
        env = "ALKNET_PUBLIC_ONLY",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) public_only: bool,
    /// A proxy that clients' targets are dialled through: socks5://[USER:PASSWORD@]HOST:PORT or http://…
    #[arg(
        long,
        value_name = "URL",
        env = "ALKNET_PROXY",
        hide_env_values = true,
        help_heading = "What clients may do"
    )]
    pub(in crate::cli) proxy: Option<String>,
    /// Have a bus of events: what clients publish goes to those who are subscribed; with addresses of NATS, across all servers there
    #[arg(
        long,
        value_name = "NATS://…",
        num_args = 0..=1,
        default_missing_value = "local",
        env = "ALKNET_BUS",
        hide_env_values = true,
        help_heading = "Events"
    )]
    pub(in crate::cli) bus: Option<String>,
    /// A topic whose events NATS keeps for subscribers that are away; repeatable
    #[arg(
        long,
        value_name = "TOPIC",
        env = "ALKNET_BUS_DURABLE",
        value_delimiter = ',',
        help_heading = "Events"
    )]
    pub(in crate::cli) bus_durable: Vec<String>,
    /// Serve counters for Prometheus here, at /metrics; anybody who can connect may read them
    #[arg(long, value_name = "ADDR:PORT", env = "ALKNET_METRICS", help_heading = "Events")]
    pub(in crate::cli) metrics: Option<String>,
    /// Log-in attempts per connection
    #[arg(long, value_name = "N", default_value_t = 6, env = "ALKNET_MAX_AUTH_ATTEMPTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) max_auth_attempts: u32,
    /// Connections of one address (IPv6: of a /64) at once, logged in or not; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0, env = "ALKNET_MAX_CONNECTIONS_PER_IP")]
    pub(in crate::cli) max_connections_per_ip: usize,
    #[command(flatten)]
    pub(in crate::cli) ready: Ready,
}
