//! Commands and options: names, defaults, help. Long flags are their own; OpenSSH's short ones mean what they mean there.

mod bus;
mod common;
mod config;
mod connect;
#[cfg(unix)]
mod forward;
mod keys;
mod layout;
mod output;
mod peer;
mod reflexes;
mod serve;
#[cfg(feature = "ws")]
mod tunnel;

use clap::{Parser, Subcommand};

pub(super) use bus::{Bus, BusCommand, Publish, Tail};
pub(super) use config::{Config, ConfigAction, ConfigShow, Up};
pub(super) use connect::{Connect, DEFAULT_SOCKS5};
#[cfg(unix)]
pub(super) use forward::{
    Form, Format, Forward, ForwardAction, ForwardLogs, ForwardPick, ForwardRestart, ForwardStart,
    ForwardStatus, Pick,
};
pub(super) use keys::{Completion, CompletionKind, Doctor, Fingerprint, KeyFiles, Keygen};
pub(super) use layout::{asked, is_summary, laid_out, summarised};
pub(super) use output::{LogFormat, Output};
pub(super) use peer::Peer;
pub(super) use reflexes::uncompressed;
pub(super) use serve::Serve;
#[cfg(all(unix, feature = "ws"))]
pub(super) use tunnel::TunnelTerminal;
#[cfg(feature = "ws")]
pub(super) use tunnel::{
    Tunnel, TunnelAgent, TunnelCommand, TunnelForward, TunnelHost, TunnelHostPlace, TunnelInject,
    TunnelListen, TunnelProto, TunnelRunner, TunnelSsh, TunnelSshConfig, TunnelVps, VpsCommand,
};

/// Programs and people, an authenticated byte stream to anywhere they may go.
#[derive(Parser)]
#[command(
    name = "alknet",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) output: Output,
    #[command(subcommand)]
    pub(super) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  alknet keygen host_key                           a key, and its .pub
  alknet serve --key host_key --authorized-keys ~/.ssh/authorized_keys
  alknet connect me@host -L 8080:db.internal:80    a port here that leads to a far one
  alknet connect me@host                           SOCKS5 on 127.0.0.1:1080
  alknet doctor me@host                            why a connection does not come about

Options have environment variables where their help names one: --connect-timeout is
ALKNET_CONNECT_TIMEOUT. What is said nearer wins: option, variable, file (see `alknet config show`).

Exit codes:
    0  done, or ended by a signal         6  listener or forward refused
    1  failed otherwise                   8  option, key or file of no use
    2  usage                            124  took too long
    3  unreachable, or connection lost  130  interrupted twice
    4  log-in refused                   141  nobody reads
    5  host key unknown or changed";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Connect to a server: SOCKS5 and forwards on one session, which comes back by itself
    Connect(Box<Connect>),
    /// Be a server, for alknet and every other SSH client that forwards
    Serve(Serve),
    /// Hear and publish the events of a server's bus
    Bus(Bus),
    /// Reach any port of a container on any node, with none published
    #[cfg(feature = "ws")]
    Tunnel(Tunnel),
    /// Run forwarders in the background: start, status, stop, kill, logs, restart
    #[cfg(unix)]
    Forward(Forward),
    /// Show how forwarders in the background stand, as `forward status`
    #[cfg(unix)]
    Status(ForwardStatus),
    /// Make an Ed25519 key: PATH, readable by its owner alone, and PATH.pub
    Keygen(Keygen),
    /// Print the fingerprint of a key file, or of the key a server shows
    Fingerprint(Fingerprint),
    /// Try a connection step by step; says which step fails, and what helps
    Doctor(Doctor),
    /// Run everything that the configuration file declares, in this process
    Up(Up),
    /// Show what options come to, and where each value comes from
    Config(Config),
    /// Print a completion script for a shell, or the manual page
    Completion(Completion),
}
