//! The host's part of a session: messages pass between a user and a runner as they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::Notify;

use super::carry::{End, carry};
use super::frame::{HEADER, Kind, decode};
use super::outbox::Outbox;
use crate::error::Result;
use crate::http::{CloseFrame, Message, Socket};
use crate::io::Relays;

/// Bytes on their way beyond which the other side is not read. Connections in one session with credits do not notice.
const ON_THE_WAY: usize = 4 * 1024 * 1024;

/// Longest wait for a runner's first message (seed systems: session start).
pub(crate) const FIRST_LIMIT: Duration = Duration::from_secs(10);

/// How a session begins, or why it does not.
pub(crate) enum First {
    /// To be passed on; then the session runs.
    Said(Message),
    /// Nothing was said in time.
    Late,
    /// It has gone.
    Gone,
}

/// A runner's first message.
pub(crate) async fn first(runner: &mut Socket) -> First {
    let said = async {
        loop {
            match runner.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return First::Gone,
                Some(Ok(message)) => return First::Said(message),
            }
        }
    };
    tokio::time::timeout(FIRST_LIMIT, said).await.unwrap_or(First::Late)
}

/// Passes messages both ways until one side ends; then the other is ended too. `extended`: the runner knows what is ours. Counts the
/// bytes of connections.
pub(crate) async fn pass(
    user: Socket,
    runner: Socket,
    said: Message,
    extended: bool,
    counts: &Relays,
) {
    let (to_user, to_runner) = (Outbox::default(), Outbox::default());
    to_user.push(said);
    let near = Side { strip: !extended, ..Side::new(&to_user, &to_runner, &counts.up) };
    relay(user, &near, runner, &Side::new(&to_runner, &to_user, &counts.down)).await;
}

/// Passes the texts of a terminal on, and how it ended. `extended`: the user takes the shell's exit code. Counts the texts' bytes.
pub(crate) async fn pass_terminal(user: Socket, runner: Socket, extended: bool, counts: &Relays) {
    let (to_user, to_runner) = (Outbox::default(), Outbox::default());
    let near = Side::new(&to_user, &to_runner, &counts.up);
    let far = Side { ends: Some(extended), ..Side::new(&to_runner, &to_user, &counts.down) };
    relay(user, &near, runner, &far).await;
}

async fn relay(user: Socket, near: &Side<'_>, runner: Socket, far: &Side<'_>) {
    let (to_user, to_runner) = (near.own, far.own);
    tokio::join!(
        async {
            carry(user, near).await;
            to_user.shut();
            to_runner.close(1000, "");
        },
        async {
            carry(runner, far).await;
            to_runner.shut();
            to_user.close(1000, "");
        },
    );
}

/// Tells a user that a session begins. False when the user has gone.
pub(crate) async fn welcome(user: &mut Socket) -> bool {
    user.send(Message::Text("CONNECTED".into())).await.is_ok()
}

/// Tells a user why there is no session.
pub(crate) async fn refuse(user: Socket, text: &str, code: u16) {
    let out = Outbox::default();
    out.text(text);
    out.close(code, "");
    carry(user, &Side::new(&out, &Outbox::default(), &AtomicU64::default())).await;
}

struct Side<'a> {
    own: &'a Outbox,
    other: &'a Outbox,
    /// The other side knows nothing of what is ours.
    strip: bool,
    /// A close is passed on with its code, and, when this is true, with its reason.
    ends: Option<bool>,
    /// Bytes that came from here.
    count: &'a AtomicU64,
}

impl<'a> Side<'a> {
    fn new(own: &'a Outbox, other: &'a Outbox, count: &'a AtomicU64) -> Self {
        Self { own, other, strip: false, ends: None, count }
    }
}

impl End for Side<'_> {
    fn next(&self) -> Option<Message> {
        self.own.pop()
    }

    fn ready(&self) -> &Notify {
        &self.own.ready
    }

    async fn take(&self, message: Message) -> Result<()> {
        match message {
            Message::Binary(_) | Message::Text(_) => {
                self.count.fetch_add(carried(&message), Ordering::Relaxed);
                if let Some(message) = if self.strip { stripped(message) } else { Some(message) } {
                    self.other.push(message);
                    self.other.below(ON_THE_WAY).await;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn closed(&self, frame: &CloseFrame) {
        if let Some(reason) = self.ends {
            self.other.close(frame.code.into(), if reason { &frame.reason } else { "" });
        }
    }

    fn tick(&self, _asking: bool) {}
}

/// Bytes of a connection or of a terminal in a message.
fn carried(message: &Message) -> u64 {
    let bytes = match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) if bytes.first() == Some(&(Kind::Data as u8)) => {
            bytes.len().saturating_sub(HEADER)
        }
        _ => 0,
    };
    bytes as u64
}

/// A message without what is ours.
fn stripped(message: Message) -> Option<Message> {
    let Message::Binary(bytes) = &message else { return Some(message) };
    match decode(bytes).ok().and_then(|(header, _)| header.kind()) {
        Some(Kind::Connect) => Some(Message::Binary(bytes.slice(..HEADER))),
        Some(Kind::Credit | Kind::Finish) => None,
        _ => Some(message),
    }
}
