//! Whom limits and penalties are counted against.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::io::{EndpointId, Ends};

/// Where a connection comes from, as far as it costs something to come from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// An IPv4 address, or the first address of an IPv6 /64.
    Network(IpAddr),
    /// A key, for a transport without lasting addresses.
    Endpoint(EndpointId),
}

impl Source {
    /// `None` when the transport knows neither.
    pub(super) fn of(ends: &Ends) -> Option<Self> {
        let network = || ends.remote.map(|remote| Self::network(remote.ip()));
        ends.endpoint.map(Self::Endpoint).or_else(network)
    }

    pub(super) fn endpoint(self) -> Option<EndpointId> {
        match self {
            Self::Network(_) => None,
            Self::Endpoint(id) => Some(id),
        }
    }

    /// One IPv6 subscriber has a /64, so that is one source.
    pub(super) fn network(ip: IpAddr) -> Self {
        Self::Network(match ip.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
            v4 => v4,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(ip) => ip.fmt(f),
            Self::Endpoint(id) => id.fmt(f),
        }
    }
}
