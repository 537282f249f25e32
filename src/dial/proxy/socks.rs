//! The client's side of SOCKS5: CONNECT (RFC 1928 §4), with no log-in or a user and a password (RFC 1929).

use std::io::ErrorKind;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{Denial, Host, Login};
use crate::dial::socks5::{
    CONNECT, IPV4, IPV6, NAME, NO_LOGIN, PASSWORD, PASSWORD_VERSION, Reply, VERSION,
};
use crate::io::BoxIo;

/// Has the proxy at the other end of `io` connect to `host`. All that it reads is the proxy's own.
pub(super) async fn ask(
    io: &mut BoxIo,
    host: &Host<'_>,
    port: u16,
    login: Option<&Login>,
) -> Result<(), Denial> {
    log_in(io, login).await?;
    let mut request = vec![VERSION, CONNECT, 0];
    match host {
        Host::Address(IpAddr::V4(v4)) => {
            request.push(IPV4);
            request.extend(v4.octets());
        }
        Host::Address(IpAddr::V6(v6)) => {
            request.push(IPV6);
            request.extend(v6.octets());
        }
        Host::Name(name) => {
            request.push(NAME);
            counted(&mut request, name);
        }
    }
    request.extend(port.to_be_bytes());
    io.write_all(&request).await?;
    io.flush().await?;
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    let [version, reply, _, kind] = head;
    if version != VERSION {
        return Err(Denial::new("does not speak SOCKS5"));
    }
    match Reply::of(reply) {
        Some(Reply::Success) => skip_address(io, kind).await,
        Some(why) => Err(denial(why)),
        None => Err(Denial::new(format!("failed with reply {reply}"))),
    }
}

async fn log_in(io: &mut BoxIo, login: Option<&Login>) -> Result<(), Denial> {
    let methods: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    io.write_all(methods).await?;
    io.flush().await?;
    let mut chosen = [0; 2];
    io.read_exact(&mut chosen).await?;
    match (chosen, login) {
        ([VERSION, NO_LOGIN], _) => Ok(()),
        ([VERSION, PASSWORD], Some(login)) => show(io, login).await,
        ([VERSION, _], Some(_)) => Err(Denial::new("takes no log-in by user and password")),
        ([VERSION, _], None) => Err(Denial::new("wants a log-in, and none was given")),
        _ => Err(Denial::new("does not speak SOCKS5")),
    }
}

async fn show(io: &mut BoxIo, login: &Login) -> Result<(), Denial> {
    let mut request = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    request.push(PASSWORD_VERSION);
    counted(&mut request, &login.user);
    counted(&mut request, &login.password);
    io.write_all(&request).await?;
    io.flush().await?;
    let mut answer = [0; 2];
    io.read_exact(&mut answer).await?;
    match answer[1] {
        0 => Ok(()),
        _ => Err(Denial::new("does not accept this user and password")),
    }
}

/// Behind its length; whoever made `text` saw to it that it has 255 bytes at most.
fn counted(to: &mut Vec<u8>, text: &str) {
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend(text.bytes());
}

/// The address that the proxy dialled from, of which nobody here has a use.
async fn skip_address(io: &mut BoxIo, kind: u8) -> Result<(), Denial> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(io.read_u8().await?),
        _ => return Err(Denial::new("does not speak SOCKS5")),
    };
    let mut address = [0; 255 + 2];
    io.read_exact(&mut address[..length + 2]).await?;
    Ok(())
}

fn denial(reply: Reply) -> Denial {
    match reply {
        Reply::Success | Reply::Failure => Denial::new("failed to connect"),
        Reply::NotAllowed => Denial::prohibited("does not allow this connection"),
        Reply::NetworkUnreachable => {
            Denial::of_target("says: network unreachable", ErrorKind::NetworkUnreachable)
        }
        Reply::HostUnreachable => {
            Denial::of_target("says: host unreachable", ErrorKind::HostUnreachable)
        }
        Reply::Refused => {
            Denial::of_target("says: connection refused", ErrorKind::ConnectionRefused)
        }
        Reply::Expired => Denial::of_target("says: time to live expired", ErrorKind::TimedOut),
        Reply::Command => Denial::new("does not know CONNECT"),
        Reply::AddressType => Denial::new("does not know this kind of address"),
    }
}
