//! docs/wire.md against the wire: what the page gives as an example is what two ends say to each other.
#![allow(clippy::expect_used, clippy::panic, reason = "this is a test")]

#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::Path;
use std::sync::Arc;

use alknet::event::{DEFAULT_MAX_FRAME, Decoder, Envelope, encode};
use alknet::{ConnectOptions, ForwardPolicy, ServeOptions, Target};
use bytes::BytesMut;
use parking_lot::Mutex;
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use support::{Host, MIB, SMALLEST, watched};

/// What the page shows in blocks, line by line, of the section with this heading.
fn examples(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wire.md");
    let page = std::fs::read_to_string(page).expect("docs/wire.md");
    let (_, section) = page.split_once(&format!("# {heading}\n")).expect("the heading");
    let section = section.split("\n#").next().expect("a section");
    let blocks = section.split("```\n").skip(1).step_by(2);
    let lines: Vec<_> = blocks.flat_map(str::lines).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{heading} has no example");
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hexadecimal digits a line begins with.
fn digits(line: &str) -> String {
    let part = line.split("  ").next().expect("a part");
    part.chars().filter(|sign| !sign.is_whitespace()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a plain socket, to see the bytes")]
async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a listener")
}

#[expect(clippy::disallowed_methods, reason = "a plain socket, to see the bytes")]
async fn dial(host: &Host) -> TcpStream {
    TcpStream::connect(host.server.addresses()[0]).await.expect("a connection")
}

/// The first line that comes, as hexadecimal digits.
async fn first_line(from: impl AsyncRead + Unpin) -> String {
    let mut line = Vec::new();
    BufReader::new(from).read_until(b'\n', &mut line).await.expect("a line");
    hex(&line)
}

#[tokio::test]
async fn both_ends_identify_themselves_as_the_page_says() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let expected = digits(&examples("Identification")[0]);
        assert_eq!(first_line(dial(&host).await).await, expected);
        let listener = listener().await;
        let options = ConnectOptions {
            server: listener.local_addr().expect("an address").to_string(),
            ..host.options()
        };
        let target = Target::control();
        let heard = async {
            let (socket, _) = listener.accept().await.expect("a connection");
            first_line(socket).await
        };
        let (line, failed) = tokio::join!(heard, alknet::connect(&options, &target));
        assert_eq!(line, expected);
        assert!(failed.is_err(), "nobody answered");
    })
    .await;
}

#[tokio::test]
async fn a_spare_channel_is_named_and_answered_as_the_page_says() {
    watched(async {
        let forwarding = Some(ForwardPolicy::default());
        let host = Host::with(ServeOptions { forwarding, ..ServeOptions::default() }).await;
        let handle = host.foreigner(Some("SSH-2.0-alknet_0")).await;
        let opened = handle.channel_open_direct_tcpip("alknet-spare", 0, "127.0.0.1", 0);
        let mut spare = opened.await.expect("a spare channel").into_stream();
        let examples = examples("Spare channels");
        let (header, answer) = (digits(&examples[0]), digits(&examples[1]));
        let header: Vec<_> = (0..header.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&header[at..at + 2], 16).expect("a byte"))
            .collect();
        spare.write_all(&header).await.expect("a write");
        let mut said = Vec::new();
        spare.read_to_end(&mut said).await.expect("an answer");
        assert_eq!(hex(&said), answer);
    })
    .await;
}

/// Type code and data.
type Extended = (u32, Vec<u8>);

/// A client that keeps what comes as extended data.
#[derive(Clone, Default)]
struct Listening {
    heard: Arc<Mutex<Vec<Extended>>>,
    told: Arc<Notify>,
}

impl client::Handler for Listening {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn extended_data(
        &mut self,
        _: russh::ChannelId,
        code: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.heard.lock().push((code, data.to_vec()));
        self.told.notify_one();
        Ok(())
    }
}

#[tokio::test]
async fn a_credit_is_what_the_page_says() {
    watched(async {
        let host = Host::new(2 * MIB as u32).await;
        let listening = Listening::default();
        let handle = host.log_in(Some("SSH-2.0-alknet_0"), listening.clone()).await;
        let opened = handle.channel_open_direct_tcpip(alknet::CONTROL, 0, "127.0.0.1", 0);
        let (channel, far) = tokio::join!(opened, host.accept());
        let channel = channel.expect("an open channel");
        // One byte short of where the first credit falls due, then the byte: nothing is consumed, so the limit is W.
        channel.data(&vec![0; 65_535][..]).await.expect("a write");
        support::until(|| far.buffered().0 == 65_535).await;
        assert_eq!(*listening.heard.lock(), []);
        channel.data(&[0][..]).await.expect("a write");
        listening.told.notified().await;
        let (code, data) = listening.heard.lock()[0].clone();
        let length = u32::try_from(data.len()).expect("a length");
        let message =
            [&[95][..], &0_u32.to_be_bytes(), &code.to_be_bytes(), &length.to_be_bytes(), &data];
        assert_eq!(hex(&message.concat()), digits(&examples("Credits")[0]));
    })
    .await;
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    if kept.len() < 4096 {
        kept.extend_from_slice(bytes);
    }
}

/// Passes bytes on and keeps the first of them.
async fn overhear(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    kept: &Mutex<Vec<u8>>,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        keep(&mut kept.lock(), &chunk[..n]);
        if to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}

/// The cookie of the KEXINIT (RFC 4253 §7.1) behind the identification line.
fn cookie(said: &[u8]) -> Vec<u8> {
    let line = said.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    assert_eq!(said[line + 5], 20, "SSH_MSG_KEXINIT");
    said[line + 6..line + 22].to_vec()
}

fn exclusive_or(one: &[u8], other: &[u8]) -> String {
    hex(&one.iter().zip(other).map(|(a, b)| a ^ b).collect::<Vec<_>>())
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

#[tokio::test]
async fn a_session_is_named_as_the_page_says() {
    watched(async {
        let lines = examples("Sessions");
        assert_eq!(exclusive_or(&unhex(&lines[0]), &unhex(&lines[1])), lines[2]);

        let host = Host::new(SMALLEST).await;
        let relay = listener().await;
        let options = ConnectOptions {
            server: relay.local_addr().expect("an address").to_string(),
            ..host.options()
        };
        let (up, down) = (Mutex::default(), Mutex::default());
        let relayed = async {
            let (mut near, _) = relay.accept().await.expect("a connection");
            let mut far = dial(&host).await;
            let (near_in, near_out) = near.split();
            let (far_in, far_out) = far.split();
            tokio::join!(overhear(near_in, far_out, &up), overhear(far_in, near_out, &down));
        };
        let target = Target::control();
        let both = async { tokio::join!(alknet::connect(&options, &target), host.accept()) };
        let (ours, theirs) = tokio::select! {
            both = both => both,
            () = relayed => panic!("the relay has ended"),
        };
        let name = exclusive_or(&cookie(&up.lock()), &cookie(&down.lock()));
        assert_eq!(ours.expect("a stream").info().session_id, name);
        assert_eq!(theirs.info().session_id, name);
    })
    .await;
}

#[tokio::test]
async fn a_connection_string_is_what_the_page_says() {
    watched(async {
        let line = &examples("Connection strings")[0];
        let options = ConnectOptions::default().connection_string(line).expect("it parses");
        assert_eq!(options.server, "127.0.0.1:2222");
        let [key] = &options.host_keys[..] else { panic!("one key: {:?}", options.host_keys) };
        assert_eq!(format!("alknet://{}?host-key={key}", options.server), *line);

        let host = Host::new(SMALLEST).await;
        let at = host.server.addresses()[0];
        let key = host.server.host_key_fingerprint().replace('+', "-").replace('/', "_");
        assert_eq!(host.server.connection_string(), format!("alknet://{at}?host-key={key}"));
    })
    .await;
}

#[test]
fn frames_and_envelopes_are_what_the_page_says() {
    for (heading, line) in
        ["Frame", "Envelope"].map(|heading| (heading, examples(heading)[0].clone()))
    {
        let (length, body) = line.split_once(' ').expect("a length and a body");
        let body = if heading == "Frame" { unhex(body) } else { body.as_bytes().to_vec() };
        let wire = [unhex(length), body.clone()].concat();
        let mut decoder = Decoder::new(DEFAULT_MAX_FRAME);
        decoder.push(&wire);
        let frame = decoder.next_frame().expect("a good frame").expect("a whole frame");
        assert_eq!(frame, body, "{heading}");
        decoder.finish().expect("nothing left");
        let mut encoded = BytesMut::new();
        encode(&body, DEFAULT_MAX_FRAME, &mut encoded).expect("a good body");
        assert_eq!(encoded, wire, "{heading}");
        if heading == "Envelope" {
            let envelope = Envelope::read(&body).expect("an envelope");
            assert_eq!(envelope.write().expect("JSON").as_bytes(), body);
            assert_eq!(envelope.topic(), "question:7");
        }
    }
}
