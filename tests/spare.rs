//! Channels opened in advance: a forwarded connection that waits for no round trip, and all that must stay as it is without one.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use alknet::{
    ForwardOptions, ForwardPolicy, Limits, LocalForwarder, PortForwardSpec, ServeOptions, Session,
};
use russh::{ChannelMsg, ChannelStream, client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use support::spares::{Answers, Fake};
use support::{Host, MIB, Trusting, ended, receive, send, until, watched};

const IDENT: &str = "SSH-2.0-alknet_0";

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn serving() -> ServeOptions {
    ServeOptions { forwarding: Some(ForwardPolicy::default()), ..ServeOptions::default() }
}

async fn forward(to: SocketAddr, session: &Session) -> LocalForwarder {
    limited(to, session, ForwardOptions::default()).await
}

async fn limited(to: SocketAddr, session: &Session, options: ForwardOptions) -> LocalForwarder {
    let spec: PortForwardSpec = format!("127.0.0.1:0:{to}").parse().expect("a spec");
    LocalForwarder::start(&spec, session, &options).await.expect("a forwarder")
}

async fn connect(forwarder: &LocalForwarder) -> TcpStream {
    TcpStream::connect(forwarder.addresses()[0]).await.expect("a connection")
}

async fn is_reset(mut stream: TcpStream) -> bool {
    let read = stream.read(&mut [0]).await;
    read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
}

/// One connection there and back, after which the session opens spare channels.
async fn warm_up(forwarder: &LocalForwarder, at: &TcpListener) {
    let (mut near, far) = tokio::join!(connect(forwarder), at.accept());
    let mut far = far.expect("a connection").0;
    far.write_all(b"!").await.expect("a write");
    assert_eq!(near.read_u8().await.expect("a byte"), b'!');
}

/// A way to a server on which what the server says can be held back.
struct Gate {
    at: SocketAddr,
    hold: watch::Sender<bool>,
}

impl Gate {
    async fn to(server: SocketAddr) -> Self {
        let (listener, at) = listener().await;
        let (hold, held) = watch::channel(false);
        tokio::spawn(async move {
            let near = listener.accept().await.expect("a client").0;
            let far = TcpStream::connect(server).await.expect("the server");
            let (mut near_in, mut near_out) = near.into_split();
            let (mut far_in, mut far_out) = far.into_split();
            let up = tokio::io::copy(&mut near_in, &mut far_out);
            let down = async {
                let (mut held, mut bytes) = (held, vec![0; 64 * 1024]);
                while let Ok(n @ 1..) = far_in.read(&mut bytes).await {
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    near_out.write_all(&bytes[..n]).await.expect("a write");
                }
            };
            let _ = tokio::join!(up, down);
        });
        Self { at, hold }
    }

    async fn session(&self, host: &Host) -> Session {
        let options = alknet::ConnectOptions { server: self.at.to_string(), ..host.options() };
        alknet::open_session(&options).await.expect("a session")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_bytes_reach_the_target_before_the_server_has_said_a_word() {
    watched(async {
        let host = Host::with(serving()).await;
        let gate = Gate::to(host.server.addresses()[0]).await;
        let session = gate.session(&host).await;
        let (listener, at) = listener().await;
        let forwarder = forward(at, &session).await;
        // The second connection may find the spare channels still to be opened, and so may each; but they come.
        loop {
            warm_up(&forwarder, &listener).await;
            gate.hold.send(true).expect("the gate");
            let mut near = connect(&forwarder).await;
            near.write_all(b"question").await.expect("a write");
            let reached = tokio::time::timeout(Duration::from_millis(500), listener.accept()).await;
            let Ok(far) = reached else {
                gate.hold.send(false).expect("the gate");
                drop(listener.accept().await);
                continue;
            };
            let mut far = far.expect("a connection").0;
            let mut bytes = [0; 8];
            far.read_exact(&mut bytes).await.expect("the first bytes");
            assert_eq!(&bytes, b"question");
            far.write_all(b"answer").await.expect("a write");
            gate.hold.send(false).expect("the gate");
            let mut bytes = [0; 6];
            near.read_exact(&mut bytes).await.expect("an answer");
            assert_eq!(&bytes, b"answer");
            break;
        }
        assert_eq!(forwarder.metrics().refused, 0);
    })
    .await;
}

/// A connection through a forward whose server is a made-up one: connected, and then as `answers` says.
async fn against(answers: Answers) -> (Fake, Session) {
    let fake = Fake::start(answers).await;
    let session = alknet::open_session(&fake.options()).await.expect("a session");
    (fake, session)
}

/// Connects until a connection has used a spare channel, with what was written to it.
async fn through_a_spare(fake: &Fake, forwarder: &LocalForwarder) -> TcpStream {
    // The first connection is opened as usual, and is the reason for the spare channels.
    let mut first = connect(forwarder).await;
    first.write_all(b"?").await.expect("a write");
    assert_eq!(first.read_u8().await.expect("an echo"), b'?');
    fake.opened("alknet-spare", 1).await;
    loop {
        let mut near = connect(forwarder).await;
        near.write_all(b"?").await.expect("a write");
        tokio::select! {
            () = fake.named() => return near,
            _ = near.read_u8() => {}
        }
    }
}

fn db() -> SocketAddr {
    "127.0.0.1:5432".parse().expect("an address")
}

#[tokio::test]
async fn a_refusal_on_a_spare_channel_resets_its_connection_and_counts_as_one() {
    watched(async {
        let mut answer = vec![2, 0, 0, 0, 18];
        answer.extend(b"Connection refused");
        let (fake, session) = against(Answers::Say(answer)).await;
        let forwarder = forward(db(), &session).await;
        let near = through_a_spare(&fake, &forwarder).await;
        assert!(is_reset(near).await, "not a reset");
        until(|| forwarder.metrics().refused == 1).await;
        assert_eq!(forwarder.metrics().reset, 0);
        assert!(!session.is_over(), "{:?}", session.failure());
    })
    .await;
}

#[tokio::test]
async fn nonsense_instead_of_an_answer_ends_the_session() {
    let long = [vec![1, 0, 0, 1, 1], vec![b'x'; 257]].concat();
    for answer in [vec![9], vec![255; 8], long] {
        watched(async {
            let (fake, session) = against(Answers::Say(answer)).await;
            let forwarder = forward(db(), &session).await;
            drop(through_a_spare(&fake, &forwarder).await);
            let why = session.closed().await.expect("a reason");
            assert_eq!(why.code().as_str(), "ERR_ALKNET_PROTOCOL", "{why}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_refusal_when_the_time_is_over() {
    watched(async {
        let (fake, session) = against(Answers::Nothing).await;
        let dial_timeout = Duration::from_millis(300);
        let options = ForwardOptions { dial_timeout, ..ForwardOptions::default() };
        let forwarder = limited(db(), &session, options).await;
        let near = through_a_spare(&fake, &forwarder).await;
        assert!(is_reset(near).await, "not a reset");
        until(|| forwarder.metrics().refused == 1).await;
        assert_eq!(forwarder.metrics().reset, 0);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_knows_no_spare_channels_is_asked_once() {
    watched(async {
        let (fake, session) = against(Answers::Unknown).await;
        let forwarder = forward(db(), &session).await;
        let mut asked = 0;
        for round in 0..12 {
            let mut near = connect(&forwarder).await;
            near.write_all(b"?").await.expect("a write");
            assert_eq!(near.read_u8().await.expect("an echo"), b'?');
            fake.opened("alknet-spare", 1).await;
            match round {
                2 => asked = fake.count("alknet-spare"),
                3.. => assert_eq!(fake.count("alknet-spare"), asked, "asked again"),
                _ => {}
            }
        }
        assert_eq!(fake.count("127.0.0.1"), 12);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_no_alknet_never_hears_of_spare_channels() {
    watched(async {
        let fake = Fake::of("SSH-2.0-OpenSSH_9.9", Answers::Unknown).await;
        let session = alknet::open_session(&fake.options()).await.expect("a session");
        let forwarder = forward(db(), &session).await;
        for _ in 0..4 {
            let mut near = connect(&forwarder).await;
            near.write_all(b"?").await.expect("a write");
            assert_eq!(near.read_u8().await.expect("an echo"), b'?');
        }
        assert_eq!((fake.count("127.0.0.1"), fake.count("alknet-spare")), (4, 0));
    })
    .await;
}

type Raw = ChannelStream<client::Msg>;

async fn spare(handle: &client::Handle<Trusting>) -> Result<Raw, russh::Error> {
    let opened = handle.channel_open_direct_tcpip("alknet-spare", 0, "127.0.0.1", 0);
    Ok(opened.await?.into_stream())
}

fn text(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("a short text").to_be_bytes(), text.as_bytes()].concat()
}

fn with_length(body: Vec<u8>) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("a short body").to_be_bytes()[..], &body].concat()
}

fn header(host: &str, port: u16) -> Vec<u8> {
    let port = u32::from(port).to_be_bytes();
    with_length([&[1], &text(host)[..], &port, &text("127.0.0.1"), &[0; 4]].concat())
}

/// The number of a refusal and its text.
async fn refusal(from: &mut Raw) -> (u8, String) {
    let code = from.read_u8().await.expect("an answer");
    let mut text = vec![0; from.read_u32().await.expect("a length") as usize];
    from.read_exact(&mut text).await.expect("a text");
    ended(from).await;
    (code, String::from_utf8(text).expect("a text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_channel_is_a_stream_like_any_other() {
    watched(async {
        let host = Host::with(serving()).await;
        let handle = host.foreigner(Some(IDENT)).await;
        let (listener, at) = listener().await;
        for pieces in [1, 7, 1000] {
            let mut near = spare(&handle).await.expect("a spare channel");
            let bytes = [header("127.0.0.1", at.port()), b"early".to_vec()].concat();
            for piece in bytes.chunks(pieces) {
                near.write_all(piece).await.expect("a write");
                near.flush().await.expect("a flush");
            }
            near.shutdown().await.expect("an end");
            let mut far = listener.accept().await.expect("a connection").0;
            let mut heard = String::new();
            far.read_to_string(&mut heard).await.expect("all of it");
            assert_eq!(heard, "early");
            far.write_all(b"late").await.expect("a write");
            drop(far);
            let mut said = Vec::new();
            near.read_to_end(&mut said).await.expect("all of it");
            assert_eq!(said, b"\0late");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_go_each_way_through_spare_channels() {
    watched(async {
        let host = Host::with(serving()).await;
        let session = host.session(4 * MIB as u32).await;
        let (listener, at) = listener().await;
        let forwarder = forward(at, &session).await;
        for total in [1000, 100 * MIB] {
            let (mut near, far) = tokio::join!(connect(&forwarder), listener.accept());
            let mut far = far.expect("a connection").0;
            let up = async {
                send(&mut near, 1, total).await;
                near.shutdown().await.expect("an end");
                receive(&mut near, 2, total).await;
                ended(&mut near).await;
            };
            let down = async {
                receive(&mut far, 1, total).await;
                ended(&mut far).await;
                send(&mut far, 2, total).await;
                far.shutdown().await.expect("an end");
            };
            tokio::join!(up, down);
        }
        until(|| forwarder.metrics().active == 0).await;
        let done = forwarder.metrics();
        let all = (1000 + 100 * MIB) as u64;
        assert_eq!((done.bytes_up, done.bytes_down), (all, all));
        assert_eq!((done.accepted, done.refused, done.reset), (2, 0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_named_is_judged_like_who_is_asked_for_by_an_open() {
    watched(async {
        let (listener, at) = listener().await;
        let rules = format!("permitopen=\"127.0.0.1:{}\"", at.port());
        let host = Host::with_rules(&rules, serving()).await;
        let handle = host.foreigner(Some(IDENT)).await;
        let unix = with_length([&[2], &text("/run/app.sock")[..]].concat());
        let cases = [
            (header("127.0.0.1", 1), (1, "this key may not open that")),
            (header("alknet-control", 0), (1, "no such name here")),
            (header("ALKNET-spare", 7), (1, "no such name here")),
            (header("", 7), (1, "a target needs a host and a port from 1 to 65535")),
            (unix, (1, "this key may not open that")),
        ];
        for (header, (code, part)) in cases {
            let mut near = spare(&handle).await.expect("a spare channel");
            near.write_all(&header).await.expect("a write");
            let (said, why) = refusal(&mut near).await;
            assert!(said == code && why.contains(part), "{said} {why}");
        }
        drop(listener);
        let mut near = spare(&handle).await.expect("a spare channel");
        near.write_all(&header("127.0.0.1", at.port())).await.expect("a write");
        assert_eq!(refusal(&mut near).await, (2, "Connection refused".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_header_ends_the_session() {
    let short = with_length(vec![1, 0, 0, 0, 9, b'x']);
    let more = with_length([&[2], &text("/a")[..], b"?"].concat());
    let no_text = with_length([&[2, 0, 0, 0, 1][..], &[0xff]].concat());
    let cases = [vec![0, 0, 4, 0], vec![0xff; 16], with_length(vec![3]), with_length(Vec::new())];
    for header in cases.into_iter().chain([short, more, no_text]) {
        watched(async {
            let host = Host::with(serving()).await;
            let handle = host.foreigner(Some(IDENT)).await;
            let mut near = spare(&handle).await.expect("a spare channel");
            near.write_all(&header).await.expect("a write");
            until(|| handle.is_closed()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_header_that_stays_unfinished_costs_its_channel_after_ten_seconds() {
    watched(async {
        let host = Host::with(serving()).await;
        let handle = host.foreigner(Some(IDENT)).await;
        let opened = handle.channel_open_direct_tcpip("alknet-spare", 0, "127.0.0.1", 0);
        let mut near = opened.await.expect("a spare channel");
        near.data_bytes(header("127.0.0.1", 7)[..9].to_vec()).await.expect("a write");
        let _untouched = spare(&handle).await.expect("the session goes on");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(9)).await;
        tokio::time::resume();
        let _untouched = spare(&handle).await.expect("the session goes on");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::time::resume();
        while let Some(message) = near.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
        assert!(!handle.is_closed());
    })
    .await;
}

#[tokio::test]
async fn a_session_has_sixteen_spare_channels_and_others_have_none() {
    watched(async {
        let host = Host::with(serving()).await;
        let handle = host.foreigner(Some(IDENT)).await;
        let mut kept = Vec::new();
        for _ in 0..16 {
            kept.push(spare(&handle).await.expect("a spare channel"));
        }
        assert!(spare(&handle).await.is_err(), "a seventeenth");
        kept.pop();
        // The place is free once the server has heard of the close.
        while spare(&handle).await.map(|spare| kept.push(spare)).is_err() {}
        let foreign = host.foreigner(None).await;
        assert!(spare(&foreign).await.is_err(), "for a client that is no alknet");
        let without = Host::new(support::SMALLEST).await;
        let handle = without.foreigner(Some(IDENT)).await;
        assert!(spare(&handle).await.is_err(), "without forwards");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spare_channels_take_no_stream_its_place_and_hold_no_drain_up() {
    watched(async {
        let limits = Limits { max_channels: 1, max_channels_per_session: 1, ..Limits::default() };
        let host = Host::with(ServeOptions { limits, ..serving() }).await;
        let handle = host.foreigner(Some(IDENT)).await;
        let (listener, at) = listener().await;
        let mut spares = Vec::new();
        for _ in 0..8 {
            spares.push(spare(&handle).await.expect("a spare channel"));
        }
        let header = header("127.0.0.1", at.port());
        let mut first = spares.pop().expect("a spare channel");
        first.write_all(&header).await.expect("a write");
        let far = listener.accept().await.expect("a connection").0;
        assert_eq!(first.read_u8().await.expect("an answer"), 0);
        let mut second = spares.pop().expect("a spare channel");
        second.write_all(&header).await.expect("a write");
        assert_eq!(refusal(&mut second).await, (4, "too many open channels".to_owned()));
        drop(far);
        ended(&mut first).await;
        first.shutdown().await.expect("an end");
        drop(first);
        host.server.drain(Duration::from_secs(3600)).await;
    })
    .await;
}
