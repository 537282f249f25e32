//! A server that calls itself an alknet, and answers on spare channels what a test wants.
#![allow(clippy::disallowed_methods, reason = "a foreign server has its own listener and tasks")]

use std::borrow::Cow;
use std::sync::Arc;

use alknet::ConnectOptions;
use russh::keys::{HashAlg, PrivateKey};
use russh::{ChannelId, ChannelOpenFailure, SshId, server};
use tokio::sync::watch;

use super::{identity, new_key};

/// What happens to a spare channel.
#[derive(Clone)]
pub(crate) enum Answers {
    /// It is not opened: nobody knows the name.
    Unknown,
    /// The header is answered with these bytes.
    Say(Vec<u8>),
    /// The header is not answered.
    Nothing,
}

/// See the module. On all other channels it says what it hears.
pub(crate) struct Fake {
    at: String,
    key: PrivateKey,
    seen: watch::Sender<Seen>,
}

#[derive(Clone, Default)]
struct Seen {
    opens: Vec<String>,
    named: bool,
}

impl Fake {
    pub(crate) async fn start(answers: Answers) -> Self {
        Self::of("SSH-2.0-alknet_0", answers).await
    }

    pub(crate) async fn of(ident: &'static str, answers: Answers) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let at = listener.local_addr().expect("an address").to_string();
        let key = new_key();
        let config = server::Config {
            server_id: SshId::Standard(Cow::Borrowed(ident)),
            keys: vec![key.clone()],
            ..<_>::default()
        };
        let seen = watch::Sender::default();
        let handler = Handler { answers, spares: Vec::new(), seen: seen.clone() };
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a connection");
            let session = server::run_stream(Arc::new(config), socket, handler).await;
            let _ = session.expect("a session").await;
        });
        Self { at, key, seen }
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            server: self.at.clone(),
            host_keys: vec![self.key.public_key().fingerprint(HashAlg::Sha256).to_string()],
            identity: Some(identity(&new_key())),
            ..ConnectOptions::default()
        }
    }

    /// Waits until so many channels to this host were asked for.
    pub(crate) async fn opened(&self, host: &str, count: usize) {
        let enough = |seen: &Seen| of(seen, host) >= count;
        self.seen.subscribe().wait_for(enough).await.expect("a server");
    }

    /// How many channels to this host were asked for.
    pub(crate) fn count(&self, host: &str) -> usize {
        of(&self.seen.borrow(), host)
    }

    /// Waits until something has come on a spare channel.
    pub(crate) async fn named(&self) {
        self.seen.subscribe().wait_for(|seen| seen.named).await.expect("a server");
    }
}

fn of(seen: &Seen, host: &str) -> usize {
    seen.opens.iter().filter(|open| *open == host).count()
}

struct Handler {
    answers: Answers,
    spares: Vec<ChannelId>,
    seen: watch::Sender<Seen>,
}

impl server::Handler for Handler {
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
        channel: russh::Channel<server::Msg>,
        host: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), russh::Error> {
        match (&self.answers, host) {
            (Answers::Unknown, "alknet-spare") => {
                let reason = "no such name here".to_owned();
                reply.reject(ChannelOpenFailure::Other { code: 1, reason }).await;
            }
            (_, host) => {
                if host == "alknet-spare" {
                    self.spares.push(channel.id());
                }
                reply.accept().await;
            }
        }
        self.seen.send_modify(|seen| seen.opens.push(host.to_owned()));
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        if !self.spares.contains(&id) {
            return session.data(id, data.to_vec());
        }
        self.seen.send_modify(|seen| seen.named = true);
        match &self.answers {
            Answers::Say(bytes) => session.data(id, bytes.clone()),
            _ => Ok(()),
        }
    }
}
