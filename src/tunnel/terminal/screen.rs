//! The runner's part of a terminal: a user's texts on one side, whoever has the shell on the other.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{Notify, mpsc, watch};

use super::message::{PIECE, Said, Size, fault};
use super::record::{Record, Records};
use super::text::Utf8;
use crate::error::Result;
use crate::http::{Message, Socket};
use crate::io::BoxIo;
use crate::tunnel::carry::{End, carry};
use crate::tunnel::outbox::Outbox;

/// How long a user may take to say how large its terminal is (seed systems: terminal).
const SIZE_LIMIT: Duration = Duration::from_secs(2);

/// Bytes on their way to a user beyond which the shell is not read, so that its program waits.
const ON_THE_WAY: usize = 256 * 1024;

/// How long a pause of a user holds up what its shell says next: a shell that takes no keys until it was heard keeps the user's
/// [`Said::Resume`] behind them from being read.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);

/// Texts of a user that the shell has not taken; more are not read.
const TYPED: usize = 4;

/// Shows a shell to a user until either has gone. `extended`: the user is told the shell's exit code.
pub(crate) async fn screen(user: Socket, shell: BoxIo, extended: bool) {
    let (typed, texts) = mpsc::channel(TYPED);
    let screen = Screen { out: Outbox::default(), typed, paused: watch::Sender::default() };
    tokio::select! {
        _ = carry(user, &screen) => {}
        () = show(shell, texts, &screen, extended) => {}
    }
}

struct Screen {
    out: Outbox,
    typed: mpsc::Sender<Said>,
    /// The user has enough to show.
    paused: watch::Sender<bool>,
}

impl End for Screen {
    fn next(&self) -> Option<Message> {
        self.out.pop()
    }

    fn ready(&self) -> &Notify {
        &self.out.ready
    }

    async fn take(&self, message: Message) -> Result<()> {
        if let Message::Text(text) = message
            && let Some(said) = Said::read(&text)
        {
            match said {
                Said::Pause | Said::Resume => drop(self.paused.send_replace(said == Said::Pause)),
                // Fails when nobody types any more: the shell has ended.
                said => drop(self.typed.send(said).await),
            }
        }
        Ok(())
    }

    fn tick(&self, _asking: bool) {}
}

/// Never ends: the socket does, once everything is said.
async fn show(shell: BoxIo, mut texts: mpsc::Receiver<Said>, screen: &Screen, extended: bool) {
    let out = &screen.out;
    let (from, mut to) = split(shell);
    let (size, early) = first(&mut texts).await;
    let ended = match to.write_all(&Record::Size(size).encode()).await {
        Err(e) => Err(e.to_string()),
        Ok(()) => {
            out.text(&Said::Output { data: String::new() }.write());
            tokio::select! {
                ended = display(from, screen) => ended,
                never = types(&mut texts, early, &mut to) => match never {},
            }
        }
    };
    match ended {
        Ok(code) if extended => out.close(1000, &format!("exit {code}")),
        Ok(_) => out.close(1000, ""),
        Err(why) => {
            out.text(&fault(&why));
            out.close(1011, "");
        }
    }
    std::future::pending().await
}

/// The size that a user begins with, and what it typed before it had said one.
async fn first(texts: &mut mpsc::Receiver<Said>) -> (Size, Vec<String>) {
    let mut early = Vec::new();
    let saying = async {
        loop {
            match texts.recv().await {
                Some(Said::Resize { rows, cols }) => return Size { rows, cols },
                Some(Said::Input { data }) if early.len() < TYPED => early.push(data),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    };
    let size = tokio::time::timeout(SIZE_LIMIT, saying).await.unwrap_or_default();
    (size, early)
}

async fn display(shell: impl AsyncRead + Unpin, screen: &Screen) -> Result<u8, String> {
    let (out, mut paused) = (&screen.out, screen.paused.subscribe());
    let mut records = Records::new(shell);
    let mut utf8 = Utf8::default();
    loop {
        let text = match records.next().await {
            Ok(Some(Record::Bytes(bytes))) => utf8.push(&bytes),
            Ok(Some(Record::Exit(code))) => {
                output(out, utf8.finish()).await;
                return Ok(code);
            }
            Ok(Some(Record::Failed(why))) => return Err(why),
            Ok(Some(Record::Size(_))) => continue,
            Ok(None) => return Err("the shell has gone".to_owned()),
            Err(e) => return Err(e.to_string()),
        };
        output(out, &text).await;
        let resumed = paused.wait_for(|paused| !paused);
        let _ = tokio::time::timeout(PAUSE_LIMIT, resumed).await;
    }
}

async fn output(out: &Outbox, text: &str) {
    if !text.is_empty() {
        out.text(&Said::Output { data: text.to_owned() }.write());
        out.below(ON_THE_WAY).await;
    }
}

async fn types(
    texts: &mut mpsc::Receiver<Said>,
    early: Vec<String>,
    shell: &mut (impl AsyncWrite + Unpin),
) -> std::convert::Infallible {
    for data in early {
        let _ = keys(shell, &data).await;
    }
    loop {
        let written = match texts.recv().await {
            Some(Said::Input { data }) => keys(shell, &data).await,
            Some(Said::Resize { rows, cols }) => {
                shell.write_all(&Record::Size(Size { rows, cols }).encode()).await
            }
            Some(_) => Ok(()),
            None => std::future::pending().await,
        };
        if written.is_err() {
            // The shell has ended; its last words are still being shown.
            std::future::pending::<()>().await;
        }
    }
}

async fn keys(shell: &mut (impl AsyncWrite + Unpin), text: &str) -> std::io::Result<()> {
    for piece in text.as_bytes().chunks(PIECE) {
        shell.write_all(&Record::Bytes(bytes::Bytes::copy_from_slice(piece)).encode()).await?;
    }
    Ok(())
}
