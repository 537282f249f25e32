//! Starting a worker: the same program once more, told over its standard input what to do, so that no list of processes shows it,
//! and heard over its standard output once it can be used.

use std::ffi::OsString;
use std::io::{BufRead, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use zeroize::Zeroizing;

use super::place::Place;
use super::record::{Record, Wanted};
use crate::error::{Code, Error, Phase, Result};

/// Longest start: a log-in over a slow link, and then some.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest line between the two.
const LONGEST: u64 = 256 * 1024;

/// What is kept of what a worker says before it has a log.
const LAST_WORDS: u64 = 4 * 1024;

/// What of the environment a worker gets: who and where the user is, the language, the time zone, the agent, and the two that
/// tune the addon. Nothing else of whoever starts it lives on in it.
const KEPT: [&str; 12] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "ELECTRON_RUN_AS_NODE",
    "ALKNET_WORKERS",
    "ALKNET_SPIN_US",
];

/// What a worker is told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    root: PathBuf,
    pub(crate) wanted: Wanted,
    /// Of the key that logs in.
    passphrase: Option<String>,
}

impl Job {
    pub(super) fn place(&self) -> Place {
        Place::at(self.root.clone())
    }

    /// The passphrase that was asked for where there was somebody to ask.
    pub(crate) fn passphrase(&mut self) -> Option<Zeroizing<String>> {
        self.passphrase.take().map(Zeroizing::new)
    }
}

/// What a worker says: that it can be used, or why not.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Word {
    Ready(Box<Record>),
    Failed { code: String, message: String, phase: Option<String>, hint: Option<String> },
}

/// How a worker is started.
pub(crate) struct Launch {
    /// The words that run the command line of this program.
    pub(crate) program: Vec<OsString>,
    /// Of the key that logs in, when it has one.
    pub(crate) passphrase: Option<Zeroizing<String>>,
}

impl Launch {
    /// Starts a worker and waits until it can be used.
    ///
    /// # Errors
    /// Its own reason; `ETIMEDOUT` after 60 s.
    pub(super) async fn run(&self, place: &Place, wanted: &Wanted) -> Result<Record> {
        let mut worker = self.spawn(wanted)?;
        let told = Told {
            root: place.root(),
            wanted,
            passphrase: self.passphrase.as_ref().map(|word| word.as_str()),
        };
        let line =
            Zeroizing::new(serde_json::to_string(&told).map_err(|e| broken(&e.to_string()))?);
        let (mut said, stderr) = worker.tell(&line)?;
        let listening = async {
            let mut line = Vec::new();
            let heard = (&mut said).take(LONGEST).read_until(b'\n', &mut line).await;
            heard.map(|_| line)
        };
        let line = match tokio::time::timeout(LIMIT, listening).await {
            Ok(line) => line.map_err(|e| Error::system("read", "a worker", e))?,
            Err(_) => {
                let message = "the worker did not say in 60 s that it can be used";
                return Err(Error::new(Code::System("ETIMEDOUT"), message));
            }
        };
        match serde_json::from_slice(&line) {
            Ok(Word::Ready(record)) => {
                worker.leave();
                Ok(*record)
            }
            Ok(Word::Failed { code, message, phase, hint }) => {
                Err(rebuilt(&code, message, phase.as_deref(), hint))
            }
            Err(_) => {
                let mut words = Vec::new();
                let mut stderr = stderr.take(LAST_WORDS);
                let hearing = stderr.read_to_end(&mut words);
                let _ = tokio::time::timeout(Duration::from_secs(1), hearing).await;
                Err(broken(String::from_utf8_lossy(&words).trim()))
            }
        }
    }

    fn spawn(&self, wanted: &Wanted) -> Result<Worker> {
        let (first, rest) = self
            .program
            .split_first()
            .ok_or_else(|| Error::config("nobody said how this program is started again"))?;
        let mut command = Command::new(first);
        command.args(rest).args(["forward", "worker"]).env_clear().current_dir("/");
        if wanted.server.is_none() {
            command.arg("--plain");
        }
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = first.display().to_string();
        let child = command.spawn().map_err(|e| Error::system("spawn", &shown, e))?;
        Ok(Worker { child: Some(child) })
    }
}

/// See [`Job`]; borrowed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    root: &'a std::path::Path,
    wanted: &'a Wanted,
    passphrase: Option<&'a str>,
}

/// A child that is not yet left to itself. Dropped before, it is killed.
struct Worker {
    child: Option<Child>,
}

impl Worker {
    fn tell(&mut self, line: &str) -> Result<(BufReader<Receiver>, Receiver)> {
        let failed = |e| Error::system("pipe", "a worker", e);
        let child = self.child.as_mut().ok_or_else(|| broken("it is gone"))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(broken("it has no pipes"));
        };
        // A worker that ended says why on the other pipe.
        let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n"));
        let stdout = Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(failed)?;
        let stderr = Receiver::from_owned_fd(OwnedFd::from(stderr)).map_err(failed)?;
        Ok((BufReader::new(stdout), stderr))
    }

    /// Lets it live on. Somebody has to ask how it ended, or it stays a zombie as long as this process lives.
    fn leave(mut self) {
        if let Some(child) = self.child.take() {
            reap(child);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            reap(child);
        }
    }
}

fn reap(mut child: Child) {
    let builder = std::thread::Builder::new().name("alknet-reaper".into()).stack_size(64 * 1024);
    let _ = builder.spawn(move || child.wait());
}

/// What this process, a worker, was told on standard input. Blocks.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` when nobody told it anything: it was started by hand.
pub(crate) fn read_job() -> Result<Job> {
    let mut line = Zeroizing::new(String::new());
    let heard = std::io::stdin().lock().take(LONGEST).read_line(&mut line);
    let by_hand = || Error::config("a worker is started by `alknet forward start` alone");
    heard.map_err(|_| by_hand())?;
    serde_json::from_str(&line).map_err(|_| by_hand())
}

/// Says the word to whoever started this process, if that is still there.
pub(super) fn say(word: &Word) {
    let Ok(mut line) = serde_json::to_vec(word) else { return };
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

fn broken(words: &str) -> Error {
    let words: String = words.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    Error::new(Code::System("ECHILD"), format!("the worker ended at once: {words}"))
}

/// A worker's failure as one of this process.
fn rebuilt(code: &str, message: String, phase: Option<&str>, hint: Option<String>) -> Error {
    const CODES: &[Code] = &[
        Code::Config,
        Code::KeyInvalid,
        Code::AuthRejected,
        Code::TooManySessions,
        Code::HostKeyUnknown,
        Code::HostKeyChanged,
        Code::HostKeyRevoked,
        Code::HandshakeTimeout,
        Code::ChannelRejected,
        Code::SessionClosed,
        Code::Reconnecting,
        Code::Protocol,
        Code::Proxy,
        Code::SlowConsumer,
        Code::ForwarderExists,
        Code::ForwarderNotFound,
    ];
    const SYSTEM: &[&str] = &[
        "EADDRINUSE",
        "EADDRNOTAVAIL",
        "EACCES",
        "EPERM",
        "ENOTFOUND",
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EMFILE",
        "ENOENT",
        "ENOTDIR",
        "EISDIR",
        "EINVAL",
        "ECONNREFUSED",
        "ECONNRESET",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EFBIG",
    ];
    const PHASES: &[Phase] = &[
        Phase::Config,
        Phase::Dns,
        Phase::Tcp,
        Phase::Kex,
        Phase::HostKey,
        Phase::Auth,
        Phase::Channel,
        Phase::Listen,
    ];
    let own = CODES.iter().copied().find(|known| known.as_str() == code);
    let system = || SYSTEM.iter().find(|name| **name == code).map(|name| Code::System(name));
    let code = own.or_else(system).unwrap_or(Code::System("EIO"));
    let mut error = Error::new(code, message);
    if let Some(phase) = PHASES.iter().find(|known| Some(known.as_str()) == phase) {
        error = error.at(*phase);
    }
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
