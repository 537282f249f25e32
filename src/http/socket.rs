//! A WebSocket: whole messages, bounded both ways.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as Number;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as Side, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as Failure, Message as Raw, Utf8Bytes};

use crate::error::{Code, Error, Phase, Result};
use crate::io::BoxIo;

/// The inner stream.
pub(super) type Inner = WebSocketStream<BoxIo>;

/// Bounds of one WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct SocketLimits {
    /// Longest message that is taken, in bytes. Default 65,544: a datagram and its header (reference table: WS tunnel).
    pub(crate) message: usize,
    /// Bytes written that may wait for the peer; then writers wait. Default 1 MiB (same table).
    pub(crate) buffered: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { message: 65_544, buffered: 1024 * 1024 }
    }
}

impl SocketLimits {
    pub(super) fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .max_message_size(Some(self.message))
            .max_frame_size(Some(self.message))
            // Every message is flushed by itself, so nothing is gained by waiting for more.
            .write_buffer_size(0)
            .max_write_buffer_size(self.buffered)
    }
}

/// Which end of the handshake this was: clients mask what they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
}

/// Why a WebSocket is closed (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseCode(pub(crate) u16);

impl CloseCode {
    /// All was said.
    pub(crate) const NORMAL: Self = Self(1000);
    /// This end is going away.
    pub(crate) const AWAY: Self = Self(1001);
    /// The other end broke the protocol.
    pub(crate) const PROTOCOL: Self = Self(1002);
    /// The other end may not.
    pub(crate) const POLICY: Self = Self(1008);
    /// A message was too long.
    pub(crate) const TOO_BIG: Self = Self(1009);
}

/// A message. Pings are answered by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Bytes),
    /// An answer to [`Sender::ping`].
    Pong(Bytes),
}

/// An open WebSocket. Dropping it closes the connection without a word.
pub(crate) struct WebSocket(Inner);

/// Its sending half.
pub(crate) struct Sender(SplitSink<Inner, Raw>);

/// Its receiving half.
pub(crate) struct Receiver(SplitStream<Inner>);

impl WebSocket {
    pub(super) async fn new(io: BoxIo, role: Role, limits: &SocketLimits) -> Self {
        let side = match role {
            Role::Server => Side::Server,
        };
        Self(WebSocketStream::from_raw_socket(io, side, Some(limits.config())).await)
    }

    pub(super) fn from_inner(inner: Inner) -> Self {
        Self(inner)
    }

    pub(super) fn into_inner(self) -> Inner {
        self.0
    }

    /// The two directions, each for a task of its own. The receiver must be read for pings and closes to be answered.
    pub(crate) fn split(self) -> (Sender, Receiver) {
        let (sender, receiver) = self.0.split();
        (Sender(sender), Receiver(receiver))
    }
}

impl Sender {
    /// Sends a message; waits while too much is unsent. Not cancel-safe: a message may be sent or not when the future is dropped.
    ///
    /// # Errors
    /// `ERR_ALKNET_SESSION_CLOSED` once either end has closed; system codes.
    pub(crate) async fn send(&mut self, message: Message) -> Result<()> {
        let raw = match message {
            Message::Text(text) => Raw::Text(text.into()),
            Message::Binary(bytes) => Raw::Binary(bytes),
            Message::Pong(bytes) => Raw::Pong(bytes),
        };
        self.0.send(raw).await.map_err(|e| failure(&e))
    }

    /// Asks for a sign of life; the answer is a [`Message::Pong`] with the same bytes, 125 at most.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    pub(crate) async fn ping(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.0.send(Raw::Ping(bytes.into())).await.map_err(|e| failure(&e))
    }

    /// Says that this end is done, and why, in 123 bytes at most. The receiver then yields what the other end had still sent.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    pub(crate) async fn close(&mut self, code: CloseCode, reason: &str) -> Result<()> {
        let reason = Utf8Bytes::from(shortened(reason));
        let frame = CloseFrame { code: Number::from(code.0), reason };
        match self.0.send(Raw::Close(Some(frame))).await {
            Ok(()) | Err(Failure::ConnectionClosed) => Ok(()),
            Err(e) => Err(failure(&e)),
        }
    }
}

/// A control frame has room for 125 bytes, two of which are the code.
fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

impl Receiver {
    /// The next message; `None` once the other end has closed. Cancel-safe.
    ///
    /// # Errors
    /// `ERR_ALKNET_PROTOCOL` for what is no WebSocket frame or too long, `ERR_ALKNET_SESSION_CLOSED` when the connection ended without
    /// a close, system codes.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            match self.0.next().await {
                None | Some(Ok(Raw::Close(_)) | Err(Failure::ConnectionClosed)) => return Ok(None),
                Some(Ok(Raw::Text(text))) => return Ok(Some(Message::Text(text.to_string()))),
                Some(Ok(Raw::Binary(bytes))) => return Ok(Some(Message::Binary(bytes))),
                Some(Ok(Raw::Pong(bytes))) => return Ok(Some(Message::Pong(bytes))),
                Some(Ok(Raw::Ping(_) | Raw::Frame(_))) => {}
                Some(Err(e)) => return Err(failure(&e)),
            }
        }
    }
}

pub(super) fn failure(error: &Failure) -> Error {
    let (code, why) = match error {
        Failure::Io(e) => (Code::System(crate::error::posix_name(e)), e.to_string()),
        Failure::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            (Code::Protocol, format!("a message is longer than {max_size} bytes"))
        }
        Failure::ConnectionClosed | Failure::AlreadyClosed => {
            (Code::SessionClosed, "it is closed".to_owned())
        }
        other => (Code::Protocol, other.to_string()),
    };
    Error::new(code, format!("WebSocket: {why}")).at(Phase::Stream)
}
