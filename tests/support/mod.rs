//! A server and a client on loopback, bytes that can be checked, and foreign peers.

pub(crate) mod spares;
#[cfg(unix)]
pub(crate) mod sshd;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use alknet::{ConnectOptions, KeySource, ServeOptions, Server, Session, Stream, Target};
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelStream, SshId, client, server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

pub(crate) const MIB: usize = 1024 * 1024;

/// The least window, and what may be sent without a credit.
pub(crate) const SMALLEST: u32 = 256 * 1024;

/// Length of the pattern: a prime, so that no packet or window size is a multiple of it.
const PATTERN: usize = 65_521;

/// Ends a test that hangs. No test depends on how long anything takes.
pub(crate) async fn watched<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("the test hangs")
}

/// Waits for what the library tells nobody, such as how full a buffer is.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

pub(crate) fn identity(key: &PrivateKey) -> KeySource {
    KeySource::memory(key.to_openssh(LineEnding::LF).expect("a key as text").as_bytes())
}

/// A server that lets one key in.
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) key: PrivateKey,
}

impl Host {
    /// Serves on a free port of the loopback address.
    pub(crate) async fn new(window: u32) -> Self {
        Self::with(ServeOptions { window, ..ServeOptions::default() }).await
    }

    /// The same with other options.
    pub(crate) async fn with(options: ServeOptions) -> Self {
        Self::with_rules("", options).await
    }

    /// The same for a key with options in its line.
    pub(crate) async fn with_rules(rules: &str, options: ServeOptions) -> Self {
        let key = new_key();
        let public = key.public_key().to_openssh().expect("a public key as text");
        let line = format!("{rules} {public}");
        let options = ServeOptions {
            listen: vec!["127.0.0.1:0".into()],
            authorized_keys: Some(KeySource::memory(line.trim())),
            ..options
        };
        Self { server: alknet::serve(&options).await.expect("a server"), key }
    }

    pub(crate) async fn accept(&self) -> Stream {
        self.server.accept().await.expect("a stream")
    }

    /// Logs in as a client of ours.
    pub(crate) async fn session(&self, window: u32) -> Session {
        let options = ConnectOptions { window, ..self.options() };
        alknet::open_session(&options).await.expect("a session")
    }

    /// What a client of ours needs to log in.
    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions { identity: Some(identity(&self.key)), ..<_>::default() }
            .connection_string(&self.server.connection_string())
            .expect("a connection string")
    }

    /// Opens a stream and accepts it: both its ends.
    pub(crate) async fn pair(&self, session: &Session) -> (Stream, Stream) {
        let target = Target::control();
        let opened = session.open(&target, Duration::from_secs(60));
        let (ours, theirs) = tokio::join!(opened, self.accept());
        (ours.expect("an open stream"), theirs)
    }

    /// Logs in with a client that knows nothing of credits, whatever its identification says.
    pub(crate) async fn foreigner(&self, ident: Option<&'static str>) -> client::Handle<Trusting> {
        self.log_in(ident, Trusting).await
    }

    /// Logs in with russh's client and this handler.
    pub(crate) async fn log_in<H>(
        &self,
        ident: Option<&'static str>,
        handler: H,
    ) -> client::Handle<H>
    where
        H: client::Handler<Error = russh::Error> + Send + 'static,
    {
        let mut config = client::Config::default();
        if let Some(ident) = ident {
            config.client_id = SshId::Standard(Cow::Borrowed(ident));
        }
        let at = self.server.addresses()[0];
        let mut handle = client::connect(Arc::new(config), at, handler).await.expect("a session");
        let key = PrivateKeyWithHashAlg::new(Arc::new(self.key.clone()), None);
        let login = handle.authenticate_publickey("foreigner", key).await.expect("an answer");
        assert!(login.success());
        handle
    }

    /// The same as [`Host::pair`], for a foreign client.
    pub(crate) async fn foreign_pair(
        &self,
        handle: &client::Handle<Trusting>,
    ) -> (ChannelStream<client::Msg>, Stream) {
        let opened = handle.channel_open_direct_tcpip(alknet::CONTROL, 0, "127.0.0.1", 0);
        let (ours, theirs) = tokio::join!(opened, self.accept());
        (ours.expect("an open channel").into_stream(), theirs)
    }
}

/// A foreign client's handler, which takes any host key.
pub(crate) struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

fn pattern(tag: u8) -> Vec<u8> {
    (0..PATTERN).map(|i| (i * 7 + i / 256) as u8 ^ tag).collect()
}

/// Writes `total` bytes of the pattern called `tag`.
pub(crate) async fn send(to: &mut (impl AsyncWrite + Unpin), tag: u8, total: usize) {
    let pattern = pattern(tag);
    let mut sent = 0;
    while sent < total {
        let n = PATTERN.min(total - sent);
        to.write_all(&pattern[..n]).await.expect("a write");
        sent += n;
    }
}

/// Reads `total` bytes of the pattern called `tag`, and compares.
pub(crate) async fn receive(from: &mut (impl AsyncRead + Unpin), tag: u8, total: usize) {
    let pattern = pattern(tag);
    let mut chunk = vec![0; PATTERN];
    let mut received = 0;
    while received < total {
        let n = PATTERN.min(total - received);
        from.read_exact(&mut chunk[..n]).await.expect("a read");
        assert!(chunk[..n] == pattern[..n], "other bytes than those sent, after {received}");
        received += n;
    }
}

/// The next read finds the end.
pub(crate) async fn ended(from: &mut (impl AsyncRead + Unpin)) {
    assert_eq!(from.read(&mut [0; 16]).await.expect("the end"), 0);
}

/// `total` bytes there and back, each way while the other runs.
pub(crate) async fn echo<A, B>(near: &mut A, far: &mut B, total: usize)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut near_in, mut near_out) = tokio::io::split(near);
    let (mut far_in, mut far_out) = tokio::io::split(far);
    tokio::join!(
        send(&mut near_out, 1, total),
        receive(&mut far_in, 1, total),
        send(&mut far_out, 2, total),
        receive(&mut near_in, 2, total),
    );
}

/// A foreign server that lets anybody in and never answers a request for a channel.
pub(crate) struct Silent {
    listener: tokio::net::TcpListener,
    key: PrivateKey,
    /// Told when a channel is asked for.
    pub(crate) asked: Arc<Notify>,
}

impl Silent {
    pub(crate) async fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a foreign server has its own listener")]
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        Self { listener, key: new_key(), asked: Arc::default() }
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            server: self.listener.local_addr().expect("an address").to_string(),
            host_keys: vec![self.key.public_key().fingerprint(HashAlg::Sha256).to_string()],
            identity: Some(identity(&new_key())),
            ..ConnectOptions::default()
        }
    }

    /// Takes one connection; ready when it has ended.
    pub(crate) async fn serve_one(&self) {
        // How it ends is not the question here.
        let _ = self.take_one().await.await;
    }

    /// Takes one connection and begins to serve it.
    pub(crate) async fn take_one(&self) -> server::RunningSession<impl server::Handler> {
        let (socket, _) = self.listener.accept().await.expect("a connection");
        let config = server::Config { keys: vec![self.key.clone()], ..<_>::default() };
        let handler = Unanswering { asked: Arc::clone(&self.asked), kept: Vec::new() };
        server::run_stream(Arc::new(config), socket, handler).await.expect("a session")
    }
}

struct Unanswering {
    asked: Arc<Notify>,
    kept: Vec<server::ChannelOpenHandle>,
}

impl server::Handler for Unanswering {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, russh::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: russh::Channel<server::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        self.kept.push(reply);
        self.asked.notify_one();
        Ok(())
    }
}
