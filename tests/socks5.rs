//! The SOCKS5 and HTTP CONNECT proxy, with curl and byte by byte.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use alknet::{
    Bind, ForwardOptions, ForwardPolicy, Route, ServeOptions, SocksForwarder, SocksLogin,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::sshd::find;
use support::{Host, MIB, watched};

async fn proxy(route: impl Into<Route>, login: Option<SocksLogin>) -> SocksForwarder {
    let listen: Bind = "127.0.0.1:0".parse().expect("a place");
    let options = ForwardOptions::default();
    SocksForwarder::start(&listen, login.as_ref(), route, &options).await.expect("it listens")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// Says `question` in one write, and hears everything up to the end.
async fn ask(proxy: &SocksForwarder, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy.addresses()[0]).await.expect("a connection");
    stream.write_all(question).await.expect("a write");
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

/// A SOCKS5 request with its greeting before it.
fn request(kind: u8, host: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 5, 1, 0, kind], host, &port.to_be_bytes()].concat()
}

/// Answers one HTTP request and tells what it was.
async fn serve_http(at: TcpListener) -> String {
    let (mut stream, _) = at.accept().await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.expect("a write");
    String::from_utf8(head).expect("text")
}

async fn curl(args: Vec<String>) -> Option<String> {
    let mut curl = Command::new(find("curl")?);
    curl.args(["--silent", "--show-error", "--noproxy", "", "--max-time", "60"]).args(args);
    let output = tokio::task::spawn_blocking(move || curl.output()).await.expect("a wait");
    let output = output.expect("curl runs");
    let (out, err) = (output.stdout, output.stderr);
    Some(format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_goes_through_socks_and_connect_over_a_session() {
    watched(async {
        let policy = Some(ForwardPolicy::default());
        let host = Host::with(ServeOptions { forwarding: policy, ..<_>::default() }).await;
        let session = host.session(MIB as u32).await;
        let login = SocksLogin { user: "me".into(), password: "s e:cret".into() };
        let guarded = proxy(&session, Some(login)).await;
        let open = proxy(&session, None).await;
        let (at, with) = (open.addresses()[0], guarded.addresses()[0]);
        for args in [
            vec!["--proxy".into(), format!("socks5h://{at}")],
            vec!["--proxy".into(), format!("socks5://{at}")],
            vec!["--proxytunnel".into(), "--proxy".into(), format!("http://{at}")],
            vec!["--proxy".into(), format!("socks5h://me:s%20e%3Acret@{with}")],
            vec![
                "--proxytunnel".into(),
                "--proxy".into(),
                format!("http://me:s%20e%3Acret@{with}"),
            ],
        ] {
            let (target, address) = listener().await;
            let url = format!("http://localhost:{}/", address.port());
            let url = if args[1].contains("socks5:") { format!("http://{address}/") } else { url };
            let args: Vec<String> = args.into_iter().chain([url]).collect();
            let shown = format!("{args:?}");
            let fetched = async {
                match curl(args).await {
                    Some(said) => assert_eq!(said, "hello", "{shown}"),
                    None => drop(TcpStream::connect(address).await),
                }
            };
            tokio::select! {
                (head, ()) = async { tokio::join!(serve_http(target), fetched) } => {
                    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
                }
            }
        }
        assert_eq!(ask(&guarded, &[5, 1, 0]).await, [5, 0xff]);
        let wrong = [&[5, 1, 2, 1, 2][..], b"me", &[5], b"wrong"].concat();
        assert_eq!(ask(&guarded, &wrong).await, [5, 2, 1, 1]);
        let said = ask(&guarded, b"CONNECT h:1 HTTP/1.1\r\n\r\n").await;
        assert!(said.starts_with(b"HTTP/1.1 407 "), "{}", String::from_utf8_lossy(&said));
        let prohibited = ask(&open, &request(1, &[169, 254, 169, 254], 80)).await;
        assert_eq!(prohibited[..4], [5, 0, 5, 2]);
        let unknown = ask(&open, &request(3, b"\x0fnowhere.invalid", 80)).await;
        assert_eq!(unknown[..4], [5, 0, 5, 4]);
        let said = ask(&open, b"CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n").await;
        assert!(said.starts_with(b"HTTP/1.1 403 "));
    })
    .await;
}

#[tokio::test]
async fn requests_are_answered_truly_and_in_one_piece() {
    watched(async {
        let proxy = proxy(Route::direct(), None).await;
        let closed = listener().await.1.port();
        let refused = [5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(ask(&proxy, &request(1, &[127, 0, 0, 1], closed)).await, refused);
        let cases: [(&[u8], u8); 4] =
            [(b"\x0ealknet-control", 2), (b"\x00", 1), (b"\x03a b", 1), (b"\x02\xff\xfe", 1)];
        for (name, reply) in cases {
            assert_eq!(ask(&proxy, &request(3, name, 80)).await[..4], [5, 0, 5, reply], "{name:?}");
        }
        assert_eq!(ask(&proxy, &request(9, &[], 80)).await[..4], [5, 0, 5, 8]);
        let udp = [&[5, 1, 0, 5, 3, 0, 1][..], &[127, 0, 0, 1, 0, 80]].concat();
        assert_eq!(ask(&proxy, &udp).await[..4], [5, 0, 5, 7]);
        for other in [&b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00"[..], b"\x16\x03\x01", b"\x00\x00"] {
            assert_eq!(ask(&proxy, other).await, b"", "{other:?}");
        }
        for (question, status) in [
            ("GET http://h/ HTTP/1.1\r\n\r\n", "405"),
            ("CONNECT h HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT ::1:80 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT alknet-control:80 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT \x01 nonsense\r\n\r\n", "400"),
        ] {
            let said = String::from_utf8(ask(&proxy, question.as_bytes()).await).expect("text");
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{question:?}: {said}");
        }
        let said = ask(&proxy, format!("CONNECT [::1]:{closed} HTTP/1.1\r\n\r\n").as_bytes()).await;
        assert!(said.starts_with(b"HTTP/1.1 502 "), "{}", String::from_utf8_lossy(&said));
    })
    .await;
}

#[tokio::test]
async fn bytes_sent_along_with_a_request_reach_the_target() {
    watched(async {
        let proxy = proxy(Route::direct(), None).await;
        for http in [false, true] {
            let (at, address) = listener().await;
            let mut question = match http {
                true => format!("CONNECT {address} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
                false => request(1, &[127, 0, 0, 1], address.port()),
            };
            question.extend_from_slice(b"early bytes");
            let target = async {
                let (mut stream, _) = at.accept().await.expect("a connection");
                let mut heard = [0; 11];
                stream.read_exact(&mut heard).await.expect("the early bytes");
                assert_eq!(&heard, b"early bytes");
                stream.write_all(b"answer").await.expect("a write");
                stream.shutdown().await.expect("an end");
                let _ = stream.read(&mut [0]).await;
            };
            let (said, ()) = tokio::join!(
                async {
                    let mut stream =
                        TcpStream::connect(proxy.addresses()[0]).await.expect("a connection");
                    stream.write_all(&question).await.expect("a write");
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).await.expect("the end");
                    heard
                },
                target
            );
            assert!(said.ends_with(b"answer"), "{}", String::from_utf8_lossy(&said));
        }
    })
    .await;
}

#[tokio::test]
async fn who_does_not_say_what_he_wants_in_time_is_let_go() {
    watched(async {
        let listen: Bind = "127.0.0.1:0".parse().expect("a place");
        let limit = Duration::from_millis(50);
        let options = ForwardOptions { handshake_timeout: limit, ..ForwardOptions::default() };
        let proxy = SocksForwarder::start(&listen, None, Route::direct(), &options).await;
        let proxy = proxy.expect("it listens");
        for (said, answer) in [
            (&b""[..], &b""[..]),
            (b"\x05", b""),
            (b"\x05\x01\x00\x05\x01\x00", b"\x05\x00"),
            (b"CONNECT h:1 HTTP/1.1\r\n", b""),
        ] {
            assert_eq!(ask(&proxy, said).await, answer, "{said:?}");
        }
        assert_eq!(proxy.metrics().accepted, 0, "no request came of them");
        assert_eq!(ForwardOptions::default().handshake_timeout, Duration::from_secs(10));
    })
    .await;
}
