//! One WebSocket carried by one task: what comes is taken, what is to go is sent, and an end that has gone silent is noticed. Written
//! once, for every link of the tunnel.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::frame::readable;
use crate::error::{Code, Error, Phase, Result};
use crate::http::{CloseFrame, Failure, Message, Socket};

/// How often the other end is asked for a sign of life. The originals answer, and ask every 20 s themselves.
const ASK: Duration = Duration::from_secs(15);

/// Silence after which the other end is gone: a dead one is noticed within 45 s.
const GONE: Duration = Duration::from_secs(40);

/// A last message that the other end does not take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is at our end of a socket.
pub(crate) trait End: Send + Sync {
    /// The next message to send. A close ends the socket once it is sent.
    fn next(&self) -> Option<Message>;

    /// Told when there may be something to send again.
    fn ready(&self) -> &Notify;

    /// Takes a message; nothing more is read before it has. An error ends the socket.
    fn take(&self, message: Message) -> impl Future<Output = Result<()>> + Send;

    /// The other end has closed, with a code and a reason.
    fn closed(&self, _frame: &CloseFrame) {}

    /// A second has passed; `asking` every 15 of them.
    fn tick(&self, asking: bool);
}

/// Carries messages until either end closes, goes silent or breaks the rules: why.
pub(crate) async fn carry(socket: Socket, end: &impl End) -> Error {
    let (mut sink, stream) = socket.split();
    let watch = Watch {
        heard: Mutex::new(Instant::now()),
        busy: AtomicBool::new(false),
        ask: AtomicBool::new(false),
    };
    let why = tokio::select! {
        why = read(stream, end, &watch) => why,
        why = write(&mut sink, end, &watch) => why,
        why = look(end, &watch) => why,
    };
    // What was said last, as why a session was refused, goes out still.
    let _ = tokio::time::timeout(FAREWELL, async {
        while let Some(message) = end.next() {
            sink.feed(message).await?;
        }
        sink.close().await
    })
    .await;
    why
}

struct Watch {
    heard: Mutex<Instant>,
    /// Something is being taken: the other end is not listened to meanwhile.
    busy: AtomicBool,
    ask: AtomicBool,
}

async fn read<S>(mut stream: S, end: &impl End, watch: &Watch) -> Error
where
    S: Stream<Item = Result<Message, Failure>> + Unpin,
{
    loop {
        let message = match stream.next().await {
            None => return closed("the other end has gone"),
            Some(Err(e)) => return closed(&e.to_string()),
            Some(Ok(Message::Close(frame))) => {
                frame.iter().for_each(|frame| end.closed(frame));
                let why = frame.map(|frame| readable(&frame.reason)).unwrap_or_default();
                return closed(if why.is_empty() { "the other end has closed it" } else { &why });
            }
            Some(Ok(message)) => message,
        };
        watch.busy.store(true, Ordering::Relaxed);
        let taken = end.take(message).await;
        *watch.heard.lock() = Instant::now();
        watch.busy.store(false, Ordering::Relaxed);
        if let Err(why) = taken {
            return why;
        }
    }
}

async fn write<S>(sink: &mut S, end: &impl End, watch: &Watch) -> Error
where
    S: Sink<Message, Error = Failure> + Unpin,
{
    loop {
        match send(sink, end, watch).await {
            Ok(true) => end.ready().notified().await,
            Ok(false) => return closed("it was closed here"),
            Err(e) => return closed(&e.to_string()),
        }
    }
}

async fn send<S>(sink: &mut S, end: &impl End, watch: &Watch) -> Result<bool, Failure>
where
    S: Sink<Message, Error = Failure> + Unpin,
{
    while let Some(message) = end.next() {
        let is_last = matches!(message, Message::Close(_));
        sink.feed(message).await?;
        if is_last {
            sink.flush().await?;
            return Ok(false);
        }
    }
    if watch.ask.swap(false, Ordering::Relaxed) {
        sink.feed(Message::Ping(Bytes::new())).await?;
    }
    sink.flush().await?;
    Ok(true)
}

async fn look(end: &impl End, watch: &Watch) -> Error {
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = Instant::now();
    loop {
        second.tick().await;
        if watch.heard.lock().elapsed() > GONE && !watch.busy.load(Ordering::Relaxed) {
            return closed("the other end does not answer");
        }
        let asking = asked.elapsed() >= ASK;
        end.tick(asking);
        if asking {
            asked = Instant::now();
            watch.ask.store(true, Ordering::Relaxed);
            end.ready().notify_one();
        }
    }
}

/// A link of the tunnel is over.
pub(crate) fn closed(why: &str) -> Error {
    Error::new(Code::SessionClosed, format!("tunnel: {why}")).at(Phase::Stream)
}
