//! A program in a terminal of its own (pty(7)), as a stream of records.
//!
//! The hazard: a program outlives nobody's interest in it. Whatever ends the stream hangs the terminal up and ends the program's group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::BytesMut;
use pty_process::{Command, Pty, ReadPty, WritePty};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::process::Child;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::message::{PIECE, Size};
use super::record::{Record, Records};
use crate::io::{BoxIo, pipe};
use crate::scope::Scope;

/// How long the size of a terminal may take to come.
const SIZE_LIMIT: Duration = Duration::from_secs(10);

/// How long what a program wrote last is waited for, when others it has left behind keep its terminal open.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long a program may take to end once its terminal is hung up.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is told meanwhile.
const TELLINGS: u32 = 4;

/// What somebody sees who asks for a terminal where there is none (seed systems: terminal).
const NO_SHELL: &str = "No suitable shell found.";

/// The first of the shells that is there.
pub(crate) fn usual_shell() -> Option<Vec<String>> {
    let shells = ["/bin/bash", "/bin/sh"];
    shells.iter().find(|path| Path::new(path).exists()).map(|path| vec![(*path).to_owned()])
}

/// A program and its arguments as a stream of records, run once a size has come.
pub(crate) fn shell(words: Vec<String>, scope: &Scope) -> BoxIo {
    let (near, far) = pipe();
    let tasks = scope.clone();
    // To its end, which is never later than a moment after the scope's: the program must not stay.
    scope.spawn_to_end(async move { run(far, &words, &tasks).await });
    Box::new(near)
}

async fn run(stream: impl AsyncRead + AsyncWrite, words: &[String], scope: &Scope) {
    let (from, mut to) = split(stream);
    let mut records = Records::new(from);
    let size = tokio::select! {
        first = timeout(SIZE_LIMIT, records.next()) => first,
        () = scope.cancelled() => return,
    };
    let Ok(Ok(Some(Record::Size(size)))) = size else { return };
    let last = match Program::start(words, size) {
        Err(e) => {
            tracing::warn!(%e, "a terminal's program cannot be run");
            Record::Failed(NO_SHELL.to_owned())
        }
        Ok(mut program) => {
            let (screen, keys) = program.pty.split();
            let ended = tokio::select! {
                ended = show(screen, &mut program.child, &mut to) => ended.ok(),
                () = types(&mut records, keys) => None,
                () = scope.cancelled() => None,
            };
            match ended {
                Some(code) => Record::Exit(code),
                None => return program.hang_up().await,
            }
        }
    };
    let saying = async {
        to.write_all(&last.encode()).await?;
        to.shutdown().await
    };
    // Who does not take its last word has gone.
    tokio::select! {
        _ = timeout(SIZE_LIMIT, saying) => {}
        () = scope.cancelled() => {}
    }
}

/// A program that runs, and its terminal.
struct Program {
    child: Child,
    leader: Pid,
    pty: Pty,
}

impl Program {
    fn start(words: &[String], size: Size) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let (program, arguments) = words.split_first().ok_or_else(missing)?;
        let (pty, end) = pty_process::open().map_err(io::Error::other)?;
        pty.resize(pty_size(size)).map_err(io::Error::other)?;
        let mut command = Command::new(program).args(arguments).env("TERM", "xterm-256color");
        // Tokens above all.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ALKNET_") {
                command = command.env_remove(name);
            }
        }
        let child = command.kill_on_drop(true).spawn(end).map_err(io::Error::other)?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { leader: leader.ok_or_else(missing)?, child, pty })
    }

    /// Hangs the terminal up, as a modem did, and ends what does not take that for an end.
    async fn hang_up(self) {
        let Self { mut child, leader, pty } = self;
        let front = rustix::termios::tcgetpgrp(&pty).ok().filter(|front| *front != leader);
        // The kernel tells the leader, and a shell its jobs.
        drop(pty);
        let groups = || [Some(leader), front].into_iter().flatten();
        let end = Instant::now() + GRACE;
        // A shell that is told twice within a moment ends before it has told the jobs in its background; one that was just about to
        // wait for a job has missed it.
        while timeout(GRACE / TELLINGS, child.wait()).await.is_err() && Instant::now() < end {
            for group in groups() {
                let _ = kill_process_group(group, Signal::HUP);
                let _ = kill_process_group(group, Signal::CONT);
            }
        }
        if groups().any(|group| test_kill_process_group(group).is_ok()) {
            sleep_until(end).await;
            for group in groups() {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        let _ = child.wait().await;
    }
}

fn pty_size(Size { rows, cols }: Size) -> pty_process::Size {
    pty_process::Size::new(rows, cols)
}

/// Until the program has ended and all it wrote is on its way: its exit code.
async fn show(
    mut screen: ReadPty<'_>,
    child: &mut Child,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<u8> {
    let status = loop {
        tokio::select! {
            // First what it wrote, then that it has ended.
            biased;
            piece = read(&mut screen) => match piece {
                Some(piece) => to.write_all(&piece.encode()).await?,
                None => break child.wait().await?,
            },
            status = child.wait() => break status?,
        }
    };
    let end = Instant::now() + LAST_WORDS;
    while let Ok(Some(piece)) = timeout_at(end, read(&mut screen)).await {
        to.write_all(&piece.encode()).await?;
    }
    Ok(code(status))
}

/// What was written; `None` once nobody has the terminal open any more, which Linux tells by EIO.
async fn read(screen: &mut ReadPty<'_>) -> Option<Record> {
    let mut piece = BytesMut::with_capacity(PIECE);
    match screen.read_buf(&mut piece).await {
        Ok(1..) => Some(Record::Bytes(piece.freeze())),
        Ok(0) | Err(_) => None,
    }
}

/// Until the user has gone.
async fn types(records: &mut Records<impl AsyncRead + Unpin>, mut keys: WritePty<'_>) {
    while let Ok(Some(record)) = records.next().await {
        match record {
            Record::Size(size) => drop(keys.resize(pty_size(size))),
            Record::Bytes(bytes) if keys.write_all(&bytes).await.is_err() => {
                // The program has let go of its terminal, and may go on without.
                std::future::pending::<()>().await;
            }
            Record::Bytes(_) | Record::Exit(_) | Record::Failed(_) => {}
        }
    }
}

/// As shells say it of signals.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}
