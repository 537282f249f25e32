//! The command line, the same for the binary and for the npm package: parses, composes, reports. Whoever runs it owns signals and
//! the process's exit.

#[cfg(feature = "ws")]
mod agent;
mod args;
mod command;
mod config;
mod exit;
mod given;
mod log;
mod parse;
mod report;
mod wording;

use std::ffi::OsString;

use clap::CommandFactory;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "ws")]
pub use agent::run_agent;
pub use exit::Exit;

use args::{Arguments, Command};
use parse::{Parsed, Refusal, parse};
use report::Report;

use crate::error::Result;
use crate::runtime::Work;

/// How the one who runs a command line steers it: the two stages of an end, and a reload.
#[derive(Clone, Debug, Default)]
pub struct Control {
    drain: CancellationToken,
    end: CancellationToken,
    reload: std::sync::Arc<tokio::sync::Notify>,
    program: std::sync::Arc<[OsString]>,
}

impl Control {
    /// For a program that is started again by these words, followed by those of a command line. Forwarders in the background are.
    pub fn of(program: impl IntoIterator<Item = OsString>) -> Self {
        Self { program: program.into_iter().collect(), ..Self::default() }
    }

    /// What starts the program again.
    #[cfg(unix)]
    fn program(&self) -> Vec<OsString> {
        self.program.to_vec()
    }

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

/// A command line that was read, with the files that it follows, and not yet run.
pub struct CommandLine {
    words: Vec<OsString>,
    parsed: std::result::Result<Parsed, Refusal>,
}

impl CommandLine {
    /// Reads the words, the first being the program's name. What is wrong with them is told by [`run`](Self::run). Blocks.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = drop_in(words.into_iter().collect());
        let parsed = parse(&words);
        Self { words, parsed }
    }

    /// What the process will carry, by which its runtime is built.
    pub fn work(&self) -> Work {
        self.parsed.as_ref().map_or(Work::default(), command::work)
    }

    /// Runs it and says how it ended. Installs the process's log output, and has the allocator keep a little of what is freed;
    /// nothing else is global. Dropping the future ends what it runs.
    pub async fn run(self, control: Control) -> Exit {
        let Self { words, parsed } = self;
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(Refusal::Usage(error)) => return answered(&error),
            Err(Refusal::Config(error)) => {
                let json = words.iter().any(|word| word == "--json");
                return Report::plain(json).failed(&error);
            }
        };
        let report = Report::new(&parsed.arguments.output);
        if let Err(error) = log::install(&parsed.arguments.output) {
            return report.failed(&error);
        }
        until_told(dispatch(parsed, &report, &control), &report, &control).await
    }
}

/// Help and version are answers, on stdout; everything else is a mistake, on stderr.
fn answered(error: &clap::Error) -> Exit {
    let _ = error.print();
    if error.use_stderr() { Exit::USAGE } else { Exit::OK }
}

/// Goes on to the end of `running`, or to the second signal.
async fn until_told(
    running: impl Future<Output = Result<Exit>>,
    report: &Report,
    control: &Control,
) -> Exit {
    keep_freed_memory();
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

/// Runs an `alknet forward` command line, its first word the program's name, and gives its result as JSON instead of printing it.
///
/// # Errors
/// The command's own; `ERR_ALKNET_CONFIG` for words that are none.
#[cfg(unix)]
pub async fn forwarders(
    words: impl IntoIterator<Item = OsString>,
    control: Control,
) -> Result<String> {
    let words: Vec<OsString> = words.into_iter().collect();
    let bad = |refusal| match refusal {
        Refusal::Config(error) => error,
        Refusal::Usage(e) => crate::error::Error::config(e.render().to_string().trim().to_owned()),
    };
    let Parsed { arguments, given, .. } = parse(&words).map_err(bad)?;
    let Command::Forward(options) = arguments.command else {
        return Err(crate::error::Error::config("these words are no `alknet forward`"));
    };
    Ok(command::outcome(&options, &given, &control).await?.into_value()?.to_string())
}

/// Every command and option, for completions and manual pages.
pub fn grammar() -> clap::Command {
    args::laid_out(Arguments::command())
}

/// Called `tunnel-client`, the program is the original's agent: its options, and its variable for the log.
fn drop_in(words: Vec<OsString>) -> Vec<OsString> {
    let called = words.first().and_then(|word| std::path::Path::new(word).file_stem());
    if called.is_none_or(|name| name != "tunnel-client") {
        return words;
    }
    let mut all: Vec<OsString> =
        ["alknet", "tunnel", "agent", "--drop-in"].map(OsString::from).to_vec();
    all.extend(log_level(&words));
    all.extend(words.into_iter().skip(1));
    all
}

/// The original's variable for the log as an option, where the words have none.
fn log_level(words: &[OsString]) -> Vec<OsString> {
    let said = words.iter().any(|word| word.to_string_lossy().starts_with("--log-level"));
    let level = std::env::var_os("LOG_LEVEL").filter(|level| !level.is_empty() && !said);
    level.map_or_else(Vec::new, |level| vec!["--log-level".into(), level])
}

async fn dispatch(parsed: Parsed, report: &Report, control: &Control) -> Result<Exit> {
    let Parsed { arguments, given, layers, named, words } = parsed;
    match arguments.command {
        Command::Up(options) => {
            command::up(&options, &layers, named.as_deref(), report, control).await
        }
        Command::Config(options) => command::config(&options, &layers, report),
        #[cfg(unix)]
        Command::Status(options) => {
            let options = args::Forward { action: args::ForwardAction::Status(options) };
            command::forward(&options, &given, report, control).await
        }
        #[cfg(unix)]
        Command::Forward(options) => command::forward(&options, &given, report, control).await,
        Command::Serve(options) => command::serve(&options, report, control).await,
        Command::Connect(options) => command::connect(&options, &words, report, control).await,
        Command::Bus(options) => command::bus(&options, report, control).await,
        #[cfg(feature = "ws")]
        Command::Tunnel(options) => command::tunnel(&options, report, control).await,
        Command::Keygen(options) => command::keygen(&options, report),
        Command::Fingerprint(options) => command::fingerprint(&options, report).await,
        Command::Doctor(options) => command::doctor(&options, report).await,
        Command::Completion(options) => command::completion(&options, report),
    }
}
