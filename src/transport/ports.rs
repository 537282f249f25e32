//! From a place to listen on to sockets on one port: which addresses a name or a wildcard means, the same for every kind of socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::lookup_host;

use crate::config::Family;
use crate::error::{Code, Error, Phase, Result};
use crate::target::HostPort;

/// Free ports tried until one is free in both address families.
const TRIES: usize = 16;

/// Opens sockets where a user wants them: `None` and `localhost` are the loopback addresses, `*` and the empty text every address, of
/// IPv6 only where there are any. All are on one port, with 0 on a free one, and of `family`.
///
/// # Errors
/// `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, `ENOTFOUND`.
pub(super) async fn open_at<T>(
    host: Option<&str>,
    port: u16,
    family: Family,
    open: impl Fn(SocketAddr) -> io::Result<(T, SocketAddr)> + Sync,
) -> Result<Vec<(T, SocketAddr)>> {
    let both = |v4: Ipv4Addr, v6: Ipv6Addr| match family {
        Family::Any => open_together(&[v4.into()], port, &[v6.into()], &open),
        Family::V4 => open_together(&[v4.into()], port, &[], &open),
        Family::V6 => open_together(&[v6.into()], port, &[], &open),
    };
    let host = match host {
        None => return both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        Some(host) if host.eq_ignore_ascii_case("localhost") => {
            return both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        }
        Some("" | "*") => return both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        Some(host) => host,
    };
    let at = HostPort { host: host.to_owned(), port };
    let found = look_up(&at).await?;
    let ips: Vec<_> = found.iter().map(SocketAddr::ip).filter(|ip| family.has(*ip)).collect();
    if ips.is_empty() {
        return Err(unknown(&at, &format!("no {family} address")));
    }
    open_together(&ips, port, &[], &open)
}

/// The addresses of a name.
///
/// # Errors
/// `ENOTFOUND`.
pub(super) async fn look_up(at: &HostPort) -> Result<Vec<SocketAddr>> {
    match lookup_host((at.host.as_str(), at.port)).await {
        Ok(found) => Ok(found.collect()),
        Err(e) => Err(unknown(at, &e.to_string())),
    }
}

fn unknown(at: &HostPort, why: &str) -> Error {
    let message = format!("getaddrinfo ENOTFOUND {} ({why})", at.host);
    Error::new(Code::System("ENOTFOUND"), message).at(Phase::Listen).by("getaddrinfo")
}

/// Opens all of `needed`, and those of `wanted` whose address this machine has, on one port.
fn open_together<T>(
    needed: &[IpAddr],
    port: u16,
    wanted: &[IpAddr],
    open: &impl Fn(SocketAddr) -> io::Result<(T, SocketAddr)>,
) -> Result<Vec<(T, SocketAddr)>> {
    let mut tries = if port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match open_each(needed, port, wanted, open) {
            // The port that was free for the first address is taken for another.
            Err(e) if tries > 0 && e.code() == Code::System("EADDRINUSE") => {}
            done => return done,
        }
    }
}

fn open_each<T>(
    needed: &[IpAddr],
    mut port: u16,
    wanted: &[IpAddr],
    open: &impl Fn(SocketAddr) -> io::Result<(T, SocketAddr)>,
) -> Result<Vec<(T, SocketAddr)>> {
    let mut opened = Vec::new();
    let ips = needed.iter().map(|ip| (ip, true)).chain(wanted.iter().map(|ip| (ip, false)));
    for (ip, needed) in ips {
        let at = SocketAddr::new(*ip, port);
        match open(at) {
            Ok((socket, address)) => {
                port = address.port();
                opened.push((socket, address));
            }
            Err(e) if !needed && is_absent(&e) => tracing::debug!("no such address family here"),
            Err(e) => {
                let failed = Error::system("listen", &at.to_string(), e).at(Phase::Listen);
                return Err(failed.address(ip.to_string(), port));
            }
        }
    }
    Ok(opened)
}

/// The machine has no such address: `EADDRNOTAVAIL`, or `EAFNOSUPPORT`, which std names `Uncategorized` (97 on Linux, 47 on BSD, 10047).
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(97 | 47 | 10_047))
}
