//! `alknet tunnel …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::common::{Ready, TlsCertificate, TlsTrust};
use crate::config::Bind;

#[derive(Args)]
pub(in crate::cli) struct Tunnel {
    #[command(flatten)]
    pub(in crate::cli) host: TunnelHostPlace,
    #[command(subcommand)]
    pub(in crate::cli) command: TunnelCommand,
}

/// The host, for users.
#[derive(Args)]
pub(in crate::cli) struct TunnelHostPlace {
    /// The host: a name or address, or a URL (ws://, wss://) [default: localhost]
    #[arg(short = 'H', long = "host", value_name = "HOST", env = "ALKNET_TUNNEL_HOST")]
    pub(in crate::cli) host: Option<String>,
    /// Its port [default: 8000]
    #[arg(short = 'P', long = "port", value_name = "PORT", env = "ALKNET_TUNNEL_PORT")]
    pub(in crate::cli) port: Option<u16>,
}

#[derive(Subcommand)]
pub(in crate::cli) enum TunnelCommand {
    /// Inside a container: let the runner reach its services; the program does the same when it is called tunnel-client
    Agent(TunnelAgent),
    /// On a node: where agents connect
    Runner(TunnelRunner),
    /// The entry point: finds the runner of a task
    Host(TunnelHost),
    /// A port here that leads to a port of a container
    Forward(TunnelForward),
    /// A terminal of a container; ~. at the start of a line leaves it
    #[cfg(unix)]
    #[command(visible_alias = "terminal")]
    Connect(TunnelTerminal),
    /// Log in to a task's SSH server with the system's ssh, through the host
    Ssh(TunnelSsh),
    /// Virtual private servers
    #[command(hide = true)]
    Vps(TunnelVps),
    /// Print a part of ssh_config(5) by which ssh itself reaches tasks
    SshConfig(TunnelSshConfig),
    /// Print what puts the agent into a container
    Inject(TunnelInject),
}

/// What is shown to the other end.
#[derive(Args)]
pub(in crate::cli) struct TunnelToken {
    /// A file with the token to show [default: $ALKNET_TUNNEL_TOKEN]
    #[arg(long, value_name = "PATH", env = "ALKNET_TUNNEL_TOKEN_FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Go over a network without TLS
    #[arg(long, env = "ALKNET_TUNNEL_INSECURE")]
    pub(in crate::cli) insecure: bool,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelAgent {
    /// The runner, as in ws://node:8001 [default: $KOHAKURIVER_TUNNEL_URL]
    #[arg(short, long, value_name = "URL", env = "RUNNER_URL")]
    pub(in crate::cli) runner_url: Option<String>,
    /// The container's name [default: $KOHAKURIVER_CONTAINER_ID]
    #[arg(short, long, value_name = "NAME", env = "CONTAINER_ID")]
    pub(in crate::cli) container_id: Option<String>,
    /// Longest pause between attempts, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, env = "RECONNECT_DELAY")]
    pub(in crate::cli) reconnect_delay: u64,
    /// Failed attempts in a row that it goes on after; 0 is without end
    #[arg(long, value_name = "N", default_value_t = 0, env = "MAX_RECONNECT")]
    pub(in crate::cli) max_reconnect: u32,
    /// Ports that may be reached; repeatable [default: all]
    #[arg(
        long = "allow-port",
        value_name = "PORT",
        value_delimiter = ',',
        env = "ALKNET_TUNNEL_PORTS"
    )]
    pub(in crate::cli) ports: Vec<u16>,
    /// The program of terminals; `none` for no terminals [default: /bin/bash, else /bin/sh; none with --allow-port]
    #[arg(long, value_name = "PROGRAM", env = "ALKNET_TUNNEL_SHELL")]
    pub(in crate::cli) shell: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) token: TunnelToken,
    #[command(flatten)]
    pub(in crate::cli) trusted: TlsTrust,
    /// Called by the original's name: a network without TLS is no mistake then
    #[arg(long, hide = true)]
    pub(in crate::cli) drop_in: bool,
}

/// What listens.
#[derive(Args)]
pub(in crate::cli) struct TunnelListen {
    /// Who may do what, as JSON: {"agents": {NAME: TOKEN}, "users": {NAME: {"token": TOKEN, "tasks": [ID]}}}
    #[arg(long, value_name = "PATH", env = "ALKNET_TUNNEL_TOKENS")]
    pub(in crate::cli) tokens: Option<PathBuf>,
    /// Listen, and reach runners, on a network without TLS
    #[arg(long, env = "ALKNET_TUNNEL_INSECURE")]
    pub(in crate::cli) insecure: bool,
    #[command(flatten)]
    pub(in crate::cli) certificate: TlsCertificate,
    #[command(flatten)]
    pub(in crate::cli) ready: Ready,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelRunner {
    /// Where agents and hosts connect
    #[arg(
        long,
        value_name = "[BIND:]PORT",
        default_value = "127.0.0.1:8001",
        env = "ALKNET_TUNNEL_LISTEN"
    )]
    pub(in crate::cli) listen: Bind,
    /// Say in NATS which agents are here, so that any host finds them (nats://HOST:PORT); repeatable, for servers of one cluster
    #[arg(
        long = "registry",
        value_name = "URL",
        value_delimiter = ',',
        env = "ALKNET_TUNNEL_REGISTRY",
        hide_env_values = true
    )]
    pub(in crate::cli) registry: Vec<String>,
    /// The URL at which hosts reach this runner [default: where it listens]
    #[arg(long, value_name = "URL", env = "ALKNET_TUNNEL_ADVERTISE")]
    pub(in crate::cli) advertise: Option<String>,
    /// What this node is called [default: host and port of that URL]
    #[arg(long, value_name = "NAME", env = "ALKNET_TUNNEL_NODE")]
    pub(in crate::cli) node: Option<String>,
    /// What has the terminals of agents that have none, as words: docker exec -it {container} /bin/sh
    #[cfg(unix)]
    #[arg(long, value_name = "WORDS", env = "ALKNET_TUNNEL_TERMINAL_COMMAND")]
    pub(in crate::cli) terminal_command: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) common: TunnelListen,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelHost {
    /// Where users connect
    #[arg(
        long,
        value_name = "[BIND:]PORT",
        default_value = "127.0.0.1:8000",
        env = "ALKNET_TUNNEL_LISTEN"
    )]
    pub(in crate::cli) listen: Bind,
    /// Where the SSH proxy listens; `none` for nowhere
    #[arg(
        long,
        value_name = "[BIND:]PORT",
        default_value = "127.0.0.1:8002",
        env = "ALKNET_TUNNEL_SSH_LISTEN"
    )]
    pub(in crate::cli) ssh_listen: String,
    /// Nodes and tasks: a JSON file, or where runners say what they have (nats://HOST:PORT); repeatable, one file at most
    #[arg(
        long = "registry",
        value_name = "PATH|URL",
        value_delimiter = ',',
        env = "ALKNET_TUNNEL_REGISTRY",
        hide_env_values = true
    )]
    pub(in crate::cli) registry: Vec<String>,
    /// A runner that is asked for tasks which the registry does not have; repeatable
    #[arg(
        long = "runner",
        value_name = "URL",
        value_delimiter = ' ',
        env = "ALKNET_TUNNEL_RUNNERS"
    )]
    pub(in crate::cli) runners: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) trusted: TlsTrust,
    /// A file with the token that these runners want [default: $ALKNET_TUNNEL_TOKEN]
    #[arg(long, value_name = "PATH", env = "ALKNET_TUNNEL_TOKEN_FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) common: TunnelListen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TunnelProto {
    Tcp,
    Udp,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelForward {
    /// The task
    #[arg(value_name = "ID")]
    pub(in crate::cli) task: String,
    /// The port in its container
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(in crate::cli) port: u16,
    /// The port here; 0 takes a free one [default: the same]
    #[arg(short, long, value_name = "PORT")]
    pub(in crate::cli) local_port: Option<u16>,
    /// The address here
    #[arg(short = 'H', long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(in crate::cli) local_host: String,
    /// What is carried
    #[arg(short, long, value_enum, default_value = "tcp")]
    pub(in crate::cli) proto: TunnelProto,
    #[command(flatten)]
    pub(in crate::cli) token: TunnelToken,
    #[command(flatten)]
    pub(in crate::cli) trusted: TlsTrust,
    #[command(flatten)]
    pub(in crate::cli) ready: Ready,
}

#[cfg(unix)]
#[derive(Args)]
pub(in crate::cli) struct TunnelTerminal {
    /// The task
    #[arg(value_name = "ID")]
    pub(in crate::cli) task: String,
    /// The sign that begins escapes at the start of a line, or none
    #[arg(short, long, value_name = "SIGN", default_value = "~", env = "ALKNET_TUNNEL_ESCAPE")]
    pub(in crate::cli) escape: String,
    #[command(flatten)]
    pub(in crate::cli) token: TunnelToken,
    #[command(flatten)]
    pub(in crate::cli) trusted: TlsTrust,
}

/// The SSH proxy, for users.
#[derive(Args)]
pub(in crate::cli) struct TunnelSsh {
    /// The task
    #[arg(value_name = "ID")]
    pub(in crate::cli) task: String,
    /// The private key [default: ~/.ssh/id-kohakuriver-ID, if it is there]
    #[arg(short = 'i', long, value_name = "PATH")]
    pub(in crate::cli) key: Option<PathBuf>,
    /// The host's port for SSH
    #[arg(long, value_name = "PORT", default_value_t = 8002, env = "KOHAKURIVER_SSH_PROXY_PORT")]
    pub(in crate::cli) proxy_port: u16,
    /// The port here that ssh connects to; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(in crate::cli) local_port: u16,
    /// Who logs in
    #[arg(short, long, default_value = "root")]
    pub(in crate::cli) user: String,
    /// Be a ProxyCommand: standard input and output are the connection
    #[arg(long)]
    pub(in crate::cli) stdio: bool,
    #[command(flatten)]
    pub(in crate::cli) token: TunnelToken,
    /// More words for ssh, after --
    #[arg(last = true, value_name = "SSH-WORDS")]
    pub(in crate::cli) words: Vec<std::ffi::OsString>,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelSshConfig {
    /// The tasks
    #[arg(value_name = "ID", required = true)]
    pub(in crate::cli) tasks: Vec<String>,
    /// The host's port for SSH
    #[arg(long, value_name = "PORT", default_value_t = 8002, env = "KOHAKURIVER_SSH_PROXY_PORT")]
    pub(in crate::cli) proxy_port: u16,
    /// Who logs in
    #[arg(short, long, default_value = "root")]
    pub(in crate::cli) user: String,
    /// Write there instead
    #[arg(short, long, value_name = "PATH")]
    pub(in crate::cli) output: Option<PathBuf>,
}

#[derive(Args)]
pub(in crate::cli) struct TunnelVps {
    #[command(subcommand)]
    pub(in crate::cli) command: VpsCommand,
}

#[derive(Subcommand)]
pub(in crate::cli) enum VpsCommand {
    /// The same as `tunnel ssh`
    Connect(TunnelSsh),
}

#[derive(Args)]
pub(in crate::cli) struct TunnelInject {
    /// The task
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64))]
    pub(in crate::cli) task: u64,
    /// The runner, as the container reaches it
    #[arg(short, long, value_name = "URL", env = "RUNNER_URL")]
    pub(in crate::cli) runner_url: String,
    /// The task is a VPS
    #[arg(long)]
    pub(in crate::cli) vps: bool,
    /// The agent's program on the node [default: this one]
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) binary: Option<PathBuf>,
    /// A file on the node with the agent's token
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// The image, and the command in it, after --
    #[arg(last = true, value_name = "IMAGE COMMAND")]
    pub(in crate::cli) words: Vec<String>,
}
