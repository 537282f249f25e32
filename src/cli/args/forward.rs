//! `alknet forward`: forwarders in the background.

use clap::{Args, Subcommand, ValueEnum};

use super::Peer;

/// `alknet forward …`
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Forward {
    #[command(subcommand)]
    pub(in crate::cli) action: ForwardAction,
}

const EXAMPLES: &str = "\
A forwarder outlives the terminal that started it. `forward` is for the background, `connect -L` for this session.
  alknet forward start                                 127.0.0.1:3845 to 127.0.0.1:3456
  alknet forward start me@host --target-port 5432      the same port here, to a port of that host
  alknet forward status --watch
  alknet forward stop --all";

#[derive(Subcommand)]
pub(in crate::cli) enum ForwardAction {
    /// Start one; returns when its port can be used, or says why it cannot
    Start(Box<ForwardStart>),
    /// Show how one stands, or all
    Status(ForwardStatus),
    /// End one: it stops listening, and what is open has a moment to end by itself
    Stop(ForwardStop),
    /// Kill one
    Kill(ForwardPick),
    /// Show its log
    Logs(ForwardLogs),
    /// End one and start it again as it was
    Restart(ForwardRestart),
    /// What `start` runs
    #[command(hide = true)]
    Worker(ForwardWorker),
}

#[derive(Args)]
pub(in crate::cli) struct ForwardStart {
    /// The port to listen on; 0 takes a free one and says which
    #[arg(long, value_name = "PORT", default_value_t = 3845, env = "ALKNET_FORWARDER_LISTEN_PORT")]
    pub(in crate::cli) listen_port: u16,
    /// The address to listen on; * is every one
    #[arg(
        long,
        visible_alias = "host",
        value_name = "HOST",
        default_value = "127.0.0.1",
        env = "ALKNET_FORWARDER_LISTEN_HOST"
    )]
    pub(in crate::cli) listen_host: String,
    /// The port it leads to
    #[arg(long, value_name = "PORT", default_value_t = 3456, env = "ALKNET_FORWARDER_TARGET_PORT")]
    pub(in crate::cli) target_port: u16,
    /// The host it leads to, as the server sees it when there is one
    #[arg(
        long,
        value_name = "HOST",
        default_value = "127.0.0.1",
        env = "ALKNET_FORWARDER_TARGET_HOST"
    )]
    pub(in crate::cli) target_host: String,
    /// What to call it, beside its port: several may share a port then, on other addresses
    #[arg(long, value_name = "NAME", env = "ALKNET_FORWARDER_NAME")]
    pub(in crate::cli) name: Option<String>,
    /// End one of that port or name that does something else first
    #[arg(long)]
    pub(in crate::cli) replace: bool,
    /// Seconds that open connections have to end by themselves when it is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 2, env = "ALKNET_FORWARDER_DRAIN")]
    pub(in crate::cli) drain: u32,
    /// Connections at once; more are refused
    #[arg(long, value_name = "N", default_value_t = 1024, env = "ALKNET_FORWARDER_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) max_connections: u32,
    /// Seconds of silence after which a connection is reset; 0 never
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        env = "ALKNET_FORWARDER_IDLE_TIMEOUT"
    )]
    pub(in crate::cli) idle_timeout: u32,
    /// Start it now and at every log-in: by a user unit of systemd, or an agent of launchd
    #[arg(long)]
    pub(in crate::cli) install: bool,
    /// End one that was installed, and take its unit away
    #[arg(long, conflicts_with = "install")]
    pub(in crate::cli) uninstall: bool,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
    #[command(flatten, next_help_heading = "Through a server")]
    pub(in crate::cli) peer: Peer,
}

/// What a worker has to know before it hears what to do.
#[derive(Args)]
pub(in crate::cli) struct ForwardWorker {
    /// It will have no server
    #[arg(long)]
    pub(in crate::cli) plain: bool,
}

/// Which forwarders.
#[derive(Args)]
pub(in crate::cli) struct Pick {
    /// Its port or name
    #[arg(value_name = "PORT|NAME")]
    pub(in crate::cli) which: Option<String>,
    /// Its port, as an option
    #[arg(long, value_name = "PORT", conflicts_with = "which")]
    pub(in crate::cli) listen_port: Option<u16>,
    /// Its name, as an option
    #[arg(long, value_name = "NAME", conflicts_with_all = ["which", "listen_port"])]
    pub(in crate::cli) name: Option<String>,
}

/// How the result looks.
#[derive(Args)]
pub(in crate::cli) struct Form {
    /// How the result looks [default: text on a terminal, else json]
    #[arg(long, value_enum, env = "ALKNET_FORMAT")]
    pub(in crate::cli) format: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    Json,
    Markdown,
}

#[derive(Args)]
pub(in crate::cli) struct ForwardPick {
    #[command(flatten)]
    pub(in crate::cli) pick: Pick,
    /// All of them
    #[arg(long, conflicts_with_all = ["which", "listen_port", "name"])]
    pub(in crate::cli) all: bool,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
}

#[derive(Args)]
pub(in crate::cli) struct ForwardStop {
    #[command(flatten)]
    pub(in crate::cli) picked: ForwardPick,
    /// Kill what is not gone in half a second
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

#[derive(Args)]
pub(in crate::cli) struct ForwardStatus {
    #[command(flatten)]
    pub(in crate::cli) pick: Pick,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
    /// Dial each target first, and say whether it answers
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// Answer by the exit code too: 0 running, 1 dead, 3 stopped
    #[arg(long)]
    pub(in crate::cli) exit_code: bool,
    /// Show it anew every second, until interrupted
    #[arg(long, short)]
    pub(in crate::cli) watch: bool,
}

#[derive(Args)]
pub(in crate::cli) struct ForwardLogs {
    #[command(flatten)]
    pub(in crate::cli) pick: Pick,
    /// Lines from the end
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(in crate::cli) lines: usize,
    /// Go on as it grows, until interrupted
    #[arg(long, short)]
    pub(in crate::cli) follow: bool,
}

#[derive(Args)]
pub(in crate::cli) struct ForwardRestart {
    #[command(flatten)]
    pub(in crate::cli) pick: Pick,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
}
