//! How a server ends that has streams of a bus, which nobody ends by himself.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::time::Duration;

use alknet::{BusOptions, ServeOptions, Session, Stream, Target};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{Host, MIB, ended, watched};

/// Longer than any test may take: a drain that needs its limit is noticed.
const LIMIT: Duration = Duration::from_secs(3600);

async fn member(session: &Session) -> Stream {
    session.open(&Target::control(), LIMIT).await.expect("a stream")
}

async fn say(to: &mut Stream, kind: &str, payload: Value) {
    let text = json!({ "type": kind, "id": "", "payload": payload }).to_string();
    to.write_u32(u32::try_from(text.len()).expect("a short text")).await.expect("a write");
    to.write_all(text.as_bytes()).await.expect("a write");
}

async fn hear(from: &mut Stream) -> Value {
    let mut text = vec![0; from.read_u32().await.expect("a frame") as usize];
    from.read_exact(&mut text).await.expect("a frame");
    serde_json::from_slice(&text).expect("an envelope")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_is_drained_once_its_subscribers_have_what_was_published() {
    watched(async {
        let bus = Some(BusOptions::default());
        let host = Host::with(ServeOptions { bus, ..ServeOptions::default() }).await;
        let session = host.session(4 * MIB as u32).await;
        let mut subscribers = Vec::new();
        for _ in 0..3 {
            let mut stream = member(&session).await;
            say(&mut stream, "__subscribe", json!({ "topic": "news" })).await;
            assert_eq!(hear(&mut stream).await["type"], "__subscribed");
            subscribers.push(stream);
        }
        let mut publisher = member(&session).await;
        for number in 0..100 {
            say(&mut publisher, "news", json!(number)).await;
        }
        // The last of them has come to the server.
        say(&mut publisher, "__subscribe", json!({ "topic": "other" })).await;
        assert_eq!(hear(&mut publisher).await["type"], "__subscribed");
        let draining = host.server.drain(LIMIT);
        let hearing = async move {
            for mut stream in subscribers {
                for number in 0..100 {
                    assert_eq!(hear(&mut stream).await["payload"], number);
                }
                ended(&mut stream).await;
            }
            ended(&mut publisher).await;
        };
        tokio::join!(draining, hearing);
    })
    .await;
}
