//! WebSockets as rows of raw messages, closes included: for who passes messages on as they are, and sends many in one go.

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

pub(crate) use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub(crate) use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as Number;
pub(crate) use tokio_tungstenite::tungstenite::{Error as Failure, Message, Utf8Bytes};

use crate::io::{BoxIo, Prefixed};

/// A row of messages, both ways.
pub(crate) type Socket = WebSocketStream<BoxIo>;

/// Bytes that are written in one go.
const IN_ONE_GO: usize = 128 * 1024;

/// Unsent bytes that a socket may hold (reference table: WebSocket defaults).
const MOST_UNSENT: usize = 1024 * 1024;

/// A socket after its handshake, in which `rest` came along. Messages are at most `longest` bytes; clients mask theirs.
pub(crate) async fn socket(io: BoxIo, rest: Vec<u8>, is_client: bool, longest: usize) -> Socket {
    let config = WebSocketConfig::default()
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
        .write_buffer_size(IN_ONE_GO)
        .max_write_buffer_size(MOST_UNSENT);
    let io: BoxIo = if rest.is_empty() { io } else { Box::new(Prefixed::new(rest, io)) };
    let role = if is_client { Role::Client } else { Role::Server };
    WebSocketStream::from_raw_socket(io, role, Some(config)).await
}
