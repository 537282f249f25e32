//! What a server offers of forwards: where its clients' streams may lead, and where it listens for them.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use alknet::{
    ChannelManager, ConnectOptions, Error, ForwardOptions, ForwardPolicy, LocalForwarder, Phase,
    PortForwardSpec, Reconnect, Refusal, RemoteForwarder, Route, ServeOptions, Session, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use support::sshd::{Folder, Sshd, output_of, ssh};
use support::{Host, MIB, echo, ended, identity, receive, send, until, watched};

const LIMIT: Duration = Duration::from_secs(60);

async fn host(policy: ForwardPolicy) -> Host {
    Host::with(ServeOptions { forwarding: Some(policy), ..ServeOptions::default() }).await
}

async fn remote_host() -> Host {
    host(ForwardPolicy { remote: true, ..ForwardPolicy::default() }).await
}

async fn session(host: &Host) -> Session {
    host.session(4 * MIB as u32).await
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

fn spec(text: &str) -> PortForwardSpec {
    text.parse().expect("a spec")
}

async fn refusal(session: &Session, target: &str) -> Error {
    let target: Target = target.parse().expect("a target");
    session.open(&target, LIMIT).await.expect_err("a refusal")
}

async fn remote(session: &Session, text: &str) -> Result<RemoteForwarder, Error> {
    let options = ForwardOptions::default();
    RemoteForwarder::start(&spec(text), session, Route::direct(), &options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_policy_leads_to_tcp_targets_and_tells_the_truth_about_others() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let (at, address) = listener().await;
        let target: Target = address.to_string().parse().expect("a target");
        let (mut near, mut far) = {
            let (near, far) = tokio::join!(session.open(&target, LIMIT), at.accept());
            (near.expect("a stream"), far.expect("a connection").0)
        };
        echo(&mut near, &mut far, 4 * MIB).await;
        near.shutdown().await.expect("an end");
        ended(&mut far).await;
        send(&mut far, 9, MIB).await;
        drop(far);
        receive(&mut near, 9, MIB).await;
        ended(&mut near).await;
        drop(at);
        let refused = refusal(&session, &address.to_string()).await;
        assert_eq!(refused.code().as_str(), "ECONNREFUSED");
        assert_eq!(refused.refusal(), Some(Refusal::ConnectFailed));
        assert_eq!(refusal(&session, "no-such-host.invalid:1").await.code().as_str(), "ENOTFOUND");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_forbids_is_prohibited_before_anything_is_dialled() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let session = session(&host).await;
        let own = host.server.addresses()[0].to_string();
        for target in [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "0:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[fe80::1]:80",
            own.as_str(),
            "/run/some.sock",
            "udp:169.254.169.254:53",
            "alknet-else",
        ] {
            let error = refusal(&session, target).await;
            assert_eq!(error.code().as_str(), "ERR_ALKNET_CHANNEL_REJECTED", "{target}: {error}");
            assert_eq!(error.refusal(), Some(Refusal::Prohibited), "{target}: {error}");
            assert_eq!(error.phase(), Some(Phase::Channel));
        }
        let closed = Host::new(MIB as u32).await;
        let session = closed.session(MIB as u32).await;
        for target in ["127.0.0.1:1", "/run/some.sock"] {
            assert_eq!(refusal(&session, target).await.refusal(), Some(Refusal::Prohibited));
        }
        assert!(remote(&session, "0:127.0.0.1:1").await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_and_listens_where_its_line_permits_it_and_nowhere_else() {
    watched(async {
        let (at, address) = listener().await;
        let free = listener().await.1.port();
        let rules = format!(
            "permitopen=\"127.0.0.1:{}\",permitlisten=\"localhost:{free}\"",
            address.port()
        );
        let policy = ForwardPolicy { remote: true, unix: true, ..ForwardPolicy::default() };
        let options = ServeOptions { forwarding: Some(policy), ..ServeOptions::default() };
        let host = Host::with_rules(&rules, options.clone()).await;
        let session = session(&host).await;
        let target: Target = address.to_string().parse().expect("a target");
        session.open(&target, LIMIT).await.expect("a stream");
        for target in ["127.0.0.1:1", "localhost:80", "/run/some.sock"] {
            assert_eq!(refusal(&session, target).await.refusal(), Some(Refusal::Prohibited));
        }
        assert!(remote(&session, "0:127.0.0.1:1").await.is_err(), "any port");
        remote(&session, &format!("localhost:{free}:127.0.0.1:1")).await.expect("it listens");
        let host = Host::with_rules("restrict", options).await;
        let session = host.session(MIB as u32).await;
        let error = refusal(&session, &address.to_string()).await;
        assert_eq!(error.refusal(), Some(Refusal::Prohibited));
        drop(at);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_sockets_are_forwarded_both_ways_and_are_their_owners_alone() {
    watched(async {
        let policy = ForwardPolicy { unix: true, remote: true, ..ForwardPolicy::default() };
        let host = host(policy).await;
        let session = session(&host).await;
        let folder = Folder::new();
        let (near_path, far_path) = (folder.path("near"), folder.path("far"));
        let far_listener = UnixListener::bind(&far_path).expect("a socket");
        let local = spec(&format!("{near_path}:{far_path}"));
        let options = ForwardOptions::default();
        let forwarder =
            LocalForwarder::start(&local, &session, &options).await.expect("it listens");
        let mode = std::fs::metadata(&near_path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (near, far) = tokio::join!(UnixStream::connect(&near_path), far_listener.accept());
        let (mut near, mut far) = (near.expect("a connection"), far.expect("a connection").0);
        echo(&mut near, &mut far, MIB).await;
        let taken = LocalForwarder::start(&local, &session, &options).await.expect_err("in use");
        assert_eq!(taken.code().as_str(), "EADDRINUSE");
        forwarder.close().await;
        assert!(!std::path::Path::new(&near_path).exists(), "the socket file was left");

        let back_path = folder.path("back");
        let back = remote(&session, &format!("{back_path}:{far_path}")).await.expect("it listens");
        let (near, far) = tokio::join!(UnixStream::connect(&back_path), far_listener.accept());
        echo(&mut near.expect("a connection"), &mut far.expect("a connection").0, MIB).await;
        back.close().await;
        until(|| !std::path::Path::new(&back_path).exists()).await;
        let missing = refusal(&session, &folder.path("none")).await;
        assert_eq!(missing.code().as_str(), "ENOENT");
    })
    .await;
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_on_request_and_any_other_file_never() {
    watched(async {
        let folder = Folder::new();
        let path = folder.path("s");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let spec = spec(&format!("{path}:127.0.0.1:1"));
        let keep = ForwardOptions::default();
        let replace = ForwardOptions { replace_stale_socket: true, ..ForwardOptions::default() };
        let error = LocalForwarder::start(&spec, Route::direct(), &keep).await.expect_err("stale");
        assert_eq!(error.code().as_str(), "EADDRINUSE");
        assert!(error.help().is_some());
        let forwarder =
            LocalForwarder::start(&spec, Route::direct(), &replace).await.expect("it listens");
        let live = LocalForwarder::start(&spec, Route::direct(), &replace).await;
        assert_eq!(live.expect_err("alive").code().as_str(), "EADDRINUSE");
        drop(forwarder);
        until(|| !std::path::Path::new(&path).exists()).await;
        std::fs::write(&path, "precious").expect("a file");
        let error = LocalForwarder::start(&spec, Route::direct(), &replace).await;
        assert_eq!(error.expect_err("a file").code().as_str(), "EADDRINUSE");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
    })
    .await;
}

/// A connection to `port`, through a remote forward, to `at`.
async fn back(port: u16, at: &TcpListener) -> (TcpStream, TcpStream) {
    let (near, far) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), at.accept());
    (near.expect("a connection"), far.expect("a connection").0)
}

async fn is_free(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_err()
}

async fn remote_forward_works(session: &Session) {
    let (at, address) = listener().await;
    let forwarder = remote(session, &format!("0:{address}")).await.expect("it listens");
    let port = forwarder.port().expect("a port");
    assert_ne!(port, 0);
    let (mut near, mut far) = back(port, &at).await;
    echo(&mut near, &mut far, 4 * MIB).await;
    near.shutdown().await.expect("an end");
    ended(&mut far).await;
    send(&mut far, 5, MIB).await;
    drop(far);
    receive(&mut near, 5, MIB).await;
    ended(&mut near).await;
    forwarder.close().await;
    while !is_free(port).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_forward_carries_both_ways_keeps_half_close_and_is_cancelled() {
    watched(async {
        let host = remote_host().await;
        remote_forward_works(&session(&host).await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_forward_at_openssh_does_the_same() {
    let Some(sshd) = Sshd::start(&[]) else { return };
    watched(async { remote_forward_works(&sshd.session().await).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_listens_on_loopback_above_1023_16_times_a_session() {
    watched(async {
        let host = remote_host().await;
        let session = session(&host).await;
        for text in ["0.0.0.0:0:h:1", "[::]:0:h:1", "1023:h:1", "example.com:0:h:1", "/tmp/x:h:1"] {
            let error = remote(&session, text).await.expect_err(text);
            assert_eq!(error.refusal(), Some(Refusal::Prohibited), "{text}");
        }
        let mut kept = Vec::new();
        for _ in 0..16 {
            kept.push(remote(&session, "0:127.0.0.1:1").await.expect("it listens"));
        }
        assert!(remote(&session, "0:127.0.0.1:1").await.is_err(), "a 17th listener");
        let port = kept[0].port().expect("a port");
        session.close().await;
        while !is_free(port).await {
            tokio::task::yield_now().await;
        }
        until(|| kept[0].port().is_none()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_the_same_key_takes_its_port_over() {
    watched(async {
        let host = remote_host().await;
        let (at, address) = listener().await;
        let old = session(&host).await;
        let first = remote(&old, &format!("127.0.0.1:0:{address}")).await.expect("it listens");
        let port = first.port().expect("a port");
        let again = format!("127.0.0.1:{port}:{address}");
        assert!(remote(&old, &again).await.is_err(), "twice on one session");
        let new = session(&host).await;
        let second = remote(&new, &again).await.expect("the port of the older session");
        assert_eq!(second.port(), Some(port));
        drop(old);
        let (mut near, mut far) = back(port, &at).await;
        echo(&mut near, &mut far, MIB).await;
        assert_eq!((first.metrics().accepted, second.metrics().accepted), (0, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_takes_a_port_over() {
    watched(async {
        let host = remote_host().await;
        let (at, address) = listener().await;
        let mine = session(&host).await;
        let forward = remote(&mine, &format!("127.0.0.1:0:{address}")).await.expect("it listens");
        let port = forward.port().expect("a port");
        // The same key, but it is another user's session.
        let options = ConnectOptions { user: "another".into(), ..host.options() };
        let other = alknet::open_session(&options).await.expect("a session");
        assert!(remote(&other, &format!("127.0.0.1:{port}:{address}")).await.is_err());
        let (mut near, mut far) = back(port, &at).await;
        echo(&mut near, &mut far, MIB).await;
        assert_eq!(forward.metrics().accepted, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_forwarded_streams_are_open_at_once() {
    watched(async {
        let host = remote_host().await;
        let session = session(&host).await;
        let (at, address) = listener().await;
        let forward =
            remote(&session, &format!("127.0.0.1:0:{address}")).await.expect("it listens");
        let port = forward.port().expect("a port");
        let mut far = Vec::new();
        for number in 0..100_u8 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
            stream.write_u8(number).await.expect("a write");
            far.push(stream);
        }
        let mut near = Vec::new();
        for _ in 0..100 {
            let (mut stream, _) = at.accept().await.expect("a connection");
            let number = stream.read_u8().await.expect("a number");
            near.push((number, stream));
        }
        assert_eq!(forward.metrics().active, 100);
        near.sort_by_key(|(number, _)| *number);
        for ((number, near), far) in near.iter_mut().zip(&mut far) {
            near.write_u8(*number).await.expect("a write");
            assert_eq!(far.read_u8().await.expect("an answer"), *number);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_remote_forward_is_there_again_after_a_reconnect() {
    watched(async {
        let host = remote_host().await;
        let options =
            ConnectOptions { identity: Some(identity(&host.key)), ..ConnectOptions::default() }
                .connection_string(&host.server.connection_string())
                .expect("a connection string");
        let manager = ChannelManager::new(&options, Reconnect::default()).await.expect("a session");
        let (at, address) = listener().await;
        let forwarder = RemoteForwarder::keep(
            &spec(&format!("0:{address}")),
            &manager,
            Route::direct(),
            &ForwardOptions::default(),
        )
        .await
        .expect("it listens");
        let port = forwarder.port().expect("a port");
        back(port, &at).await;
        manager.session().expect("a session").close().await;
        until(|| manager.metrics().sessions == 2 && forwarder.port().is_some()).await;
        assert_eq!(forwarder.port(), Some(port));
        let (mut near, mut far) = back(port, &at).await;
        echo(&mut near, &mut far, MIB).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_is_asked_for_listeners_and_sockets_by_name() {
    watched(async {
        let policy = ForwardPolicy { remote: true, unix: true, ..ForwardPolicy::default() };
        let host = host(policy).await;
        let manager = ChannelManager::new(&host.options(), Reconnect::default()).await;
        let manager = manager.expect("a session");
        let (at, address) = listener().await;
        let target: Target = address.to_string().parse().expect("a target");
        let port = manager.request_tcpip_forward("127.0.0.1", 0, &target).await.expect("a port");
        let (mut near, mut far) = back(port, &at).await;
        echo(&mut near, &mut far, MIB).await;
        assert!(!manager.cancel_tcpip_forward("localhost", port).await);
        assert!(manager.cancel_tcpip_forward("127.0.0.1", port).await);
        while !is_free(port).await {
            tokio::task::yield_now().await;
        }
        let folder = Folder::new();
        let path = folder.path("socket");
        let socket = UnixListener::bind(&path).expect("a socket");
        let opened = manager.open_streamlocal(&path, LIMIT);
        let (near, far) = tokio::join!(opened, socket.accept());
        echo(&mut near.expect("a stream"), &mut far.expect("a connection").0, MIB).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_reaches_targets_with_w_and_hears_why_it_does_not() {
    watched(async {
        let host = host(ForwardPolicy::default()).await;
        let folder = Folder::new();
        let (at, address) = listener().await;
        let Some(mut ssh_w) =
            ssh(&host, host.server.addresses()[0], &folder, &["-W", &address.to_string()])
        else {
            return;
        };
        let mut client = ssh_w.spawn().expect("ssh starts");
        let (mut far, _) = at.accept().await.expect("a connection");
        let mut input = client.stdin.take().expect("a pipe");
        input.write_all(b"question").expect("a write");
        drop(input);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.expect("the end");
        assert_eq!(heard, "question");
        far.write_all(b"answer").await.expect("a write");
        drop(far);
        let output = output_of(client).await;
        assert_eq!(output.stdout, b"answer");
        assert!(output.status.success());
        drop(at);
        for (target, reason) in [
            (address.to_string(), "open failed: connect failed: Connection refused"),
            ("169.254.169.254:80".to_owned(), "open failed: administratively prohibited"),
            ("nowhere.invalid:80".to_owned(), "open failed: connect failed: Name or service not"),
        ] {
            let folder = Folder::new();
            let mut failing =
                ssh(&host, host.server.addresses()[0], &folder, &["-W", &target]).expect("ssh");
            let output = output_of(failing.spawn().expect("ssh starts")).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains(reason), "{target}: {said}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_asks_for_a_remote_forward_and_gets_it() {
    watched(async {
        let host = remote_host().await;
        let folder = Folder::new();
        let (at, address) = listener().await;
        let forward = format!("0:{address}");
        let Some(mut ssh_r) =
            ssh(&host, host.server.addresses()[0], &folder, &["-N", "-R", &forward])
        else {
            return;
        };
        let mut client = ssh_r.spawn().expect("ssh starts");
        let said = BufReader::new(client.stderr.take().expect("a pipe"));
        let finding = tokio::task::spawn_blocking(|| {
            said.lines().map_while(Result::ok).find_map(|line| {
                line.strip_prefix("Allocated port ")?.split(' ').next()?.parse().ok()
            })
        });
        let port: u16 = finding.await.expect("a read").expect("the port");
        let (mut near, mut far) = back(port, &at).await;
        echo(&mut near, &mut far, 4 * MIB).await;
        client.kill().expect("it runs");
        client.wait().expect("ssh ends");
        while !is_free(port).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
