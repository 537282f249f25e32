//! What nobody who reads the logs may learn: keys, passphrases, what is sent and where to.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alknet::{ConnectOptions, KeySource, Passphrase, ServeOptions, Target};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const PASSPHRASE: &str = "Lachs-im-Kühlschrank";
const PAYLOAD: &str = "payload-nobody-else-reads";
const DESTINATION: &str = "destination-nobody-else-knows";

/// All that is told at any level, as one text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn add(&self, name: &str, value: &dyn Debug) {
        let mut text = self.0.lock().expect("no test panicked");
        writeln!(text, "{name}={value:?}").expect("memory");
    }

    fn text(&self) -> String {
        self.0.lock().expect("no test panicked").clone()
    }
}

impl Visit for &Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field.name(), value);
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut &*self);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut &*self);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is told through `log`, as russh does.
impl log::Log for Told {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.add(record.target(), record.args());
    }

    fn flush(&self) {}
}

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

/// A private key in every shape in which it could get out.
fn shapes(key: &PrivateKey) -> Vec<String> {
    let KeypairData::Ed25519(pair) = key.key_data() else { panic!("another type") };
    let seed = &pair.private.as_ref()[..8];
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = format!("{seed:?}").trim_matches(['[', ']']).to_owned();
    let text = key.to_openssh(LineEnding::LF).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('-')).skip(2);
    lines.map(str::to_owned).chain([hex.to_uppercase(), hex, listed]).collect()
}

fn locked(key: &PrivateKey) -> KeySource {
    let mut random = russh::keys::key::safe_rng();
    let key = key.encrypt(&mut random, PASSPHRASE).expect("an encrypted key");
    KeySource::memory(key.to_openssh(LineEnding::LF).expect("text").as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_logs_nor_debug_output_have_a_secret_in_them() {
    let told = Told::default();
    tracing::subscriber::set_global_default(told.clone()).expect("the only test here");
    log::set_logger(Box::leak(Box::new(told.clone()))).expect("the only test here");
    log::set_max_level(log::LevelFilter::Trace);
    let (host, client, stranger) = (new_key(), new_key(), new_key());

    let options = ServeOptions {
        listen: vec!["127.0.0.1:0".into()],
        host_key: Some(locked(&host)),
        host_key_passphrase: Some(Passphrase::new(PASSPHRASE)),
        // A key that is pasted into the wrong file.
        authorized_keys: Some(KeySource::memory(format!(
            "{}\n{}",
            client.public_key().to_openssh().expect("a line"),
            *stranger.to_openssh(LineEnding::LF).expect("text")
        ))),
        ..ServeOptions::default()
    };
    told.add("options", &options);
    let server = alknet::serve(&options).await.expect("a server");
    told.add("warnings", &server.warnings());

    let mut options = ConnectOptions {
        identity: Some(locked(&client)),
        passphrase: Some(Passphrase::new(PASSPHRASE)),
        ..ConnectOptions::default()
    }
    .connection_string(&server.connection_string())
    .expect("a connection string");
    told.add("options", &options);
    let session = alknet::open_session(&options).await.expect("a session");
    let limit = Duration::from_secs(60);
    let control = Target::control();
    let (opened, accepted) = tokio::join!(session.open(&control, limit), server.accept());
    let (mut near, mut far) = (opened.expect("a stream"), accepted.expect("a stream"));
    near.write_all(PAYLOAD.as_bytes()).await.expect("a write");
    let mut heard = vec![0; PAYLOAD.len()];
    far.read_exact(&mut heard).await.expect("a read");
    far.write_all(&heard).await.expect("a write");
    near.read_exact(&mut heard).await.expect("a read");
    let elsewhere = format!("{DESTINATION}.invalid:4711").parse().expect("a target");
    session.open(&elsewhere, limit).await.expect_err("a refusal");
    told.add("session", &session);
    session.close().await;

    options.passphrase = Some(Passphrase::new(format!("{PASSPHRASE} ")));
    told.add("wrong", &alknet::open_session(&options).await.expect_err("a failure"));
    options.identity = Some(locked(&stranger));
    options.passphrase = Some(Passphrase::new(PASSPHRASE));
    told.add("stranger", &alknet::open_session(&options).await.expect_err("a failure"));
    server.close().await;

    let text = told.text();
    for known in
        ["auth attempt", "result=accept", "result=reject", "the key is not authorised", "russh"]
    {
        assert!(text.contains(known), "{known} was not told, so nothing is shown:\n{text}");
    }
    let secrets = [PASSPHRASE, PAYLOAD, DESTINATION].map(str::to_owned);
    let keys = [&host, &client, &stranger].into_iter().flat_map(shapes);
    for secret in secrets.into_iter().chain(keys) {
        let line = text.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{secret}");
    }
}
