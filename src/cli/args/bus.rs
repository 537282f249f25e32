//! `alknet bus`.

use clap::{Args, Subcommand};

use super::Peer;

#[derive(Args)]
pub(in crate::cli) struct Bus {
    #[command(subcommand)]
    pub(in crate::cli) what: BusCommand,
}

#[derive(Subcommand)]
pub(in crate::cli) enum BusCommand {
    /// Print the events of a server's bus as they come
    Tail(Tail),
    /// Publish events on a server's bus
    Publish(Publish),
}

#[derive(Args)]
pub(in crate::cli) struct Tail {
    #[command(flatten)]
    pub(in crate::cli) peer: Peer,
    /// Topics to hear [default: all of them]
    #[arg(value_name = "TOPIC")]
    pub(in crate::cli) topics: Vec<String>,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) count: Option<u64>,
    /// End when the connection is lost, instead of connecting again
    #[arg(long, env = "ALKNET_ONCE")]
    pub(in crate::cli) once: bool,
    /// Write a line to this open file descriptor when the server has confirmed the subscription
    #[arg(long, value_name = "N", env = "ALKNET_READY_FD")]
    pub(in crate::cli) ready_fd: Option<i32>,
}

#[derive(Args)]
pub(in crate::cli) struct Publish {
    #[command(flatten)]
    pub(in crate::cli) peer: Peer,
    /// The type of the events
    // Not required by the parser, because the server before it is not.
    pub(in crate::cli) topic: Option<String>,
    /// The payload, JSON [default: each line of standard input is one]
    pub(in crate::cli) payload: Option<String>,
    /// What the events belong to: the topic is then TOPIC:ID
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(in crate::cli) id: String,
}
