//! Both ends of the room against each other, and raw requests against the server.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::io::BoxIo;

fn site() -> Arc<Site> {
    let rules = SocketRules {
        limits: SocketLimits { message: 1000, ..SocketLimits::default() },
        ..SocketRules::new("agents")
    };
    let hello = |head: Head, _, body: Bytes| {
        let text = format!("{} {}", head.method, body.len());
        std::future::ready(page(200, "text/plain", text)).boxed()
    };
    Arc::new(Site::default().page("/hello", hello).socket("/ws/{}", rules))
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
    let (_, said) = tokio::join!(serve(Box::new(near), &site), talk);
    said
}

async fn open(
    path: &str,
) -> (Result<WebSocket, crate::error::Error>, Result<Served, crate::error::Error>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (near, far): (BoxIo, BoxIo) = (Box::new(near), Box::new(far));
    let wanted = Upgrade {
        secure: false,
        authority: "hub.example".into(),
        path: path.into(),
        authorization: None,
        limits: SocketLimits::default(),
    };
    let site = site();
    let client = async move { upgrade(far, &wanted).await };
    tokio::join!(client, serve(near, &site))
}

async fn pair() -> (WebSocket, Upgraded) {
    let (client, served) = open("/ws/seven?token=x").await;
    let Ok(Served::Upgraded(upgraded)) = served else { panic!("no WebSocket") };
    (client.unwrap(), *upgraded)
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
    let (client, upgraded) = pair().await;
    assert_eq!((upgraded.name, upgraded.parameter.as_deref()), ("agents", Some("seven")));
    assert_eq!(upgraded.head.uri.query(), Some("token=x"));
    let (mut say, mut hear) = client.split();
    let (mut answer, mut listen) = upgraded.socket.split();
    for message in [Message::Text("hello".into()), Message::Binary(Bytes::from_static(&[0, 255]))] {
        say.send(message.clone()).await.unwrap();
        assert_eq!(listen.next().await.unwrap(), Some(message.clone()));
        answer.send(message.clone()).await.unwrap();
        assert_eq!(hear.next().await.unwrap(), Some(message));
    }
    // The pong goes out while its receiver is read.
    answer.ping("still there?").await.unwrap();
    tokio::select! {
        pong = listen.next() => assert_eq!(pong.unwrap(), Some(Message::Pong("still there?".into()))),
        early = hear.next() => panic!("{early:?}"),
    }
    answer.close(CloseCode::POLICY, &"long ".repeat(100)).await.unwrap();
    assert_eq!(hear.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_an_error() {
    let (client, upgraded) = pair().await;
    let (mut say, _hear) = client.split();
    let (_answer, mut listen) = upgraded.socket.split();
    say.send(Message::Binary(vec![0; 1001].into())).await.unwrap();
    let error = listen.next().await.unwrap_err();
    assert_eq!(error.code().as_str(), "ERR_ALKNET_PROTOCOL");
    assert!(error.to_string().contains("1000"), "{error}");
}

#[tokio::test]
async fn a_refused_upgrade_tells_the_answer() {
    let (client, _) = open("/nowhere").await;
    let error = client.err().expect("a refusal");
    assert_eq!(error.code().as_str(), "ERR_ALKNET_PROTOCOL");
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn as_a_stream_it_carries_bytes_and_its_end() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let site = Arc::new(Site::default().socket("/alknet", SocketRules::new("ssh")));
    let wanted = Upgrade {
        secure: true,
        authority: "hub.example".into(),
        path: "/alknet".into(),
        authorization: Some("Bearer x".into()),
        limits: SocketLimits::default(),
    };
    let (client, served) =
        tokio::join!(upgrade(Box::new(far), &wanted), serve(Box::new(near), &site));
    let Ok(Served::Upgraded(upgraded)) = served else { panic!("no WebSocket") };
    assert_eq!(upgraded.head.headers["authorization"], "Bearer x");
    let (mut near, mut far) = (SocketIo::new(client.unwrap()), SocketIo::new(upgraded.socket));
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
