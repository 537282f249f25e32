//! Commands and options: names, defaults, help. Long flags are their own; OpenSSH's short ones mean what they mean there.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::auth::Trust;
use crate::config::{Bind, PortForwardSpec};

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
  alknet keygen host_key                              a key, and its .pub
  alknet serve --key host_key --authorized-keys ~/.ssh/authorized_keys
  alknet connect me@host -L 8080:db.internal:80       a local port that leads to a far one
  alknet connect me@host                              SOCKS5 on 127.0.0.1:1080
  ssh -o ProxyCommand='alknet connect -W %h:%p me@host' far

Options have environment variables where their help names one: --connect-timeout is ALKNET_CONNECT_TIMEOUT.
Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 log-in refused, 5 host key, 6 listener or forward, 8 configuration,
124 timed out, 130 interrupted twice.";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Connect to a server: SOCKS5 and forwards on one session, which comes back by itself
    Connect(Connect),
    /// Be a server, for alknet and every other SSH client that forwards
    Serve(Serve),
    /// Make an Ed25519 key: PATH, readable by its owner alone, and PATH.pub
    Keygen(Keygen),
    /// Print the fingerprint of a key file, or of the key a server shows
    Fingerprint(Fingerprint),
    /// Try a connection step by step; says which step fails, and what helps
    Doctor(Doctor),
    /// Print a completion script for a shell, or the manual page
    Completion(Completion),
}

/// How results and logs come out.
#[derive(Args)]
pub(super) struct Output {
    /// Results as JSON, one object per line on stdout
    #[arg(long, global = true, env = "ALKNET_JSON", help_heading = "Output")]
    pub(super) json: bool,
    /// Say more: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub(super) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, env = "ALKNET_QUIET", help_heading = "Output")]
    pub(super) quiet: bool,
    /// The least that is logged
    #[arg(long, global = true, value_enum, env = "ALKNET_LOG_LEVEL", help_heading = "Output")]
    pub(super) log_level: Option<LogLevel>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "ALKNET_LOG_FORMAT",
        help_heading = "Output"
    )]
    pub(super) log_format: LogFormat,
    /// Append the log to a file instead of stderr
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "ALKNET_LOG_FILE",
        help_heading = "Output"
    )]
    pub(super) log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Whom to reach, and as whom.
#[derive(Args)]
pub(super) struct Peer {
    /// The server, or a connection string (alknet://…)
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub(super) place: Option<String>,
    /// The server, as an option
    #[arg(long, value_name = "HOST[:PORT]", env = "ALKNET_SERVER", conflicts_with = "place")]
    pub(super) server: Option<String>,
    /// Its port, where the server has none [default: 22]
    #[arg(short, long, env = "ALKNET_PORT")]
    pub(super) port: Option<u16>,
    /// Who logs in [default: $USER]
    #[arg(short = 'l', long, env = "ALKNET_USER")]
    pub(super) user: Option<String>,
    /// The private key that logs in, in OpenSSH format
    #[arg(short, long, value_name = "PATH", env = "ALKNET_IDENTITY")]
    pub(super) identity: Option<PathBuf>,
    /// A file with the key's passphrase [default: asked for on the terminal]
    #[arg(long, value_name = "PATH", env = "ALKNET_PASSPHRASE_FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Take key files whatever their owner and mode, as containers need it
    #[arg(long, env = "ALKNET_INSECURE_PERMISSIONS")]
    pub(super) insecure_permissions: bool,
    /// A host key to accept: SHA256:… or a public key; repeatable
    #[arg(long = "host-key", value_name = "KEY", env = "ALKNET_HOST_KEY")]
    pub(super) host_keys: Vec<String>,
    /// A known_hosts file to look the server up in; repeatable [default: those of ssh]
    #[arg(long, value_name = "PATH", env = "ALKNET_KNOWN_HOSTS")]
    pub(super) known_hosts: Vec<PathBuf>,
    /// What becomes of a server that no known_hosts file names: refuse it, or accept and write it down once
    #[arg(long, value_name = "HOW", default_value = "strict", env = "ALKNET_TRUST")]
    pub(super) trust: Trust,
    /// An option of ssh_config(5), as Name=value: those that have a meaning here
    #[arg(short = 'o', value_name = "NAME=VALUE")]
    pub(super) options: Vec<String>,
    /// Limit for each attempt to connect, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, env = "ALKNET_CONNECT_TIMEOUT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) connect_timeout: u32,
    /// Silence in seconds after which the peer is asked; three unanswered questions end a session; 0 never asks
    #[arg(long, value_name = "SECONDS", default_value_t = 15, env = "ALKNET_KEEPALIVE")]
    pub(super) keepalive: u32,
}

#[derive(Args)]
pub(super) struct Connect {
    #[command(flatten)]
    pub(super) peer: Peer,
    /// Where a SOCKS5 proxy listens, which is an HTTP CONNECT proxy too
    #[arg(
        short = 'D',
        long,
        value_name = "[BIND:]PORT",
        default_value = "127.0.0.1:1080",
        env = "ALKNET_SOCKS5"
    )]
    pub(super) socks5: Bind,
    /// Let no proxy listen
    #[arg(long, env = "ALKNET_NO_SOCKS5")]
    pub(super) no_socks5: bool,
    /// A port or socket here that leads to a target as the server sees it; repeatable
    #[arg(
        short = 'L',
        long,
        value_name = "[BIND:]PORT:HOST:PORT",
        env = "ALKNET_FORWARD",
        value_delimiter = ' '
    )]
    pub(super) forward: Vec<PortForwardSpec>,
    /// A port or socket at the server's end that leads to a target as this machine sees it; repeatable
    #[arg(
        short = 'R',
        long,
        value_name = "[BIND:]PORT:HOST:PORT",
        env = "ALKNET_REMOTE_FORWARD",
        value_delimiter = ' '
    )]
    pub(super) remote_forward: Vec<PortForwardSpec>,
    /// End with exit code 6 when the server does not listen for a remote forward, instead of asking on
    #[arg(long, env = "ALKNET_EXIT_ON_FORWARD_FAILURE")]
    pub(super) exit_on_forward_failure: bool,
    /// Connect stdin and stdout to a target instead, as a ProxyCommand does
    #[arg(short = 'W', long, value_name = "HOST:PORT")]
    pub(super) stdio: Option<String>,
    /// Accepted, as commands are never run
    #[arg(short = 'N', hide = true)]
    pub(super) _no_command: bool,
    /// Fail at once when the first attempt does, instead of trying on
    #[arg(long, env = "ALKNET_ONCE")]
    pub(super) once: bool,
    /// Write a line to this open file descriptor when everything listens
    #[arg(long, value_name = "N", env = "ALKNET_READY_FD")]
    pub(super) ready_fd: Option<i32>,
}

#[derive(Args)]
pub(super) struct Serve {
    /// The host's private key, in OpenSSH format
    #[arg(long, value_name = "PATH", env = "ALKNET_KEY")]
    pub(super) key: PathBuf,
    /// A file with the host key's passphrase [default: asked for on the terminal]
    #[arg(long, value_name = "PATH", env = "ALKNET_PASSPHRASE_FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
    /// Take key files whatever their owner and mode, as containers need it
    #[arg(long, env = "ALKNET_INSECURE_PERMISSIONS")]
    pub(super) insecure_permissions: bool,
    /// Who may log in: an authorized_keys file
    #[arg(long, value_name = "PATH", env = "ALKNET_AUTHORIZED_KEYS")]
    pub(super) authorized_keys: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:22", env = "ALKNET_LISTEN")]
    pub(super) listen: String,
    /// Let nobody through: clients log in and reach nothing
    #[arg(long, env = "ALKNET_NO_FORWARDING", help_heading = "What clients may do")]
    pub(super) no_forwarding: bool,
    /// Let clients listen here (ssh -R): on loopback, ports from 1024
    #[arg(
        long,
        env = "ALKNET_ALLOW_REMOTE_FORWARD",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(super) allow_remote_forward: bool,
    /// Let those listeners be on any address
    #[arg(
        long,
        env = "ALKNET_GATEWAY_PORTS",
        requires = "allow_remote_forward",
        help_heading = "What clients may do"
    )]
    pub(super) gateway_ports: bool,
    /// Let clients reach Unix sockets, with the rights of this process
    #[arg(
        long,
        env = "ALKNET_ALLOW_SOCKETS",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(super) allow_sockets: bool,
    /// Let clients reach link-local addresses too, and the metadata services of clouds
    #[arg(
        long,
        env = "ALKNET_ALLOW_LINK_LOCAL",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(super) allow_link_local: bool,
    /// Let clients reach public addresses only: neither this machine nor its own networks
    #[arg(
        long,
        env = "ALKNET_PUBLIC_ONLY",
        conflicts_with = "no_forwarding",
        help_heading = "What clients may do"
    )]
    pub(super) public_only: bool,
    /// Log-in attempts per connection
    #[arg(long, value_name = "N", default_value_t = 6, env = "ALKNET_MAX_AUTH_ATTEMPTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_auth_attempts: u32,
    /// Write a line to this open file descriptor when it listens
    #[arg(long, value_name = "N", env = "ALKNET_READY_FD")]
    pub(super) ready_fd: Option<i32>,
}

#[derive(Args)]
pub(super) struct Keygen {
    /// Where the private key goes; the public one goes beside it, with .pub
    pub(super) path: PathBuf,
    /// A word about the key, in the .pub file [default: user@host]
    #[arg(short = 'C', long)]
    pub(super) comment: Option<String>,
    /// Replace a key that is there
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Args)]
pub(super) struct Fingerprint {
    /// A key file (private, public, authorized_keys), or HOST:PORT of a server
    #[arg(value_name = "PATH|HOST:PORT")]
    pub(super) what: String,
}

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub(super) peer: Peer,
}

#[derive(Args)]
pub(super) struct Completion {
    /// What to print
    #[arg(value_enum)]
    pub(super) kind: CompletionKind,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum CompletionKind {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    Man,
}

impl Peer {
    /// Nothing but a place, and otherwise the defaults.
    pub(super) fn only(place: &str) -> Self {
        Self {
            place: Some(place.to_owned()),
            server: None,
            port: None,
            user: None,
            identity: None,
            passphrase_file: None,
            insecure_permissions: false,
            host_keys: Vec::new(),
            known_hosts: Vec::new(),
            trust: Trust::Strict,
            options: Vec::new(),
            connect_timeout: 20,
            keepalive: 15,
        }
    }
}
