//! `alknet bus`: the events of a server's bus as lines, both ways.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};

use super::peer::connect_options;
use super::ready::ready;
use crate::cli::Control;
use crate::cli::args::{Bus, BusCommand, Publish, Tail};
use crate::cli::exit::Exit;
use crate::cli::report::{Report, harmless};
use crate::client::{ChannelManager, Reconnect, connect};
use crate::error::{Code, Error, Phase, Result};
use crate::event::{DEFAULT_MAX_FRAME, Decoder, Envelope, encode};
use crate::ssh::Stream;
use crate::target::Target;

/// Limit for the server's answer to the opening of a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// Between the loss of a stream and the next one.
const PAUSE: Duration = Duration::from_secs(1);

/// Every topic.
const EVERYTHING: &str = "*";

pub(in crate::cli) async fn bus(options: &Bus, report: &Report, control: &Control) -> Result<Exit> {
    tokio::select! {
        done = async {
            match &options.what {
                BusCommand::Tail(tail) => tokio::select! {
                    done = follow(tail, report) => done,
                    unheard = report.unheard() => Ok(unheard),
                },
                BusCommand::Publish(publish) => send(publish).await,
            }
        } => done,
        () = control.draining() => Ok(Exit::OK),
    }
}

async fn follow(options: &Tail, report: &Report) -> Result<Exit> {
    let to = connect_options(&options.peer).await?;
    let reconnect = Reconnect { enabled: !options.once, ..Reconnect::default() };
    let manager = ChannelManager::new(&to, reconnect).await?;
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut ready_fd = options.ready_fd;
    loop {
        let why = match hear(&manager, options, &mut ready_fd, &mut left, report).await {
            Ok(()) if left == 0 => return Ok(Exit::OK),
            Ok(()) => Error::new(Code::SessionClosed, "the stream of events has ended"),
            Err(error) if error.code() == Code::Reconnecting => continue,
            Err(error) if error.phase() == Some(Phase::Channel) => return Err(error),
            Err(error) => error,
        };
        if options.once {
            return Err(why);
        }
        report.talk(&format!("events were lost: {why}; subscribing again"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prints events until the stream ends, or enough have come.
async fn hear(
    manager: &ChannelManager,
    options: &Tail,
    ready_fd: &mut Option<i32>,
    left: &mut u64,
    report: &Report,
) -> Result<()> {
    let mut stream = manager.open(&Target::control(), OPEN_LIMIT).await?;
    let topics = match options.topics.is_empty() {
        true => vec![EVERYTHING.to_owned()],
        false => options.topics.clone(),
    };
    say(&mut stream, "__subscribe", "", json!({ "topics": topics })).await?;
    let mut decoder = Decoder::new(crate::event::LARGEST_MAX_FRAME);
    while let Some(body) = next(&mut stream, &mut decoder).await? {
        let envelope = Envelope::read(&body)?;
        match envelope.kind.as_str() {
            "__subscribed" => ready(ready_fd.take())?,
            "__refused" => return Err(refused(&envelope.payload)),
            "__closed" => {
                let message = "the server closed the stream: events were not taken fast enough";
                return Err(Error::new(Code::SlowConsumer, message).at(Phase::Stream));
            }
            _ if envelope.is_reserved() => {}
            _ => {
                print(&envelope, &body, report);
                *left -= 1;
                if *left == 0 {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn print(envelope: &Envelope, body: &[u8], report: &Report) {
    // The frame as it is: it may have more than an envelope.
    let whole = serde_json::from_slice(body).unwrap_or(Value::Null);
    // One line each, whatever a topic is called.
    let line = format!("{} {}", envelope.topic(), envelope.payload).replace('\n', "\\n");
    report.result(&whole, &harmless(&line));
}

async fn send(options: &Publish) -> Result<Exit> {
    let topic = options.topic.as_deref().ok_or_else(|| {
        Error::config("no topic was given").hint("alknet bus publish user@host TOPIC PAYLOAD")
    })?;
    let to = connect_options(&options.peer).await?;
    let mut stream = connect(&to, &Target::control()).await?;
    match &options.payload {
        Some(text) => say(&mut stream, topic, &options.id, payload(text)?).await?,
        None => {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            let failed = |e| Error::system("read", "stdin", e);
            while let Some(line) = lines.next_line().await.map_err(failed)? {
                if !line.trim().is_empty() {
                    say(&mut stream, topic, &options.id, payload(&line)?).await?;
                }
            }
        }
    }
    stream.shutdown().await.map_err(lost)?;
    // The bus ends its side when it has taken all.
    let mut decoder = Decoder::new(crate::event::LARGEST_MAX_FRAME);
    while let Some(body) = next(&mut stream, &mut decoder).await? {
        let envelope = Envelope::read(&body)?;
        if envelope.kind == "__refused" {
            return Err(refused(&envelope.payload));
        }
    }
    Ok(Exit::OK)
}

fn payload(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::config(format!("the payload is no JSON: {error}"))
            .hint("a text needs its own quotes: '\"hello\"'")
    })
}

fn refused(payload: &Value) -> Error {
    let text = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let message =
        format!("the bus refuses to {} {}: {}", text("action"), text("topic"), text("reason"));
    Error::new(Code::System("EACCES"), message).at(Phase::Channel)
}

async fn say(stream: &mut Stream, kind: &str, id: &str, payload: Value) -> Result<()> {
    let envelope = Envelope { kind: kind.into(), id: id.into(), payload };
    let mut frame = BytesMut::new();
    encode(envelope.write()?.as_bytes(), DEFAULT_MAX_FRAME, &mut frame)?;
    stream.write_all(&frame).await.map_err(lost)
}

async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    decoder: &mut Decoder,
) -> Result<Option<bytes::Bytes>> {
    loop {
        if let Some(body) = decoder.next_frame()? {
            return Ok(Some(body));
        }
        let mut chunk = BytesMut::with_capacity(16 * 1024);
        if stream.read_buf(&mut chunk).await.map_err(lost)? == 0 {
            return Ok(None);
        }
        decoder.push(&chunk);
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::system("read", "the stream of events", error).at(Phase::Stream)
}
