//! UDP through sessions, both ways, with real sockets at the ends.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use alknet::{
    Error, ForwardOptions, ForwardPolicy, LocalForwarder, PortForwardSpec, Refusal,
    RemoteForwarder, Route, ServeOptions, Session, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use support::sshd::Sshd;
use support::{Host, MIB, until, watched};

/// The largest there is over IPv4: 65,535 less the headers of IP and UDP.
const LARGEST: usize = 65_507;

async fn host(policy: ForwardPolicy) -> Host {
    Host::with(ServeOptions { forwarding: Some(policy), ..ServeOptions::default() }).await
}

async fn session(host: &Host) -> Session {
    host.session(4 * MIB as u32).await
}

async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

/// A socket that talks to `at` alone.
async fn talker(at: SocketAddr) -> UdpSocket {
    let (socket, _) = socket().await;
    socket.connect(at).await.expect("an address");
    socket
}

fn spec(at: SocketAddr) -> PortForwardSpec {
    format!("udp:127.0.0.1:0:{at}").parse().expect("a spec")
}

async fn local(
    at: SocketAddr,
    route: impl Into<Route>,
    options: &ForwardOptions,
) -> Result<LocalForwarder, Error> {
    LocalForwarder::start(&spec(at), route, options).await
}

async fn remote(spec: &PortForwardSpec, session: &Session) -> Result<RemoteForwarder, Error> {
    RemoteForwarder::start(spec, session, Route::direct(), &ForwardOptions::default()).await
}

/// A remote forward of UDP, and its port: the same port of TCP is another listener. Another process may have that one; then the next.
async fn with_its_tcp_port(udp: &PortForwardSpec, session: &Session) -> (RemoteForwarder, u16) {
    for _ in 0..10 {
        let forwarder = remote(udp, session).await.expect("a forward");
        let port = forwarder.port().expect("a port");
        let tcp: PortForwardSpec = format!("127.0.0.1:{port}:127.0.0.1:9").parse().unwrap();
        if let Ok(tcp) = remote(&tcp, session).await {
            assert_eq!(tcp.port(), Some(port));
            return (forwarder, port);
        }
    }
    panic!("no port of UDP and of TCP");
}

async fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut datagram = vec![0; LARGEST + 1];
    let len = socket.recv(&mut datagram).await.expect("a datagram");
    datagram.truncate(len);
    datagram
}

async fn received_from(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut datagram = vec![0; LARGEST + 1];
    let (len, from) = socket.recv_from(&mut datagram).await.expect("a datagram");
    datagram.truncate(len);
    (datagram, from)
}

/// Sends `word` until it is answered, as programs on UDP do, and returns the answer.
async fn insist(socket: &UdpSocket, word: &[u8]) -> Vec<u8> {
    loop {
        socket.send(word).await.expect("a send");
        let limit = Duration::from_millis(50);
        if let Ok(answer) = tokio::time::timeout(limit, received(socket)).await {
            return answer;
        }
    }
}

/// Sends back what comes.
async fn echo(socket: &UdpSocket) {
    loop {
        let (datagram, from) = received_from(socket).await;
        let _ = socket.send_to(&datagram, from).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_forward_keeps_every_datagram_whole_and_two_clients_apart() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let (target, at) = socket().await;
        let forwarder = local(at, &session, &ForwardOptions::default()).await.expect("a forward");
        let near = forwarder.addresses()[0];
        let (one, two) = (talker(near).await, talker(near).await);
        for (round, size) in [1, 0, 1200, LARGEST, 2].into_iter().enumerate() {
            let (first, second) = (vec![round as u8; size], vec![0xf0 | round as u8; size]);
            one.send(&first).await.expect("a send");
            let (seen, from_one) = received_from(&target).await;
            assert!(seen == first, "of {size} bytes, {} came", seen.len());
            two.send(&second).await.expect("a send");
            let (seen, from_two) = received_from(&target).await;
            assert!(seen == second);
            assert_ne!(from_one, from_two, "one flow for two clients");
            // Answers cross.
            target.send_to(&second, from_two).await.expect("an answer");
            target.send_to(&first, from_one).await.expect("an answer");
            assert!(received(&one).await == first && received(&two).await == second);
        }
        let done = forwarder.metrics();
        assert_eq!((done.accepted, done.refused, done.reset, done.dropped), (2, 0, 0, 0));
        // Two bytes for each datagram are the length.
        let bytes: usize = [1, 0, 1200, LARGEST, 2].iter().map(|size| 2 * (size + 2)).sum();
        assert_eq!((done.bytes_up, done.bytes_down), (bytes as u64, bytes as u64));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_forward_brings_datagrams_to_this_end_and_answers_back() {
    watched(async {
        let host = host(ForwardPolicy { remote: true, ..ForwardPolicy::default() }).await;
        let session = session(&host).await;
        let (target, at) = socket().await;
        let (forwarder, port) = with_its_tcp_port(&spec(at), &session).await;
        let far = talker(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let sent = vec![7; LARGEST];
        far.send(&sent).await.expect("a send");
        let (seen, from) = received_from(&target).await;
        assert!(seen == sent);
        target.send_to(b"an answer", from).await.expect("an answer");
        assert_eq!(received(&far).await, b"an answer");
        forwarder.close().await;
        // Its port is given back: whoever sends there is told so in the end.
        while far.send(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_nobody_is_at_is_counted_and_found_once_somebody_is() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let (target, at) = socket().await;
        drop(target);
        let forwarder = local(at, &session, &ForwardOptions::default()).await.expect("a forward");
        let near = talker(forwarder.addresses()[0]).await;
        while forwarder.metrics().reset == 0 {
            near.send(b"anybody?").await.expect("a send");
            tokio::task::yield_now().await;
        }
        let target = UdpSocket::bind(at).await.expect("the port is free");
        tokio::select! {
            () = echo(&target) => {},
            answer = insist(&near, b"and now?") => assert!(!answer.is_empty()),
        }
        let done = forwarder.metrics();
        assert!(done.accepted >= 2 && done.dropped > 0, "{done:?}");
        assert!(done.accepted < 10, "each datagram asked anew: {done:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_flow_is_over_and_the_next_datagram_begins_another() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let (target, at) = socket().await;
        let options =
            ForwardOptions { udp_idle: Duration::from_millis(50), ..ForwardOptions::default() };
        let forwarder = local(at, &session, &options).await.expect("a forward");
        let near = talker(forwarder.addresses()[0]).await;
        near.send(b"one").await.expect("a send");
        let (_, first) = received_from(&target).await;
        until(|| forwarder.metrics().active == 0).await;
        near.send(b"two").await.expect("a send");
        let (_, second) = received_from(&target).await;
        assert_ne!(second, first, "another flow");
        target.send_to(b"answer", second).await.expect("an answer");
        assert_eq!(received(&near).await, b"answer");
        assert!(forwarder.metrics().accepted >= 2);
        assert_eq!(forwarder.metrics().reset, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_forbids_of_udp_is_refused() {
    watched(async {
        let udp_off = ForwardPolicy { udp: false, remote: true, ..ForwardPolicy::default() };
        let public = ForwardPolicy { public_only: true, ..ForwardPolicy::default() };
        for policy in [udp_off, public] {
            let may_listen = policy.remote;
            let host = host(policy).await;
            let session = session(&host).await;
            let (_target, at) = socket().await;
            let target: Target = format!("udp:{at}").parse().unwrap();
            let error = session.open(&target, Duration::from_secs(60)).await.expect_err("refused");
            assert_eq!(error.refusal(), Some(Refusal::Prohibited));
            let options = ForwardOptions::default();
            let forwarder = local(at, &session, &options).await.expect("a forward");
            let near = talker(forwarder.addresses()[0]).await;
            near.send(b"x").await.expect("a send");
            until(|| forwarder.metrics().refused == 1).await;
            if may_listen {
                remote(&spec(at), &session).await.expect_err("refused");
            }
        }
        let (_target, at) = socket().await;
        let rules = format!("permitopen=\"127.0.0.1:{}\"", at.port() ^ 1);
        let forwarding = Some(ForwardPolicy::default());
        let host =
            Host::with_rules(&rules, ServeOptions { forwarding, ..ServeOptions::default() }).await;
        let target: Target = format!("udp:{at}").parse().unwrap();
        let session = session(&host).await;
        let refused = session.open(&target, Duration::from_secs(60)).await;
        assert_eq!(refused.expect_err("refused").refusal(), Some(Refusal::Prohibited));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_datagrams_still_brings_the_answer_when_the_question_has_ended() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let (target, at) = socket().await;
        let asked: Target = format!("udp:{at}").parse().unwrap();
        let mut stream = session.open(&asked, Duration::from_secs(60)).await.expect("a stream");
        stream.write_all(&[0, 3, b'a', b's', b'k']).await.expect("a write");
        stream.shutdown().await.expect("an end");
        let (question, from) = received_from(&target).await;
        assert_eq!(question, b"ask");
        target.send_to(b"told", from).await.expect("an answer");
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, [0, 4, b't', b'o', b'l', b'd']);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_openssh_udp_is_refused_before_anything_listens() {
    let Some(sshd) = Sshd::start(&[]) else { return };
    watched(async {
        let session = sshd.session().await;
        let (_target, at) = socket().await;
        let options = ForwardOptions::default();
        let here = local(at, &session, &options).await.expect_err("refused");
        let there = remote(&spec(at), &session).await.expect_err("refused");
        for error in [here, there] {
            assert_eq!(error.code().as_str(), "ERR_ALKNET_CHANNEL_REJECTED");
            assert_eq!(error.refusal(), Some(Refusal::UnknownType));
            assert!(error.to_string().contains("no alknet"), "{error}");
        }
    })
    .await;
}
