//! Sessions between peers that know each other by key: two endpoints on loopback, no relay, no internet.
#![cfg(feature = "iroh")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::time::Duration;

use alknet::{
    ConnectOptions, Keepalive, Limits, Penalties, ServeOptions, Server, Target, Transport, connect,
    open_session, serve,
};
use russh::keys::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{MIB, echo, identity, new_key, watched};

/// No keepalive, so that nothing but the transport can tell of an end.
const NEVER: Keepalive = Keepalive { interval: Duration::ZERO, count: 1 };

async fn server(key: &PrivateKey, options: ServeOptions) -> Server {
    let listen = match options.transport.len() {
        0 | 1 => vec!["127.0.0.1:0".into()],
        more => vec!["127.0.0.1:0".into(); more],
    };
    let transport = match options.transport.is_empty() {
        true => vec![Transport::Iroh],
        false => options.transport.clone(),
    };
    let authorized_keys = key.public_key().to_openssh().unwrap();
    let authorized_keys = Some(alknet::KeySource::memory(authorized_keys.as_bytes()));
    let options = ServeOptions { listen, transport, authorized_keys, keepalive: NEVER, ..options };
    serve(&options).await.unwrap()
}

fn options(server: &Server, key: &PrivateKey) -> ConnectOptions {
    let options = ConnectOptions {
        identity: Some(identity(key)),
        keepalive: NEVER,
        timeout: Duration::from_secs(10),
        ..ConnectOptions::default()
    };
    options.connection_string(&server.connection_string()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_both_ways_and_ends_one_way_at_a_time() {
    watched(async {
        let key = new_key();
        let server = server(&key, ServeOptions::default()).await;
        assert!(server.connection_string().contains(&server.endpoint_id().unwrap()));
        let mut near = connect(&options(&server, &key), &Target::control()).await.unwrap();
        let mut far = server.accept().await.unwrap();
        assert_eq!((near.info().transport, far.info().transport), ("iroh", "iroh"));
        echo(&mut near, &mut far, 8 * MIB).await;
        near.shutdown().await.unwrap();
        assert_eq!(far.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        far.write_all(b"later").await.unwrap();
        far.shutdown().await.unwrap();
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"later");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_noticed_by_the_other_side_without_any_keepalive() {
    watched(async {
        let key = new_key();
        let server = server(&key, ServeOptions::default()).await;
        let first = open_session(&options(&server, &key)).await.unwrap();
        let second = open_session(&options(&server, &key)).await.unwrap();
        let far = first.open(&Target::control(), Duration::from_secs(5)).await.unwrap();
        let mut near = server.accept().await.unwrap();
        drop((first, far));
        let _ = near.read_to_end(&mut Vec::new()).await;
        server.close().await;
        second.closed().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_is_that_of_the_key_file_which_is_made_once() {
    let folder = std::env::temp_dir().join(format!("alknet-iroh-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let iroh_key = Some(folder.join("endpoint"));
    let key = new_key();
    let with = || ServeOptions { iroh_key: iroh_key.clone(), ..ServeOptions::default() };
    let first = server(&key, with()).await;
    let authorized_keys = key.public_key().to_openssh().unwrap();
    let twice = ServeOptions {
        listen: vec!["127.0.0.1:0".into()],
        transport: vec![Transport::Iroh],
        authorized_keys: Some(alknet::KeySource::memory(authorized_keys.as_bytes())),
        ..with()
    };
    let refused = serve(&twice).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "EADDRINUSE", "{refused}");
    first.close().await;
    let first = first.endpoint_id();
    let second = server(&key, with()).await.endpoint_id();
    let fresh = server(&key, ServeOptions::default()).await.endpoint_id();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(first.is_some() && first == second && first != fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn penalties_are_those_of_the_endpoint_and_not_of_its_address() {
    watched(async {
        let key = new_key();
        let second = Duration::from_secs(1);
        let penalties =
            Penalties { auth_failed: second * 600, threshold: second, ..Penalties::default() };
        let limits = Limits { penalties: Some(penalties), ..Limits::default() };
        let transport = vec![Transport::Iroh, Transport::Tcp];
        let server =
            server(&key, ServeOptions { limits, transport, ..ServeOptions::default() }).await;
        let stranger = open_session(&options(&server, &new_key())).await.unwrap_err();
        assert_eq!(stranger.code().as_str(), "ERR_ALKNET_AUTH_REJECTED");
        let known = ConnectOptions { timeout: second * 2, ..options(&server, &key) };
        // This process dials from one endpoint, which is refused once the stranger's connection is gone: maybe after we have heard.
        while open_session(&known).await.is_ok() {}
        let tcp = ConnectOptions {
            server: server.addresses()[1].to_string(),
            transport: vec![Transport::Tcp],
            ..options(&server, &key)
        };
        open_session(&tcp).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_way_is_tried_when_the_peer_is_not_where_it_should_be() {
    watched(async {
        let key = new_key();
        let transport = vec![Transport::Iroh, Transport::Tcp];
        let server =
            server(&key, ServeOptions { transport: transport.clone(), ..ServeOptions::default() })
                .await;
        let peer = server.endpoint_id();
        let both = ConnectOptions {
            peer,
            server: server.addresses()[1].to_string(),
            transport,
            ..options(&server, &key)
        };
        // First, for an endpoint remembers where a peer was.
        let iroh_addresses = vec!["127.0.0.1:9".parse().unwrap()];
        let timeout = Duration::from_secs(4);
        let dead = ConnectOptions { iroh_addresses, timeout, ..both.clone() };
        assert_eq!(open_session(&dead).await.unwrap().info().transport, "tcp");
        assert_eq!(open_session(&both).await.unwrap().info().transport, "iroh");
    })
    .await;
}
