//! Sockets as streams: what ours are set to, and how they are aborted.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::io::Io;

impl Io for TcpStream {
    /// Closing then discards what is unsent and sends RST.
    fn abort(&mut self) {
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

/// Unix sockets know no reset: an abort is an end.
#[cfg(unix)]
impl Io for tokio::net::UnixStream {}

/// What every TCP socket of ours gets, dialled or accepted: no Nagle, and dead peers noticed by the kernel within a minute.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
    Ok(())
}
