//! `alknet connect`.

use clap::Args;

use super::Peer;
use super::common::Ready;
use super::reflexes::Reflexes;
use crate::config::{Bind, PortForwardSpec};

/// Where the proxy listens by itself.
pub(in crate::cli) const DEFAULT_SOCKS5: &str = "127.0.0.1:1080";

const EXAMPLES: &str = "\
Examples:
  alknet connect me@host -L 5432:db.internal:5432    a port here that leads to a far one
  alknet connect me@host -R 8080:localhost:3000      a port there that leads to one here
  alknet connect me@host -D 9050                     SOCKS5 on 127.0.0.1:9050
  alknet connect me@inner -J gate.example            through another server
  ssh -o ProxyCommand='alknet connect -W %h:%p me@host' far";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Connect {
    #[command(flatten)]
    pub(in crate::cli) peer: Peer,
    /// Where a SOCKS5 proxy listens, which is an HTTP CONNECT proxy too; repeatable
    #[arg(
        short = 'D',
        long,
        value_name = "[BIND:]PORT",
        default_value = DEFAULT_SOCKS5,
        env = "ALKNET_SOCKS5",
        value_delimiter = ' '
    )]
    pub(in crate::cli) socks5: Vec<Bind>,
    /// Let no proxy listen
    #[arg(long, env = "ALKNET_NO_SOCKS5")]
    pub(in crate::cli) no_socks5: bool,
    /// A port or socket here that leads to a target as the server sees it; repeatable
    #[arg(
        short = 'L',
        long,
        value_name = "[BIND:]PORT:HOST:PORT",
        env = "ALKNET_FORWARD",
        value_delimiter = ' '
    )]
    pub(in crate::cli) forward: Vec<PortForwardSpec>,
    /// A port or socket at the server's end that leads to a target as this machine sees it; repeatable
    #[arg(
        short = 'R',
        long,
        value_name = "[BIND:]PORT:HOST:PORT",
        env = "ALKNET_REMOTE_FORWARD",
        value_delimiter = ' '
    )]
    pub(in crate::cli) remote_forward: Vec<PortForwardSpec>,
    /// Silence in seconds after which what comes from one address is over, for -L udp:…
    #[arg(long, value_name = "SECONDS", default_value_t = 60, env = "ALKNET_UDP_IDLE", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) udp_idle: u32,
    /// End with exit code 6 when the server does not listen for a remote forward, instead of asking on
    #[arg(long, env = "ALKNET_EXIT_ON_FORWARD_FAILURE")]
    pub(in crate::cli) exit_on_forward_failure: bool,
    /// Connect stdin and stdout to a target instead, as a ProxyCommand does
    #[arg(short = 'W', long, value_name = "HOST:PORT")]
    pub(in crate::cli) stdio: Option<String>,
    /// Fail at once when the first attempt does, instead of trying on
    #[arg(long, env = "ALKNET_ONCE")]
    pub(in crate::cli) once: bool,
    #[command(flatten)]
    pub(in crate::cli) ready: Ready,
    #[command(flatten)]
    pub(in crate::cli) reflexes: Reflexes,
}
