//! Dialling for others: every address is looked at after the name was looked up, and what was looked at is what is dialled. Through a
//! proxy names are the proxy's to look up, so that only what is written can be looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::direct::{connect_any, resolve, unix};
use super::{Dialer, Proxy, udp};
use crate::error::{Code, Error, Phase, Refusal, Result};
use crate::io::Connected;
use crate::target::{HostPort, Target};

/// How long a target may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Longest look-up of a name. Default 5 s (reference table: outbound).
    name: Duration,
    /// Longest connect, over all addresses. Default 10 s (reference table: outbound).
    connect: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { name: Duration::from_secs(5), connect: Duration::from_secs(10) }
    }
}

/// Which addresses may be dialled for others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Link-local addresses too, and with them the metadata services of clouds.
    pub(crate) link_local: bool,
    /// Public addresses alone.
    pub(crate) public_only: bool,
    /// Unix sockets too.
    pub(crate) unix: bool,
    /// Never these, whatever else holds: our own listeners.
    pub(crate) own: Vec<SocketAddr>,
    /// How long each may take.
    pub(crate) patience: Patience,
}

impl Guard {
    /// Whether `at` may be dialled. The address decides, in whatever form it is written.
    pub(crate) fn allows(&self, at: SocketAddr) -> bool {
        if at.port() == 0 || self.own.iter().any(|own| is_own(*own, at)) {
            return false;
        }
        let ip = plain(at.ip());
        let denied = is_never(ip)
            || (!self.link_local && is_link_local(ip))
            || (self.public_only && is_private(ip));
        !denied
    }

    /// Whether a proxy may be asked for `at`: an address by itself, a name unless it is another spelling of one.
    fn allows_unresolved(&self, at: &HostPort) -> bool {
        let allows = |ip: IpAddr| self.allows(SocketAddr::new(ip, at.port));
        if let Ok(ip) = at.host.parse() {
            return allows(ip);
        }
        let name = at.host.strip_suffix('.').unwrap_or(&at.host);
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.eq_ignore_ascii_case("localhost") {
            return allows(Ipv4Addr::LOCALHOST.into()) && allows(Ipv6Addr::LOCALHOST.into());
        }
        at.port != 0 && !is_number(last)
    }

    async fn tcp_through(&self, proxy: &Proxy, at: &HostPort) -> Result<Connected> {
        if !self.allows_unresolved(at) {
            return Err(prohibited());
        }
        let Patience { name, connect } = self.patience;
        let error = match tokio::time::timeout(name + connect, proxy.dial(at)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => error,
            Err(_) => Error::new(Code::Proxy, "the proxy did not answer in time").at(Phase::Tcp),
        };
        // What the proxy says of the target is for the client, what is wrong with the proxy is for the operator. Its own words
        // may have the target in them, so they are not logged.
        match (error.refusal(), error.cause()) {
            (Some(Refusal::Prohibited), _) => Err(prohibited()),
            (Some(Refusal::ConnectFailed), Some(cause)) => {
                Err(Error::system("connect", &at.to_string(), cause.kind().into()).at(Phase::Tcp))
            }
            _ => {
                tracing::warn!(%proxy, code = error.code().as_str(), "the proxy does not connect");
                Err(error)
            }
        }
    }

    /// The addresses of `at` that may be dialled.
    async fn resolve(&self, at: &HostPort) -> Result<Vec<SocketAddr>> {
        let mut addresses = match tokio::time::timeout(self.patience.name, resolve(at)).await {
            Ok(resolved) => resolved?,
            Err(_) => return Err(late("no name server answered for", at)),
        };
        addresses.retain(|address| self.allows(*address));
        match addresses.is_empty() {
            true => Err(prohibited()),
            false => Ok(addresses),
        }
    }

    async fn tcp(&self, at: &HostPort) -> Result<Connected> {
        let addresses = self.resolve(at).await?;
        match tokio::time::timeout(self.patience.connect, connect_any(at, &addresses)).await {
            Ok(connected) => connected,
            Err(_) => Err(late("nobody answered at", at)),
        }
    }
}

/// Dials what a [`Guard`] allows: from this machine, or TCP through a proxy.
pub(crate) struct Guarded {
    pub(crate) guard: Guard,
    pub(crate) proxy: Option<Proxy>,
}

impl Dialer for Guarded {
    fn dial<'a>(
        &'a self,
        target: &'a Target,
        _origin: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<Connected>> {
        async move {
            match (target, &self.proxy) {
                (Target::Tcp(at), None) => self.guard.tcp(at).await,
                (Target::Tcp(at), Some(proxy)) => self.guard.tcp_through(proxy, at).await,
                // A proxy carries no UDP, and must not be gone round.
                (Target::Udp(at), None) => udp::connect(at, &self.guard.resolve(at).await?),
                (Target::Unix(path), _) if self.guard.unix => unix(path).await,
                _ => Err(prohibited()),
            }
        }
        .boxed()
    }
}

fn late(what: &str, at: &HostPort) -> Error {
    Error::new(Code::System("ETIMEDOUT"), format!("{what} {at} in time")).at(Phase::Tcp)
}

fn prohibited() -> Error {
    Error::new(Code::ChannelRejected, "this target is not allowed").refused(Refusal::Prohibited)
}

/// IPv4 addresses written as IPv6 ones as what they are: mapped (RFC 4291), compatible, NAT64 (RFC 6052, RFC 8215) and 6to4 (RFC 3056).
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let at = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => at(high, low),
        // Not :: and ::1, which are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => at(high, low),
        [0x64, 0xff9b, 0 | 1, .., high, low] => at(high, low),
        [0x2002, high, low, ..] => at(high, low),
        _ => ip,
    }
}

/// Whether a name that ends in `label` is read as an IPv4 address by some: `127.1`, `0x7f.1`, `2130706433` (URL standard, "ends in a
/// number").
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Addresses of no host: "this" network, multicast, reserved, broadcast.
fn is_never(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 224..),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    }
}

/// Link-local addresses, and those at which clouds tell an instance its secrets.
fn is_link_local(ip: IpAddr) -> bool {
    const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == METADATA_V4,
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == METADATA_V6,
    }
}

/// Addresses that lead to this machine or its own networks: loopback, RFC 1918, RFC 6598, unique local, site-local.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback() || v4.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0
        }
    }
}

/// Whether `at` leads to our listener at `own`. One that listens everywhere is at each address that can be bound here.
fn is_own(own: SocketAddr, at: SocketAddr) -> bool {
    let (own_ip, ip) = (plain(own.ip()), plain(at.ip()));
    own.port() == at.port()
        && (own_ip == ip || (own_ip.is_unspecified() && std::net::UdpSocket::bind((ip, 0)).is_ok()))
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use super::super::direct::tests::black_hole;
    use super::*;

    fn allows(guard: &Guard, ip: &str) -> bool {
        guard.allows(SocketAddr::new(ip.parse().expect("an address"), 80))
    }

    #[test]
    fn no_form_of_a_forbidden_address_may_be_dialled() {
        let guard = Guard::default();
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!allows(&guard, ip), "{ip} was allowed");
        }
        for ip in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "1.1.1.1", "::1", "fd12::1", "2001::1"] {
            assert!(allows(&guard, ip), "{ip} was refused");
        }
        assert!(!guard.allows("1.1.1.1:0".parse().expect("an address")));
    }

    #[test]
    fn presets_widen_and_narrow() {
        let open = Guard { link_local: true, ..Guard::default() };
        assert!(allows(&open, "169.254.169.254") && allows(&open, "::ffff:169.254.1.1"));
        assert!(!allows(&open, "0.0.0.0"));
        let public = Guard { public_only: true, ..Guard::default() };
        for ip in ["127.0.0.1", "10.1.1.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.1.1.1"] {
            assert!(!allows(&public, ip), "{ip} was allowed");
        }
        assert!(allows(&public, "1.1.1.1"));
    }

    #[test]
    fn no_spelling_of_a_forbidden_address_is_left_to_a_proxy() {
        let at = |host: &str, port| HostPort { host: host.to_owned(), port };
        let guard = Guard { own: vec![([127, 0, 0, 1], 22).into()], ..Guard::default() };
        for host in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "169.254.43518",
            "0251.0376.0251.0376",
            "0xA9.0xfe.0xa9.0xfe.",
            "0x",
            "",
            ".",
        ] {
            assert!(!guard.allows_unresolved(&at(host, 80)), "{host} was left to the proxy");
        }
        for host in ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1"] {
            assert!(!guard.allows_unresolved(&at(host, 22)), "{host} was left to the proxy");
            assert!(guard.allows_unresolved(&at(host, 80)), "{host} was refused");
        }
        for host in ["example.com", "x.onion", "10.in-addr.arpa", "1.1.1.1", "0x.example", "a1"] {
            assert!(guard.allows_unresolved(&at(host, 80)), "{host} was refused");
        }
        assert!(!guard.allows_unresolved(&at("example.com", 0)));
    }

    #[test]
    fn our_own_listeners_are_no_targets() {
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let guard = Guard { own: vec![at("127.0.0.1:22"), at("0.0.0.0:23")], ..Guard::default() };
        assert!(!guard.allows(at("127.0.0.1:22")) && !guard.allows(at("[::ffff:127.0.0.1]:22")));
        assert!(guard.allows(at("127.0.0.2:22")) && guard.allows(at("127.0.0.1:24")));
        assert!(!guard.allows(at("127.0.0.2:23")), "an address of this machine");
        assert!(guard.allows(at("1.1.1.1:23")));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_target_that_never_answers_is_given_up() {
        let patience = Patience { connect: Duration::from_millis(50), ..Patience::default() };
        let guard = Guard { patience, ..Guard::default() };
        let (_full, at) = black_hole();
        let target = Target::Tcp(HostPort { host: at.ip().to_string(), port: at.port() });
        let dialer = Guarded { guard, proxy: None };
        let error = dialer.dial(&target, None).await.err().expect("nobody is there");
        assert_eq!(error.code().as_str(), "ETIMEDOUT", "{error}");
        assert_eq!(Patience::default().connect, Duration::from_secs(10));
    }
}
