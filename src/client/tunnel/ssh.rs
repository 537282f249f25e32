//! SSH servers of tasks, through the host's SSH proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Route;
use crate::dial::{Dialer, Direct};
use crate::error::{Code, Error, Phase, Result};
use crate::io::{Connected, Prefixed};
use crate::target::{HostPort, Target};

/// Limits of the original: for the dial, and for the answer, which may take the host as long as its own dial.
const DIAL_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Longest answer.
const LONGEST_LINE: usize = 1024;

/// The proxy of a host, asked for one task.
#[derive(Clone)]
pub(crate) struct SshProxy {
    pub(crate) at: HostPort,
    pub(crate) task: String,
    pub(crate) token: Option<String>,
}

impl SshProxy {
    /// A stream to the task's SSH server.
    ///
    /// # Errors
    /// Those of a dial; `ERR_ALKNET_CHANNEL_REJECTED` with what the host said; `ETIMEDOUT`.
    pub(crate) async fn dial(&self) -> Result<Connected> {
        let late = |what: &str| Error::new(Code::System("ETIMEDOUT"), what).at(Phase::Tcp);
        let dialled = tokio::time::timeout(DIAL_LIMIT, Direct.dial(&self.at)).await;
        let mut stream =
            dialled.map_err(|_| late("the host's SSH proxy cannot be reached in time"))??;
        let asked = tokio::time::timeout(ANSWER_LIMIT, self.ask(&mut stream)).await;
        let rest = asked.map_err(|_| late("the host's SSH proxy did not answer in time"))??;
        // The server's banner may have come with the answer.
        Ok(Connected { io: Box::new(Prefixed::new(rest, stream.io)), ends: stream.ends })
    }

    async fn ask(&self, stream: &mut Connected) -> Result<Vec<u8>> {
        let failed = |e| Error::system("read", "the host's SSH proxy", e).at(Phase::Tcp);
        let token = self.token.as_deref().unwrap_or_default();
        let line = format!("REQUEST_TUNNEL {} {token}", self.task);
        stream.io.write_all(format!("{}\n", line.trim_end()).as_bytes()).await.map_err(failed)?;
        stream.io.flush().await.map_err(failed)?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let room = LONGEST_LINE.saturating_sub(bytes.len()) as u64;
            if (&mut stream.io).take(room).read_buf(&mut bytes).await.map_err(failed)? == 0 {
                return Err(Error::new(Code::Protocol, "no SSH proxy of a tunnel answers there"));
            }
        };
        let rest = bytes.split_off(end + 1);
        let said: String =
            String::from_utf8_lossy(&bytes).chars().filter(|sign| !sign.is_control()).collect();
        match said.strip_prefix("ERROR ") {
            None if said == "SUCCESS" => Ok(rest),
            Some(why) => Err(Error::new(Code::ChannelRejected, why).at(Phase::Channel)),
            None => Err(Error::new(Code::Protocol, "no SSH proxy of a tunnel answers there")),
        }
    }
}

impl From<SshProxy> for Route {
    fn from(proxy: SshProxy) -> Self {
        Self::through(Arc::new(proxy))
    }
}

impl Dialer for SshProxy {
    fn dial<'a>(
        &'a self,
        _target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        Self::dial(self).boxed()
    }
}
