//! Forwards through sessions: against this library's own server, and against OpenSSH's.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::net::SocketAddr;

use alknet::{ForwardOptions, LocalForwarder, PortForwardSpec, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::sshd::Sshd;
use support::{MIB, ended, receive, send, until, watched};

async fn forward(spec: &str, route: impl Into<Route>) -> LocalForwarder {
    let spec: PortForwardSpec = spec.parse().expect("a spec");
    LocalForwarder::start(&spec, route, &ForwardOptions::default()).await.expect("a forwarder")
}

/// A listener of this test's, and a forward to it from a free port of 127.0.0.1.
async fn target() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// A port that refuses: it was free a moment ago.
async fn closed_port() -> u16 {
    target().await.1.port()
}

/// Both ends of a connection through `forwarder`.
async fn through(forwarder: &LocalForwarder, at: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(forwarder.addresses()[0]);
    let (near, far) = tokio::join!(near, at.accept());
    (near.expect("a connection"), far.expect("a connection").0)
}

async fn is_reset(mut stream: TcpStream) -> bool {
    let read = stream.read(&mut [0]).await;
    read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_forward_through_openssh_carries_both_ways_and_keeps_half_close() {
    let Some(sshd) = Sshd::start(&[]) else { return };
    watched(async {
        let session = sshd.session().await;
        let (listener, at) = target().await;
        let forwarder = forward(&format!("127.0.0.1:0:localhost:{}", at.port()), &session).await;
        let (mut near, mut far) = through(&forwarder, &listener).await;
        let up = async {
            send(&mut near, 1, 8 * MIB).await;
            near.shutdown().await.expect("an end");
            receive(&mut near, 2, 8 * MIB).await;
            ended(&mut near).await;
        };
        let down = async {
            receive(&mut far, 1, 8 * MIB).await;
            ended(&mut far).await;
            send(&mut far, 2, 8 * MIB).await;
            far.shutdown().await.expect("an end");
        };
        tokio::join!(up, down);
        until(|| forwarder.metrics().active == 0).await;
        let done = forwarder.metrics();
        assert_eq!((done.bytes_up, done.bytes_down), (8 * MIB as u64, 8 * MIB as u64));
        assert_eq!((done.accepted, done.refused), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_is_told_who_connected() {
    let Some(sshd) = Sshd::start(&["LogLevel DEBUG1"]) else { return };
    watched(async {
        let session = sshd.session().await;
        let (listener, at) = target().await;
        let forwarder = forward(&format!("127.0.0.1:0:127.0.0.1:{}", at.port()), &session).await;
        let (near, _far) = through(&forwarder, &listener).await;
        let port = near.local_addr().expect("an address").port();
        sshd.says(&format!("originator 127.0.0.1 port {port}")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_target_resets_its_own_connection_and_no_other() {
    let Some(sshd) = Sshd::start(&[]) else { return };
    watched(async {
        let session = sshd.session().await;
        let (listener, at) = target().await;
        let good = forward(&format!("127.0.0.1:0:127.0.0.1:{}", at.port()), &session).await;
        let (mut near, mut far) = through(&good, &listener).await;
        let closed = closed_port().await;
        let bad = forward(&format!("127.0.0.1:0:127.0.0.1:{closed}"), &session).await;
        let refused = TcpStream::connect(bad.addresses()[0]).await.expect("a connection");
        assert!(is_reset(refused).await, "not a reset");
        assert_eq!(bad.metrics().refused, 1);
        send(&mut near, 3, 1000).await;
        receive(&mut far, 3, 1000).await;
        let (_again, _) = through(&good, &listener).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_of_one_side_is_a_reset_of_the_other() {
    watched(async {
        let (listener, at) = target().await;
        let forwarder = forward(&format!("127.0.0.1:0:{at}"), Route::direct()).await;
        let (mut near, far) = through(&forwarder, &listener).await;
        near.write_all(b"unread").await.expect("a write");
        far.peek(&mut [0]).await.expect("the bytes");
        // A socket closed with unread bytes sends RST.
        drop(far);
        assert!(is_reset(near).await, "not a reset");
        let (near, far) = through(&forwarder, &listener).await;
        forwarder.close().await;
        assert!(is_reset(near).await && is_reset(far).await, "closing looked like an end");
    })
    .await;
}

#[tokio::test]
async fn a_forward_without_bind_address_listens_on_both_loopbacks_and_one_port() {
    watched(async {
        let (_listener, at) = target().await;
        let forwarder = forward(&format!("0:{at}"), Route::direct()).await;
        let addresses = forwarder.addresses();
        assert!(addresses.iter().all(|a| a.ip().is_loopback()), "{addresses:?}");
        assert!(addresses.iter().all(|a| a.port() == addresses[0].port() && a.port() != 0));
        let v6 = TcpListener::bind("[::1]:0").await.is_ok();
        assert_eq!(addresses.len(), if v6 { 2 } else { 1 }, "{addresses:?}");
        let every = forward(&format!("*:0:{at}"), Route::direct()).await;
        assert!(every.addresses().iter().all(|a| a.ip().is_unspecified()));
        TcpStream::connect(("127.0.0.1", every.addresses()[0].port())).await.expect("IPv4");
    })
    .await;
}

#[tokio::test]
async fn an_address_in_use_is_a_system_error() {
    watched(async {
        let (_listener, at) = target().await;
        let spec: PortForwardSpec = format!("{at}:h:1").parse().expect("a spec");
        let options = ForwardOptions::default();
        let error =
            LocalForwarder::start(&spec, Route::direct(), &options).await.expect_err("taken");
        assert_eq!(error.code().as_str(), "EADDRINUSE");
        assert_eq!(error.about(), (Some("127.0.0.1"), Some(at.port())));
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_reset_and_the_others_go_on() {
    watched(async {
        let (listener, at) = target().await;
        let spec: PortForwardSpec = format!("127.0.0.1:0:{at}").parse().expect("a spec");
        let options = ForwardOptions { max_connections: 1, ..ForwardOptions::default() };
        let forwarder =
            LocalForwarder::start(&spec, Route::direct(), &options).await.expect("a forwarder");
        let (mut near, mut far) = through(&forwarder, &listener).await;
        let beyond = TcpStream::connect(forwarder.addresses()[0]).await.expect("a connection");
        assert!(is_reset(beyond).await, "not a reset");
        send(&mut near, 4, MIB).await;
        drop(near);
        receive(&mut far, 4, MIB).await;
        drop(far);
        until(|| forwarder.metrics().active == 0).await;
        let _again = through(&forwarder, &listener).await;
    })
    .await;
}
