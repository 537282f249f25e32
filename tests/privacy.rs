//! What may not be in a log, at any level: keys, payload, destinations. Everything that this crate and russh say is kept and searched.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

use std::sync::Mutex;
use std::time::Duration;

use alknet::{ConnectOptions, HostPort, KeySource, ServeOptions, Target};
use log::{LevelFilter, Log, Metadata, Record};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sent both ways.
const PAYLOAD: &str = "the-payload-of-this-test-0123456789";

/// A destination that the server refuses.
const DESTINATION: &str = "destination-of-this-test.example";

/// Keeps every record, whatever its level. `tracing` passes its events on to `log` here.
struct Everything(Mutex<String>);

impl Log for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap().push_str(&line);
    }

    fn flush(&self) {}
}

static LOG: Everything = Everything(Mutex::new(String::new()));

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).expect("a key")
}

fn source(key: &PrivateKey) -> KeySource {
    KeySource::memory(key.to_openssh(LineEnding::LF).expect("a key as text").as_bytes())
}

fn seed(key: &PrivateKey) -> [u8; 32] {
    let KeypairData::Ed25519(pair) = key.key_data() else { panic!("not an Ed25519 key") };
    pair.private.to_bytes()
}

/// The ways in which bytes get into a log: as they are, in hexadecimal with and without blanks, and as lists of numbers.
fn forms(bytes: &[u8]) -> Vec<String> {
    let joined = |separator: &str, form: fn(&u8) -> String| {
        bytes.iter().map(form).collect::<Vec<_>>().join(separator)
    };
    vec![
        String::from_utf8_lossy(bytes).into_owned(),
        joined("", |b| format!("{b:02x}")),
        joined(" ", |b| format!("{b:02x}")),
        joined(", ", |b| format!("{b:02x}")),
        joined(", ", |b| b.to_string()),
        joined(", ", |b| format!("0x{b:02x}")),
    ]
}

/// Logs in with `key`, sends the payload both ways and asks for the destination.
async fn use_everything(connection: &str, key: &PrivateKey, server: &alknet::Server) {
    let options = ConnectOptions { identity: Some(source(key)), ..<_>::default() }
        .connection_string(connection)
        .expect("a connection string");
    let session = alknet::open_session(&options).await.expect("a session");
    let limit = Duration::from_secs(60);
    let control = Target::control();
    let (ours, theirs) = tokio::join!(session.open(&control, limit), server.accept());
    let (mut ours, mut theirs) = (ours.expect("a stream"), theirs.expect("its other end"));
    for (from, to) in [(&mut ours, &mut theirs)] {
        from.write_all(PAYLOAD.as_bytes()).await.unwrap();
        let mut got = vec![0; PAYLOAD.len()];
        to.read_exact(&mut got).await.unwrap();
        to.write_all(&got).await.unwrap();
        from.read_exact(&mut got).await.unwrap();
    }
    let target = HostPort::parse(&format!("{DESTINATION}:4242"), None).expect("a target");
    let refused = session.open(&Target::Tcp(target), limit).await.expect_err("a refusal");
    drop(refused);
    session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_payload_or_destination_is_logged_at_any_level() {
    log::set_logger(&LOG).expect("the first logger");
    log::set_max_level(LevelFilter::Trace);
    let (host, known, stranger) = (new_key(), new_key(), new_key());
    let line = known.public_key().to_openssh().expect("a public key as text");
    let options = ServeOptions {
        listen: vec!["127.0.0.1:0".into()],
        host_key: Some(source(&host)),
        authorized_keys: Some(KeySource::memory(line)),
        ..ServeOptions::default()
    };
    let server = alknet::serve(&options).await.expect("a server");
    let connection = server.connection_string();
    use_everything(&connection, &known, &server).await;
    let options = ConnectOptions { identity: Some(source(&stranger)), ..<_>::default() }
        .connection_string(&connection)
        .expect("a connection string");
    alknet::open_session(&options).await.expect_err("a refused log-in");
    server.close().await;

    let said = LOG.0.lock().unwrap().clone();
    for expected in ["auth attempt", "russh"] {
        assert!(said.contains(expected), "{expected:?} is not in the log: it was not kept");
    }
    let mut secrets =
        vec![("payload", PAYLOAD.as_bytes().to_vec()), ("destination", DESTINATION.into())];
    for (whose, key) in [("host", &host), ("client", &known), ("stranger", &stranger)] {
        secrets.push((whose, seed(key).to_vec()));
    }
    for (what, bytes) in secrets {
        for form in forms(&bytes) {
            let line = said.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "{what} is in the log: {line:?}");
        }
    }
}
