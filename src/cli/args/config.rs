//! `alknet config` and `alknet up`.

use clap::{Args, Subcommand};

#[derive(Args)]
pub(in crate::cli) struct Config {
    #[command(subcommand)]
    pub(in crate::cli) action: ConfigAction,
}

#[derive(Subcommand)]
pub(in crate::cli) enum ConfigAction {
    /// Show what options come to, command by command
    Show(ConfigShow),
    /// Print the JSON Schema of the configuration file
    Schema,
}

#[derive(Args)]
pub(in crate::cli) struct ConfigShow {
    /// Of this command alone, such as `forward start`
    #[arg(value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<String>,
    /// Say where each value comes from
    #[arg(long)]
    pub(in crate::cli) origin: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Up {
    /// These units alone
    #[arg(value_name = "UNIT")]
    pub(in crate::cli) units: Vec<String>,
    /// Write a line to this open file descriptor when every unit was started
    #[arg(long, value_name = "N", env = "ALKNET_READY_FD")]
    pub(in crate::cli) ready_fd: Option<i32>,
}
