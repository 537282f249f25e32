//! Both ends of the room against each other, and raw requests against the server.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::error::Result;
use crate::io::BoxIo;

fn site() -> Arc<Site> {
    let rules = SocketRules {
        limits: SocketLimits { message: 1000, ..SocketLimits::default() },
        protocols: &["new.2", "old.1"],
        ..SocketRules::new("agents")
    };
    let hello = |head: Head, _, body: Bytes| {
        let text = format!("{} {}", head.method, body.len());
        std::future::ready(page(200, "text/plain", text)).boxed()
    };
    let hidden = SocketRules {
        is_hidden: true,
        own_pages: true,
        admit: Some(Box::new(|head, parts| match bearer(head) == Some("t") && parts == ["a b"] {
            true => Ok(()),
            false => Err(Box::new(page(401, "text/plain", "a token"))),
        })),
        ..SocketRules::new("hidden")
    };
    let lost = |_, _, _| std::future::ready(page(404, "text/plain", "lost")).boxed();
    let site = Site::default().page("/hello", hello).socket("/ws/{}", rules);
    Arc::new(site.socket("/hidden/{}", hidden).otherwise(lost))
}

/// Everything that the server says to `request`.
async fn answer(request: &[u8]) -> String {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let site = site();
    let talk = async {
        far.write_all(request).await.unwrap();
        far.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        String::from_utf8(all).unwrap()
    };
    // What was served is dropped at once: a WebSocket would keep the client waiting.
    let ((), said) = tokio::join!(async { drop(serve(Box::new(near), &site).await) }, talk);
    said
}

fn asked(path: &str) -> Upgrade {
    Upgrade {
        authority: "hub.example".into(),
        path: path.into(),
        authorization: None,
        protocol: None,
        limits: SocketLimits::default(),
    }
}

async fn open(wanted: Upgrade) -> (Result<(Socket, bool)>, Result<Served>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (near, far): (BoxIo, BoxIo) = (Box::new(near), Box::new(far));
    let site = site();
    let client = async move { upgrade(far, &wanted).await };
    tokio::join!(client, serve(near, &site))
}

async fn pair() -> (Socket, Upgraded) {
    let (client, served) = open(asked("/ws/seven?token=x")).await;
    let Ok(Served::Upgraded(upgraded)) = served else { panic!("no WebSocket") };
    (client.unwrap().0, *upgraded)
}

#[tokio::test]
async fn pages_are_served_by_path_and_noise_is_a_bad_request() {
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let found = answer(get("/hello").as_bytes()).await;
    assert!(
        found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\nGET 0"),
        "{found}"
    );
    assert!(found.contains("\r\nDate: "), "{found}");
    let missing = answer(get("/other").as_bytes()).await;
    assert!(missing.starts_with("HTTP/1.1 404 Not Found\r\n"), "{missing}");
    let plain = answer(get("/ws/seven").as_bytes()).await;
    assert!(plain.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{plain}");
    let noise = answer(b"\x16\x03\x01 noise\r\n\r\n").await;
    assert!(noise.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{noise}");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000));
    let long = answer(long.as_bytes()).await;
    assert!(long.starts_with("HTTP/1.1 431 ") || long.starts_with("HTTP/1.1 414 "), "{long}");
}

#[tokio::test]
async fn a_request_body_has_a_bound() {
    let post = |n: usize| {
        let body = "x".repeat(n);
        format!(
            "POST /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {n}\r\n\r\n{body}"
        )
    };
    assert!(answer(post(60_000).as_bytes()).await.ends_with("POST 60000"));
    assert!(answer(post(66_000).as_bytes()).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn messages_go_both_ways_and_a_close_is_an_end() {
    let (mut client, upgraded) = pair().await;
    assert_eq!((upgraded.name, &upgraded.parts[..]), ("agents", &["seven".to_owned()][..]));
    assert_eq!(query(&upgraded.head, "token").as_deref(), Some("x"));
    let mut server = upgraded.socket;
    for message in [Message::Text("hello".into()), Message::Binary(Bytes::from_static(&[0, 255]))] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(server.next().await.unwrap().unwrap(), message);
        server.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    server.send(Message::Ping("still there?".into())).await.unwrap();
    assert!(client.next().await.unwrap().unwrap().is_ping());
    client.flush().await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::Pong("still there?".into()));
    let why = CloseFrame { code: CloseCode::Policy, reason: "enough".into() };
    server.send(Message::Close(Some(why.clone()))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(Some(why)));
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_an_error() {
    let (mut client, upgraded) = pair().await;
    let mut server = upgraded.socket;
    client.send(Message::Binary(vec![0; 1001].into())).await.unwrap();
    let error = server.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Failure::Capacity(_)), "{error}");
}

#[tokio::test]
async fn a_refused_upgrade_tells_the_answer() {
    for (path, code, status) in [
        ("/nowhere", "ERR_ALKNET_PROTOCOL", "404"),
        ("/hello", "ERR_ALKNET_PROTOCOL", "200"),
        ("/hidden/a%20b", "ERR_ALKNET_AUTH_REJECTED", "401"),
    ] {
        let (client, _) = open(asked(path)).await;
        let error = client.err().expect("a refusal");
        assert_eq!(error.code().as_str(), code, "{path}");
        assert!(error.to_string().contains(status), "{error}");
    }
    let wanted = Upgrade { authorization: Some("Bearer t".into()), ..asked("/hidden/a%20b") };
    let (client, served) = open(wanted).await;
    assert!(client.is_ok() && served.is_ok());
}

#[tokio::test]
async fn a_sub_protocol_is_spoken_when_both_ends_know_it() {
    for (path, offered, spoken) in [
        ("/ws/a", Some("old.1"), Some("old.1")),
        ("/ws/a", Some("new.2"), Some("new.2")),
        ("/ws/a", Some("other.3"), None),
        ("/ws/a", None, None),
    ] {
        let (client, served) = open(Upgrade { protocol: offered, ..asked(path) }).await;
        assert_eq!(client.unwrap().1, spoken.is_some(), "{offered:?}");
        let Ok(Served::Upgraded(upgraded)) = served else { panic!("no WebSocket") };
        assert_eq!(upgraded.protocol, spoken, "{offered:?}");
    }
    let many = "GET /ws/a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Protocol: x, old.1,new.2\r\n\r\n";
    let said = answer(many.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said}");
    assert!(said.contains("\r\nSec-Websocket-Protocol: new.2\r\n"), "the best of ours: {said}");
    assert!(said.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "as in RFC 6455 §1.3: {said}");
}

#[tokio::test]
async fn a_hidden_socket_looks_like_no_page() {
    let get = |path: &str, more: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: h:1\r\nConnection: close, Upgrade\r\n");
        format!(
            "{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n{more}\r\n"
        )
    };
    let strip = |said: String| -> Vec<String> {
        said.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect()
    };
    let lost = strip(answer(get("/nowhere", "").as_bytes()).await);
    assert!(lost.contains(&"lost".to_owned()), "{lost:?}");
    for more in ["", "Upgrade: websocket\r\nOrigin: http://evil\r\n"] {
        assert_eq!(strip(answer(get("/hidden/a%20b", more).as_bytes()).await), lost, "{more}");
    }
    let own = "Upgrade: websocket\r\nOrigin: http://h:1\r\nAuthorization: Bearer t\r\n";
    assert!(answer(get("/hidden/a%20b", own).as_bytes()).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_request_gets_its_answer_within_its_bound() {
    let ask = async |longest: usize| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (near, far): (BoxIo, BoxIo) = (Box::new(near), Box::new(far));
        let body = Full::from(Bytes::from_static(b"seven"));
        let wanted = Request::put("https://hub.example/hello?x=1").body(body).unwrap();
        let site = site();
        tokio::select! {
            answer = request(far, wanted, longest) => answer,
            served = serve(near, &site) => panic!("{:?}", served.err()),
        }
    };
    let answer = ask(1000).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"PUT 5"[..]));
    assert_eq!(ask(3).await.unwrap_err().code().as_str(), "ERR_ALKNET_PROTOCOL");
}

#[tokio::test]
async fn as_a_stream_it_carries_bytes_and_its_end() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let site = Arc::new(Site::default().socket("/alknet", SocketRules::new("ssh")));
    let wanted = Upgrade { authorization: Some("Bearer x".into()), ..asked("/alknet") };
    let (client, served) =
        tokio::join!(upgrade(Box::new(far), &wanted), serve(Box::new(near), &site));
    let Ok(Served::Upgraded(upgraded)) = served else { panic!("no WebSocket") };
    assert_eq!(bearer(&upgraded.head), Some("x"));
    let (mut near, mut far) = (SocketIo::new(client.unwrap().0), SocketIo::new(upgraded.socket));
    let sent: Vec<u8> = (0..500_000_u32).map(|n| (n % 251) as u8).collect();
    let mut heard = Vec::new();
    let speak = async {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        rest
    };
    let listen = async {
        far.read_to_end(&mut heard).await.unwrap();
        far.shutdown().await.unwrap();
    };
    let (rest, ()) = tokio::join!(speak, listen);
    assert!(rest.is_empty() && heard == sent);
}
