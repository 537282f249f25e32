//! How results and logs come out.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use tracing::level_filters::LevelFilter;

/// How results and logs come out.
#[derive(Args)]
pub(in crate::cli) struct Output {
    /// A configuration file, before the user's own
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "ALKNET_CONFIG",
        help_heading = "General"
    )]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Results as JSON, one object per line on stdout
    #[arg(long, global = true, env = "ALKNET_JSON", help_heading = "General")]
    pub(in crate::cli) json: bool,
    /// Say more: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "General")]
    pub(in crate::cli) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, env = "ALKNET_QUIET", help_heading = "General")]
    pub(in crate::cli) quiet: bool,
    /// The least that is logged
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LEVEL",
        env = "ALKNET_LOG_LEVEL",
        help_heading = "General"
    )]
    pub(in crate::cli) log_level: Option<LogLevel>,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = "ALKNET_LOG_FORMAT",
        help_heading = "General"
    )]
    pub(in crate::cli) log_format: LogFormat,
    /// Append the log to a file instead of stderr
    #[arg(
        short = 'E',
        long,
        global = true,
        value_name = "PATH",
        env = "ALKNET_LOG_FILE",
        help_heading = "General"
    )]
    pub(in crate::cli) log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum LogLevel {
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
