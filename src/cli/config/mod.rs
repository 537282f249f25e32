//! The configuration file: a value for every option that the command line has. There is no second list of them: its keys are the long
//! names, its tables the commands, and both are taken from the grammar.
//!
//! A value said nearer wins: flag, environment, `--config` file, the user's file, built-in; and within a file a command's own table
//! before those around it.

mod layers;
mod schema;

use clap::{Arg, Command};

pub(super) use layers::{Layers, Origin, Unit, meant};
pub(super) use schema::schema;

/// Keys of a table that are no options: whether `alknet up` runs it, and as which command.
const ABOUT: [&str; 2] = ["enabled", "run"];

/// Commands that `alknet up` can run.
pub(super) const RUNNABLE: &[&str] = &[
    "serve",
    "connect",
    "forward",
    #[cfg(feature = "ws")]
    "tunnel agent",
    #[cfg(feature = "ws")]
    "tunnel runner",
    #[cfg(feature = "ws")]
    "tunnel host",
];

/// The options of a command that a file may set.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        arg.get_long().is_some_and(|long| !matches!(long, "help" | "version" | "config"))
    })
}

/// The commands below one that people can see.
fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set())
}

/// The command that a unit runs, as words.
pub(super) fn runs(command: &str) -> Option<&'static [&'static str]> {
    match command {
        "serve" => Some(&["serve"]),
        "connect" => Some(&["connect"]),
        "forward" => Some(&["forward", "start"]),
        #[cfg(feature = "ws")]
        "tunnel agent" => Some(&["tunnel", "agent"]),
        #[cfg(feature = "ws")]
        "tunnel runner" => Some(&["tunnel", "runner"]),
        #[cfg(feature = "ws")]
        "tunnel host" => Some(&["tunnel", "host"]),
        _ => None,
    }
}
