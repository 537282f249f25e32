//! The user's part of a terminal: keys and sizes out, a screen in, and how the shell ended.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};

use super::message::{PIECE, Said, Size};
use crate::error::{Code, Error, Phase, Result};
use crate::http::{CloseFrame, Message, Socket};
use crate::tunnel::carry::{End, carry};
use crate::tunnel::frame::readable;
use crate::tunnel::outbox::Outbox;

/// How long keys wait for the terminal to be there (seed systems: terminal); then they go anyway.
const THERE_LIMIT: Duration = Duration::from_secs(3);

/// Bytes of keys that may be on their way; more are not read.
const ON_THE_WAY: usize = 256 * 1024;

/// Texts that the screen has not taken; more are not read.
const SHOWN: usize = 16;

/// What a user does.
#[derive(Debug)]
pub(crate) enum Key {
    Text(String),
    Size(Size),
}

/// A user's end of a terminal that a host was asked for.
pub(crate) struct Near(pub(crate) Socket);

impl Near {
    /// Shows the shell on `screen` until it ends: its exit code. Ends when `keys` does, too: `None`.
    ///
    /// # Errors
    /// `ERR_ALKNET_CHANNEL_REJECTED` with what the host or the runner said, `ERR_ALKNET_SESSION_CLOSED` when the connection was lost,
    /// those of writing to `screen`.
    pub(crate) async fn run(
        self,
        size: Size,
        mut keys: mpsc::Receiver<Key>,
        mut screen: impl AsyncWrite + Unpin,
    ) -> Result<Option<u8>> {
        let (said, mut texts) = mpsc::channel(SHOWN);
        let wire = Wire { out: Outbox::default(), said, closed: Mutex::new(None) };
        wire.out.text(&Said::from(size).write());
        let there = Notify::new();
        let carrying = async {
            let why = carry(self.0, &wire).await;
            // After all that came before it.
            let _ = wire.said.send(Came::End).await;
            Ok(why)
        };
        let both = async {
            tokio::try_join!(carrying, show(&mut texts, &mut screen, &there)).map(|(why, ())| why)
        };
        tokio::select! {
            why = both => wire.ended(why?).map(Some),
            () = types(&mut keys, &wire.out, &there) => Ok(None),
        }
    }
}

/// What came from the other end.
enum Came {
    Text(String),
    End,
}

struct Wire {
    out: Outbox,
    said: mpsc::Sender<Came>,
    closed: Mutex<Option<(u16, String)>>,
}

impl Wire {
    fn ended(&self, why: Error) -> Result<u8> {
        match self.closed.lock().take() {
            Some((1000, reason)) => {
                let code = reason.strip_prefix("exit ").and_then(|code| code.parse().ok());
                Ok(code.unwrap_or(0))
            }
            _ => Err(why),
        }
    }
}

impl End for Wire {
    fn next(&self) -> Option<Message> {
        self.out.pop()
    }

    fn ready(&self) -> &Notify {
        &self.out.ready
    }

    async fn take(&self, message: Message) -> Result<()> {
        if let Message::Text(text) = message {
            let _ = self.said.send(Came::Text(text.to_string())).await;
        }
        Ok(())
    }

    fn closed(&self, frame: &CloseFrame) {
        *self.closed.lock() = Some((frame.code.into(), frame.reason.to_string()));
    }

    fn tick(&self, _asking: bool) {}
}

/// Until everything is shown that came.
async fn show(
    texts: &mut mpsc::Receiver<Came>,
    screen: &mut (impl AsyncWrite + Unpin),
    there: &Notify,
) -> Result<()> {
    let failed = |e| Error::system("write", "standard output", e);
    while let Some(Came::Text(text)) = texts.recv().await {
        there.notify_one();
        let data = match Said::read(&text) {
            Some(Said::Output { data }) => data,
            Some(Said::Error { data }) => {
                return Err(Error::new(Code::ChannelRejected, readable(&data)).at(Phase::Channel));
            }
            Some(_) => continue,
            // As the originals' users do.
            None => text,
        };
        screen.write_all(data.as_bytes()).await.map_err(failed)?;
        screen.flush().await.map_err(failed)?;
    }
    Ok(())
}

/// Until there are no more keys.
async fn types(keys: &mut mpsc::Receiver<Key>, out: &Outbox, there: &Notify) {
    let _ = tokio::time::timeout(THERE_LIMIT, there.notified()).await;
    while let Some(key) = keys.recv().await {
        match key {
            Key::Size(size) => out.text(&Said::from(size).write()),
            Key::Text(text) => {
                for data in pieces(&text) {
                    out.text(&Said::Input { data: data.to_owned() }.write());
                }
            }
        }
        out.below(ON_THE_WAY).await;
    }
}

/// A text in pieces that cut no character.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_paste_goes_in_pieces_that_cut_no_character() {
        let text = format!("a{}", "😀".repeat(PIECE));
        let cut: Vec<_> = pieces(&text).collect();
        assert!(cut.len() > 3 && cut.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("").count(), 0);
    }
}
