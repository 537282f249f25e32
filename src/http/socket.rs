//! A WebSocket: a row of messages, closes included, bounded both ways.

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(super) use tokio_tungstenite::tungstenite::protocol::Role;

pub(crate) use tokio_tungstenite::tungstenite::error::ProtocolError;
pub(crate) use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub(crate) use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
pub(crate) use tokio_tungstenite::tungstenite::{Error as Failure, Message, Utf8Bytes};

use crate::io::BoxIo;

/// An open WebSocket. It must be read for pings and closes to be answered. Dropping it closes the connection without a word.
pub(crate) type Socket = WebSocketStream<BoxIo>;

/// Bounds of one WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct SocketLimits {
    /// Longest message that is taken, in bytes. Default 65,544: a datagram and its header (reference table: WS tunnel).
    pub(crate) message: usize,
    /// Bytes written that may wait for the peer; then writers wait. Default 1 MiB (same table).
    pub(crate) buffered: usize,
    /// Bytes that are written in one go, unless they are flushed. Default 0: every message by itself.
    pub(crate) batch: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self { message: 65_544, buffered: 1024 * 1024, batch: 0 }
    }
}

/// A WebSocket after its handshake; clients mask what they send.
pub(super) async fn socket(io: BoxIo, role: Role, limits: &SocketLimits) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits.message))
        .max_frame_size(Some(limits.message))
        .write_buffer_size(limits.batch)
        .max_write_buffer_size(limits.buffered);
    WebSocketStream::from_raw_socket(io, role, Some(config)).await
}
