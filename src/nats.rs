//! Connections to NATS, for whoever shares something over a cluster.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};

use crate::error::{Code, Error, Phase, Result};

/// Limit for the first connection, and for each later one.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Connects to one of `servers`, and to others of them or of their cluster when it is lost. `more` adds to the options.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`; `ECONNREFUSED`, `ENOTFOUND`, `ETIMEDOUT`, `EACCES`, `EPROTO`.
pub(crate) async fn connect(
    servers: &[String],
    more: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<Client> {
    let addresses = servers
        .iter()
        .map(|server| server.parse::<ServerAddr>())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::config(format!("an address of NATS is none: {e}")))?;
    let options = ConnectOptions::new().name("alknet").connection_timeout(CONNECT_LIMIT);
    more(options).connect(addresses).await.map_err(|e| failed(&e))
}

/// The failure of the first connection. Its own text may have a password in it.
fn failed(error: &async_nats::ConnectError) -> Error {
    let (code, why) = match error.kind() {
        ConnectErrorKind::ServerParse => (Code::Config, "its address is none"),
        ConnectErrorKind::Dns => (Code::System("ENOTFOUND"), "its name is not known"),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            (Code::System("EACCES"), "it refused the log-in")
        }
        ConnectErrorKind::TimedOut => (Code::System("ETIMEDOUT"), "it did not answer"),
        ConnectErrorKind::Tls => (Code::System("EPROTO"), "TLS failed"),
        _ => (Code::System("ECONNREFUSED"), "no server answers"),
    };
    Error::new(code, format!("cannot connect to NATS: {why}")).at(Phase::Listen)
}
