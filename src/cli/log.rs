//! Log output: text or JSON lines, on stderr or in a file.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{Layer, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, filter::Targets};

use super::args::{LogFormat, Output};
use crate::error::{Error, Phase, Result};

/// Installs the log output of this process. A second call changes nothing.
///
/// # Errors
/// The log file's own failure.
pub(super) fn install(output: &Output) -> Result<()> {
    match &output.log_file {
        None => subscribe(output, std::io::stderr),
        Some(path) => {
            let shown = path.display().to_string();
            let failed = |e| Error::system("open", &shown, e).at(Phase::Config);
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            subscribe(output, Mutex::new(options.open(path).map_err(failed)?));
        }
    }
    Ok(())
}

fn subscribe<W>(output: &Output, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Of our own; the libraries below may say what must not be in a log.
    let wanted = Targets::new().with_target("alknet", level(output));
    // The journal stamps its lines itself.
    let stamped = output.log_file.is_some() || std::env::var_os("JOURNAL_STREAM").is_none();
    let colours = output.log_file.is_none() && std::io::stderr().is_terminal();
    // A line that cannot be written, on a full disk, is lost; telling of it would end the task that wanted to log.
    let layer = Layer::new()
        .with_writer(writer)
        .with_target(false)
        .with_ansi(colours)
        .log_internal_errors(false);
    let registry = Registry::default().with(wanted);
    // Another program in this process may have a log already, and keeps it.
    let _ = match (output.log_format, stamped) {
        (LogFormat::Json, _) => {
            let json = layer.json().flatten_event(true).with_timer(SystemTime);
            tracing::subscriber::set_global_default(registry.with(json))
        }
        (LogFormat::Text, true) => {
            tracing::subscriber::set_global_default(registry.with(layer.with_timer(SystemTime)))
        }
        (LogFormat::Text, false) => {
            tracing::subscriber::set_global_default(registry.with(layer.without_time()))
        }
    };
}

fn level(output: &Output) -> LevelFilter {
    if let Some(level) = output.log_level {
        return level.into();
    }
    match (output.quiet, output.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}
