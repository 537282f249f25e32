//! Endpoints of iroh that know nothing of alknet and pass bytes on.

use std::net::SocketAddr;

use iroh::endpoint::{Connection, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use tokio::io::{copy_bidirectional, join};
use tokio::net::{TcpListener, TcpStream};

/// What docs/iroh.md promises.
const ALPN: &[u8] = b"alknet-ssh";

/// An endpoint on loopback, with nobody to ask.
pub(crate) async fn endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .unwrap()
}

/// Has both ends hear each other until each has ended.
pub(crate) async fn pass(mut socket: TcpStream, connection: Connection, opens: bool) {
    let (send, recv) = match opens {
        true => connection.open_bi().await.unwrap(),
        false => connection.accept_bi().await.unwrap(),
    };
    let _ = copy_bidirectional(&mut socket, &mut join(recv, send)).await;
}

/// Where TCP connections are led to the peer `id` at `at`, a QUIC connection for each.
pub(crate) async fn lead_to(endpoint: &Endpoint, id: &str, at: SocketAddr) -> SocketAddr {
    let peer = EndpointAddr::new(id.parse().unwrap()).with_ip_addr(at);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let endpoint = endpoint.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (endpoint, peer) = (endpoint.clone(), peer.clone());
            tokio::spawn(async move {
                let connection = endpoint.connect(peer, ALPN).await.unwrap();
                pass(socket, connection, true).await;
            });
        }
    });
    here
}
