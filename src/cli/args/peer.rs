//! Whom to reach, and as whom.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::KeyFiles;
use super::common::{TlsTrust, tls_version, transport, trust};
use crate::auth::Trust;
use crate::config::{Family, TlsVersion, Transport};

/// Whom to reach, and as whom.
#[derive(Args)]
pub(in crate::cli) struct Peer {
    /// The server, or a connection string (alknet://…). HOST,HOST are servers that are as good as each other, tried in this order
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub(in crate::cli) place: Option<String>,
    /// The server, as an option
    #[arg(long, value_name = "HOST[:PORT]", env = "ALKNET_SERVER", conflicts_with = "place")]
    pub(in crate::cli) server: Option<String>,
    /// Its port, where the server has none [default: that of the transport, 22 for tcp]
    #[arg(short, long, env = "ALKNET_PORT")]
    pub(in crate::cli) port: Option<u16>,
    /// How bytes travel; several are tried in this order [default: tcp]
    #[arg(long, value_name = "NAME", env = "ALKNET_TRANSPORT", value_parser = transport(), value_delimiter = ',')]
    pub(in crate::cli) transport: Vec<Transport>,
    /// Servers to go through, in this order; or none
    #[arg(
        short = 'J',
        long,
        value_name = "[USER@]HOST[:PORT]",
        env = "ALKNET_JUMP",
        value_delimiter = ','
    )]
    pub(in crate::cli) jump: Vec<String>,
    /// A proxy to reach the server through, or the first of --jump: socks5://[USER:PASSWORD@]HOST:PORT or http://…
    #[arg(long, value_name = "URL", env = "ALKNET_PROXY", hide_env_values = true)]
    pub(in crate::cli) proxy: Option<String>,
    /// Take IPv4 addresses alone, of the server and of places to listen on
    #[arg(short = '4', conflicts_with = "only_v6")]
    pub(in crate::cli) only_v4: bool,
    /// Take IPv6 addresses alone
    #[arg(short = '6')]
    pub(in crate::cli) only_v6: bool,
    /// Limit for each attempt to connect, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, env = "ALKNET_CONNECT_TIMEOUT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) connect_timeout: u32,
    /// Silence in seconds after which the peer is asked; three unanswered questions end a session; 0 never asks
    #[arg(long, value_name = "SECONDS", default_value_t = 15, env = "ALKNET_KEEPALIVE")]
    pub(in crate::cli) keepalive: u32,
    /// A file of ssh_config(5) that says of servers what is not said here; read by ssh itself
    #[arg(short = 'F', long, value_name = "PATH", env = "ALKNET_SSH_CONFIG")]
    pub(in crate::cli) ssh_config: Option<PathBuf>,
    /// An option of ssh_config(5), as Name=value: those that have a meaning here
    #[arg(short = 'o', value_name = "NAME=VALUE")]
    pub(in crate::cli) options: Vec<String>,
    /// Who logs in [default: $USER]
    #[arg(short = 'l', long, env = "ALKNET_USER")]
    pub(in crate::cli) user: Option<String>,
    /// The private key that logs in, in OpenSSH format [default: those of the ssh-agent, else the usual files]
    #[arg(short, long, value_name = "PATH", env = "ALKNET_IDENTITY")]
    pub(in crate::cli) identity: Option<PathBuf>,
    /// The key's certificate [default: PATH-cert.pub beside the key, if it is there]
    #[arg(long, value_name = "PATH", env = "ALKNET_CERTIFICATE")]
    pub(in crate::cli) certificate: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) files: KeyFiles,
    /// A host key to accept: SHA256:… or a public key; repeatable
    #[arg(long = "host-key", value_name = "KEY", env = "ALKNET_HOST_KEY")]
    pub(in crate::cli) host_keys: Vec<String>,
    /// A known_hosts file to look the server up in; repeatable [default: those of ssh]
    #[arg(long, value_name = "PATH", env = "ALKNET_KNOWN_HOSTS")]
    pub(in crate::cli) known_hosts: Vec<PathBuf>,
    /// What becomes of a server that no known_hosts file names: strict refuses it, first-use accepts and writes it down once [default: strict]
    #[arg(long, value_name = "HOW", env = "ALKNET_TRUST", value_parser = trust())]
    pub(in crate::cli) trust: Option<Trust>,
    #[command(flatten)]
    pub(in crate::cli) trusted: TlsTrust,
    /// For tls and wss: the name that the certificate must have [default: that of the server]
    #[arg(long, value_name = "NAME", env = "ALKNET_TLS_SERVER_NAME")]
    pub(in crate::cli) tls_server_name: Option<String>,
    /// For tls and wss: the oldest TLS that is spoken
    #[arg(long, value_name = "VERSION", default_value = "1.3", env = "ALKNET_TLS_MIN", value_parser = tls_version())]
    pub(in crate::cli) tls_min: TlsVersion,
    /// For tls and wss: take any certificate; the host key is checked all the same
    #[arg(long, env = "ALKNET_INSECURE")]
    pub(in crate::cli) insecure: bool,
    /// The endpoint id of a server that is reached by iroh
    #[arg(long, value_name = "ID", env = "ALKNET_PEER", conflicts_with = "place")]
    pub(in crate::cli) peer: Option<String>,
    /// Where the peer is known to be, for iroh; repeatable
    #[arg(long, value_name = "IP:PORT", env = "ALKNET_IROH_ADDRESS", value_delimiter = ',')]
    pub(in crate::cli) iroh_address: Vec<SocketAddr>,
    /// The relay that the peer is at, for iroh [default: none]
    #[arg(long, value_name = "URL", env = "ALKNET_IROH_RELAY")]
    pub(in crate::cli) iroh_relay: Option<String>,
}

impl Peer {
    /// Which addresses are taken, if that was said.
    pub(in crate::cli) fn family(&self) -> Option<Family> {
        match (self.only_v4, self.only_v6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }

    /// Nothing but a place, and otherwise the defaults.
    pub(in crate::cli) fn only(place: &str) -> Self {
        Self {
            place: Some(place.to_owned()),
            server: None,
            peer: None,
            iroh_address: Vec::new(),
            iroh_relay: None,
            transport: Vec::new(),
            tls_server_name: None,
            trusted: TlsTrust { tls_ca: None },
            tls_min: TlsVersion::default(),
            insecure: false,
            port: None,
            user: None,
            identity: None,
            certificate: None,
            files: KeyFiles::default(),
            host_keys: Vec::new(),
            known_hosts: Vec::new(),
            trust: None,
            jump: Vec::new(),
            only_v4: false,
            only_v6: false,
            ssh_config: None,
            proxy: None,
            options: Vec::new(),
            connect_timeout: 20,
            keepalive: 15,
        }
    }
}
