//! The command line, the same for the binary and for the npm package: parses, composes, reports. Whoever runs it owns signals and
//! the process's exit.

mod args;
mod command;
mod exit;
mod log;
mod report;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};
use tokio_util::sync::CancellationToken;

pub use exit::Exit;

use args::{Arguments, Command};
use report::Report;

use crate::error::Result;

/// How the one who runs a command line steers it: the two stages of an end, and a reload.
#[derive(Clone, Debug, Default)]
pub struct Control {
    drain: CancellationToken,
    end: CancellationToken,
    reload: std::sync::Arc<tokio::sync::Notify>,
}

impl Control {
    /// A signal to end came (SIGINT, SIGTERM): the first drains, the second ends at once. Callable from any thread.
    pub fn interrupt(&self) {
        if self.drain.is_cancelled() {
            self.end.cancel();
        }
        self.drain.cancel();
    }

    /// A signal to read keys and settings again came (SIGHUP).
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Ready once the first signal came.
    async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Ready once the second signal came.
    async fn ended(&self) {
        self.end.cancelled().await;
    }

    async fn reloaded(&self) {
        self.reload.notified().await;
    }
}

/// As much memory comes and goes while a forward carries bulk: what one stream may hold.
const CHURN: usize = 4 * 1024 * 1024;

/// Runs a command line, its first word the program's name, and says how it ended. Installs the process's log output, and has the
/// allocator keep a little of what is freed; nothing else is global. Dropping the future ends what it runs.
pub async fn run(words: impl IntoIterator<Item = OsString>, control: Control) -> Exit {
    let words: Vec<OsString> = drop_in(words.into_iter().collect());
    let arguments = match parse(&words) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let report = Report::new(&arguments.output);
    if let Err(error) = log::install(&arguments.output) {
        return report.failed(&error);
    }
    keep_freed_memory();
    let running = dispatch(arguments.command, &report, &control);
    let done = tokio::select! {
        done = running => done,
        () = control.ended() => return Exit::INTERRUPTED,
    };
    match done {
        Ok(exit) => exit,
        Err(error) => report.failed(&error),
    }
}

/// glibc gives freed memory back to the system above a limit that follows the largest block freed so far (mallopt(3),
/// `M_MMAP_THRESHOLD`). Where it starts, the buffers of a transfer are page faults again and again: a quarter of its processor time
/// (measured). Other allocators take no notice.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(CHURN)));
}

/// Every command and option, for completions and manual pages.
pub fn grammar() -> clap::Command {
    Arguments::command()
}

/// Called `tunnel-client`, the program is the original's agent: its options, and its variable for the log.
fn drop_in(words: Vec<OsString>) -> Vec<OsString> {
    let called = words.first().and_then(|word| std::path::Path::new(word).file_stem());
    if called.is_none_or(|name| name != "tunnel-client") {
        return words;
    }
    let mut all: Vec<OsString> =
        ["alknet", "tunnel", "agent", "--drop-in"].map(OsString::from).to_vec();
    if let Some(level) = std::env::var_os("LOG_LEVEL").filter(|level| !level.is_empty())
        && !words.iter().any(|word| word.to_string_lossy().starts_with("--log-level"))
    {
        all.extend(["--log-level".into(), level]);
    }
    all.extend(words.into_iter().skip(1));
    all
}

fn parse(words: &[OsString]) -> std::result::Result<Arguments, Exit> {
    let matches = grammar().try_get_matches_from(words);
    matches.and_then(|found| Arguments::from_arg_matches(&found)).map_err(|error| {
        // Help and version are answers, on stdout; everything else is a mistake, on stderr.
        let _ = error.print();
        if error.use_stderr() { Exit::USAGE } else { Exit::OK }
    })
}

async fn dispatch(command: Command, report: &Report, control: &Control) -> Result<Exit> {
    match command {
        Command::Serve(options) => command::serve(&options, report, control).await,
        Command::Connect(options) => command::connect(&options, report, control).await,
        Command::Bus(options) => command::bus(&options, report, control).await,
        #[cfg(feature = "ws")]
        Command::Tunnel(options) => command::tunnel(&options, report, control).await,
        Command::Keygen(options) => command::keygen(&options, report),
        Command::Fingerprint(options) => command::fingerprint(&options, report).await,
        Command::Doctor(options) => command::doctor(&options, report).await,
        Command::Completion(options) => command::completion(&options, report),
    }
}
