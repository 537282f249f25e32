//! OpenSSH over iroh, by endpoints that know nothing of alknet: the iroh crate as it is, and bytes passed on.
#![cfg(all(unix, feature = "iroh"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(
    clippy::disallowed_methods,
    reason = "foreign programs have sockets and tasks of their own"
)]

#[path = "programs/pipe.rs"]
mod pipe;
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::io::Write;
use std::net::SocketAddr;

use alknet::{ConnectOptions, ForwardPolicy, ServeOptions, Target, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::sshd::{Folder, Sshd, output_of, ssh};
use support::{Host, watched};

/// Where TCP connections are led to `host` by iroh.
async fn way_to(host: &Host) -> SocketAddr {
    let id = host.server.endpoint_id().unwrap();
    let at = host.server.addresses()[0];
    pipe::lead_to(&pipe::endpoint().await, &id, at).await
}

/// A service that answers a line with `heard ` and the line.
async fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut heard = Vec::new();
            socket.read_to_end(&mut heard).await.unwrap();
            socket.write_all(&[b"heard ", &heard[..]].concat()).await.unwrap();
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_logs_in_and_forwards_through_an_endpoint_of_others() {
    watched(async {
        let host = Host::with(ServeOptions {
            forwarding: Some(ForwardPolicy::default()),
            transport: vec![Transport::Iroh],
            ..ServeOptions::default()
        })
        .await;
        let (folder, target) = (Folder::new(), service().await.to_string());
        let Some(mut ssh) = ssh(&host, way_to(&host).await, &folder, &["-W", &target]) else {
            return;
        };
        let mut client = ssh.spawn().unwrap();
        client.stdin.take().unwrap().write_all(b"by iroh").unwrap();
        let said = output_of(client).await;
        let why = String::from_utf8_lossy(&said.stderr);
        assert_eq!(String::from_utf8_lossy(&said.stdout), "heard by iroh", "{why}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_ours_reaches_openssh_behind_an_endpoint_of_others() {
    watched(async {
        let Some(sshd) = Sshd::start(&[]) else { return };
        let options = sshd.options();
        let endpoint = pipe::endpoint().await;
        let (peer, at) = (endpoint.id().to_string(), endpoint.bound_sockets()[0]);
        let behind = options.server.clone();
        tokio::spawn(async move {
            while let Some(arrived) = endpoint.accept().await {
                let socket = TcpStream::connect(&behind).await.unwrap();
                tokio::spawn(pipe::pass(socket, arrived.await.unwrap(), false));
            }
        });
        let options = ConnectOptions {
            server: String::new(),
            peer: Some(peer),
            iroh_addresses: vec![at],
            transport: vec![Transport::Iroh],
            ..options
        };
        let target: Target = service().await.to_string().parse().unwrap();
        let mut stream = alknet::connect(&options, &target).await.unwrap();
        assert_eq!(stream.info().transport, "iroh");
        stream.write_all(b"by iroh").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "heard by iroh");
    })
    .await;
}
