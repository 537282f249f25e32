//! What a server may not do to those who log in to it.
#![allow(clippy::expect_used, clippy::panic, reason = "this is a test")]

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use alknet::Target;

use support::{Silent, watched};

#[tokio::test]
async fn a_server_cannot_open_channels_to_its_client() {
    watched(async {
        let server = Silent::new().await;
        let options = server.options();
        let target = Target::control();
        let probing = async {
            let running = server.take_one().await;
            let handle = running.handle();
            let probe = async {
                // The client has logged in and waits for its own channel.
                server.asked.notified().await;
                vec![
                    ("session", handle.channel_open_session().await),
                    ("direct", handle.channel_open_direct_tcpip("h", 1, "o", 1).await),
                    ("path", handle.channel_open_direct_streamlocal("/p").await),
                    ("forwarded", handle.channel_open_forwarded_tcpip("h", 1, "o", 1).await),
                    ("forwarded path", handle.channel_open_forwarded_streamlocal("/p").await),
                    ("agent", handle.channel_open_agent().await),
                    ("x11", handle.channel_open_x11("o", 1).await),
                ]
            };
            tokio::select! {
                answers = probe => answers,
                _ = running => panic!("the session has ended"),
            }
        };
        let answers = tokio::select! {
            answers = probing => answers,
            opened = alknet::connect(&options, &target) => panic!("nobody answers: {opened:?}"),
        };
        for (kind, answer) in answers {
            assert!(
                matches!(answer, Err(russh::Error::ChannelOpenFailure(_))),
                "{kind}: {answer:?}"
            );
        }
    })
    .await;
}
