//! The host's SSH proxy: one line asks for a task, one line answers, then bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::ANYBODY;
use super::host::HostDesk;
use super::welcome::{Reloads, while_welcome};
use crate::auth::Place;
use crate::dial::Direct;
use crate::error::Code;
use crate::io::{BoxIo, Cut, Prefixed, relay};
use crate::listen::Incoming;

/// Limits of the original: for the line, its length, and the dial.
const LINE_LIMIT: Duration = Duration::from_secs(10);
const LONGEST_LINE: usize = 64 * 1024;
const DIAL_LIMIT: Duration = Duration::from_secs(15);

/// Serves one client to its end.
pub(super) async fn serve_ssh(
    (incoming, mut place): (Incoming, Place),
    desk: Arc<HostDesk>,
    reloads: Reloads,
) {
    let Ok(stream) = incoming.handshake.await else { return };
    let mut io = stream.io;
    match begin(&mut io, &desk).await {
        Ok(Begun { id, token, rest, far }) => {
            let Ok(_member) = place.log_in(ANYBODY) else { return };
            let end = CancellationToken::new();
            // What the client sent after its line is for SSH already.
            let near: BoxIo = Box::new(Cut::new(Box::new(Prefixed::new(rest, io)), &end));
            let counts = desk.count(id);
            let serving = async {
                if let Err(e) = relay(near, far, &counts).await {
                    tracing::debug!(kind = %e.kind(), "a proxied connection was reset");
                }
            };
            let admitted = || desk.admits_to(id, token.as_deref());
            while_welcome(reloads, admitted, end, serving).await;
        }
        Err(why) => {
            let answer = format!("ERROR {why}\n");
            let saying = async {
                io.write_all(answer.as_bytes()).await?;
                io.shutdown().await
            };
            let _ = tokio::time::timeout(LINE_LIMIT, saying).await;
        }
    }
}

/// Who is led to a task.
struct Begun {
    id: i64,
    token: Option<String>,
    /// What came after the first line.
    rest: Vec<u8>,
    far: BoxIo,
}

async fn begin(io: &mut BoxIo, desk: &HostDesk) -> Result<Begun, String> {
    let internal = |_| "Internal server error.".to_owned();
    let line = tokio::time::timeout(LINE_LIMIT, line(io));
    let (line, rest) =
        line.await.map_err(|_| "Timeout waiting for request.".to_owned())?.map_err(internal)?;
    let (id, token) = request(&line)?;
    let at = desk.ssh(id, token)?;
    let (host, node) = (at.at, at.node);
    let dialled = tokio::time::timeout(DIAL_LIMIT, Direct.dial(&host)).await;
    let far = match dialled {
        Err(_) => return Err(format!("Timeout connecting to Runner for task {id}.")),
        Ok(Err(e)) if e.code() == Code::System("ECONNREFUSED") => {
            return Err(format!("Connection refused by VPS task {id} on node {node}."));
        }
        Ok(Err(_)) => return Err("Internal server error.".to_owned()),
        Ok(Ok(far)) => far.io,
    };
    io.write_all(b"SUCCESS\n").await.map_err(internal)?;
    io.flush().await.map_err(internal)?;
    Ok(Begun { id, token: token.map(str::to_owned), rest, far })
}

/// The first line, and what came after it.
async fn line(io: &mut BoxIo) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            return Ok((bytes, rest));
        }
        let room = (LONGEST_LINE - bytes.len()) as u64;
        if (&mut *io).take(room).read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// `REQUEST_TUNNEL ID`, and a token where there are any.
fn request(line: &[u8]) -> Result<(i64, Option<&str>), String> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let mut words = text.split_whitespace();
    let ("REQUEST_TUNNEL", Some(id)) = (words.next().unwrap_or_default(), words.next()) else {
        return Err("Invalid request format.".to_owned());
    };
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    match id.parse() {
        Ok(id) if digits => Ok((id, words.next())),
        _ => Err("Invalid task ID format.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_original_reads_them() {
        assert_eq!(request(b"REQUEST_TUNNEL 5\n"), Ok((5, None)));
        assert_eq!(request(b"REQUEST_TUNNEL   5  secret\r\n"), Ok((5, Some("secret"))));
        for (line, why) in [
            (&b"request_tunnel 5\n"[..], "Invalid request format."),
            (b"REQUEST_TUNNEL\n", "Invalid request format."),
            (b"\xff\n", "Invalid request format."),
            (b"REQUEST_TUNNEL x\n", "Invalid task ID format."),
            (b"REQUEST_TUNNEL -5\n", "Invalid task ID format."),
            (b"REQUEST_TUNNEL 99999999999999999999\n", "Invalid task ID format."),
        ] {
            assert_eq!(request(line), Err(why.to_owned()));
        }
    }
}
