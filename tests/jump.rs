//! Servers on the way to another: each checked by its own key, all gone with the session that they are for.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a test has sockets of its own")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use alknet::{
    ChannelManager, ConnectOptions, Error, ForwardPolicy, Jump, Phase, Reconnect, Refusal,
    ServeOptions, Target,
};
use tokio::net::{TcpListener, TcpStream};

use support::sshd::Sshd;
use support::{Host, MIB, echo, until, watched};

/// A server that leads its clients on.
async fn gate() -> Host {
    let forwarding = Some(ForwardPolicy::default());
    Host::with(ServeOptions { forwarding, ..ServeOptions::default() }).await
}

/// Who logs in where `options` do, as a hop.
fn hop(options: &ConnectOptions) -> Jump {
    Jump {
        server: options.server.clone(),
        user: Some(options.user.clone()),
        identity: options.identity.clone(),
        host_keys: options.host_keys.clone(),
        ..Jump::default()
    }
}

fn through(jump: Vec<Jump>, options: ConnectOptions) -> ConnectOptions {
    ConnectOptions { jump, ..options }
}

/// Opens a stream to `host` and has bytes go both ways.
async fn carries(options: &ConnectOptions, host: &Host) {
    let target = Target::control();
    let (near, mut far) = tokio::join!(alknet::connect(options, &target), host.accept());
    echo(&mut near.expect("a stream"), &mut far, 2 * MIB).await;
}

async fn failure(options: &ConnectOptions) -> Error {
    alknet::open_session(options).await.expect_err("a failure")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_through_servers_of_either_kind_in_their_order() {
    watched(async {
        let (first, second, last) = (gate().await, gate().await, Host::new(4 * MIB as u32).await);
        carries(&through(vec![hop(&first.options())], last.options()), &last).await;
        let both = vec![hop(&first.options()), hop(&second.options())];
        carries(&through(both, last.options()), &last).await;
        let Some(sshd) = Sshd::start(&[]) else { return };
        carries(&through(vec![hop(&sshd.options())], last.options()), &last).await;
        let mixed = vec![hop(&sshd.options()), hop(&first.options())];
        carries(&through(mixed, last.options()), &last).await;
        // And to one of the others.
        let to_sshd = through(vec![hop(&first.options())], sshd.options());
        let session = alknet::open_session(&to_sshd).await.expect("a session");
        assert!(session.info().peer.starts_with("SSH-2.0-OpenSSH"), "{:?}", session.info());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_on_the_way_is_checked_by_its_own_key() {
    watched(async {
        let (first, second, last) = (gate().await, gate().await, Host::new(MIB as u32).await);
        for wrong in [0, 1] {
            let mut jumps = vec![hop(&first.options()), hop(&second.options())];
            // That of the target is not theirs.
            jumps[wrong].host_keys = last.options().host_keys;
            let named = jumps[wrong].server.clone();
            let error = failure(&through(jumps, last.options())).await;
            assert_eq!(error.code().as_str(), "ERR_ALKNET_HOST_KEY_CHANGED", "{error}");
            assert_eq!((error.hop(), error.phase()), (Some(named.as_str()), Some(Phase::HostKey)));
            assert!(error.to_string().starts_with(&format!("jump {named}: ")), "{error}");
        }
        let unknown =
            Jump { host_keys: Vec::new(), known_hosts: Some(Vec::new()), ..hop(&first.options()) };
        let error = failure(&through(vec![unknown], last.options())).await;
        assert_eq!(error.code().as_str(), "ERR_ALKNET_HOST_KEY_UNKNOWN", "{error}");
        let options = ConnectOptions { host_keys: first.options().host_keys, ..last.options() };
        let error = failure(&through(vec![hop(&first.options())], options)).await;
        assert_eq!(error.code().as_str(), "ERR_ALKNET_HOST_KEY_CHANGED", "{error}");
        assert_eq!(error.hop(), None, "it was the target");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_names_the_server_on_the_way_that_it_was_at() {
    watched(async {
        let (open, last) = (gate().await, Host::new(MIB as u32).await);
        let closed = Host::new(MIB as u32).await;
        let name = |host: &Host| host.server.addresses()[0].to_string();
        let error = failure(&through(vec![hop(&closed.options())], last.options())).await;
        assert_eq!(error.code().as_str(), "ERR_ALKNET_CHANNEL_REJECTED", "{error}");
        assert_eq!(error.refusal(), Some(Refusal::Prohibited));
        assert_eq!(error.hop(), Some(name(&closed).as_str()));
        assert_eq!(error.phase(), Some(Phase::Tcp), "the server could not be dialled");

        let stranger = Jump { identity: last.options().identity, ..hop(&open.options()) };
        let error = failure(&through(vec![stranger], last.options())).await;
        assert_eq!(error.code().as_str(), "ERR_ALKNET_AUTH_REJECTED", "{error}");
        assert_eq!(error.hop(), Some(name(&open).as_str()));

        let nobody = ConnectOptions { server: free_address().await, ..last.options() };
        let error = failure(&through(vec![hop(&open.options())], nobody.clone())).await;
        assert_eq!(error.code().as_str(), "ECONNREFUSED", "{error}");
        assert_eq!(error.hop(), Some(name(&open).as_str()));
        let first = through(vec![hop(&nobody), hop(&open.options())], last.options());
        let error = failure(&first).await;
        assert_eq!(error.code().as_str(), "ECONNREFUSED", "{error}");
        assert_eq!(error.hop(), Some(nobody.server.as_str()));

        let (_silent, at) = listener().await;
        let silent = ConnectOptions { server: at.to_string(), ..last.options() };
        let options = ConnectOptions { timeout: Duration::from_millis(400), ..last.options() };
        let error = failure(&through(vec![hop(&silent)], options)).await;
        assert_eq!(error.code().as_str(), "ERR_ALKNET_HANDSHAKE_TIMEOUT", "{error}");
        assert_eq!(error.hop(), Some(at.to_string().as_str()));
    })
    .await;
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

async fn free_address() -> String {
    listener().await.1.to_string()
}

/// Carries one connection to `server`, and is ready when that is over.
async fn carry(at: &TcpListener, server: &str) {
    let (mut near, _) = at.accept().await.expect("a connection");
    let mut far = TcpStream::connect(server).await.expect("a connection");
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_comes_back_through_its_servers_and_ends_with_them() {
    watched(async {
        let (gate, last) = (gate().await, Host::new(MIB as u32).await);
        let (at, address) = listener().await;
        let behind = gate.options().server;
        let jump = Jump { server: address.to_string(), ..hop(&gate.options()) };
        let options = through(vec![jump], last.options());
        let manager = async {
            let manager = ChannelManager::new(&options, Reconnect::default()).await;
            let manager = manager.expect("a session");
            assert_eq!(manager.session().expect("a session").info().remote, Some(address));
            // Whoever is on the way goes, and with it the session.
            (manager.metrics().sessions, manager)
        };
        let (sessions, manager) = tokio::select! {
            made = manager => made,
            () = carry(&at, &behind) => panic!("the way was lost"),
        };
        assert_eq!(sessions, 1);
        // The connection went with `carry`.
        let again = carry(&at, &behind);
        let closing = async {
            until(|| manager.metrics().sessions == 2).await;
            manager.close().await;
        };
        tokio::join!(again, closing);
    })
    .await;
}
