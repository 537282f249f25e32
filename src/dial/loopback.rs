//! Dialling this machine and no other: the services beside an agent, by both loopback addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::direct::connect_any;
use super::{Dialer, udp};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Connected;
use crate::target::Target;

/// Longest connect (reference table: outbound).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Dials a target's port here, whatever its host; of given ports those alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loopback {
    /// Empty for every port.
    pub(crate) ports: Vec<u16>,
}

impl Dialer for Loopback {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            let (Target::Tcp(at) | Target::Udp(at)) = target else { return Err(refused()) };
            if !self.ports.is_empty() && !self.ports.contains(&at.port) {
                return Err(refused());
            }
            let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .map(|ip| SocketAddr::new(ip, at.port));
            if matches!(target, Target::Udp(_)) {
                return udp::connect(at, &addresses);
            }
            let dialled = tokio::time::timeout(CONNECT_LIMIT, connect_any(at, &addresses)).await;
            dialled.unwrap_or_else(|_| {
                Err(Error::new(Code::System("ETIMEDOUT"), "nobody answered in time").at(Phase::Tcp))
            })
        }
        .boxed()
    }
}

fn refused() -> Error {
    Error::new(Code::ChannelRejected, "this port is not allowed").refused(Refusal::Prohibited)
}
