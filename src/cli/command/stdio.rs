//! `alknet connect -W`: standard input and output as one end of a stream.

use std::sync::Arc;

use tokio::io::{AsyncWriteExt, copy, split, stdin, stdout};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::ssh::{Events, Observer, Stream};

/// Copies both ways, with half-close, until the far end has ended. What is on standard input then has no reader.
///
/// # Errors
/// How the stream failed, or standard output.
pub(super) async fn stdio(stream: Stream) -> Result<()> {
    let over = Arc::new(Over::default());
    stream.observe(Arc::clone(&over) as Arc<dyn Observer>);
    let (mut from, mut to) = split(stream);
    let up = async {
        let _ = copy(&mut stdin(), &mut to).await;
        let _ = to.shutdown().await;
    };
    let down = async {
        let mut out = stdout();
        copy(&mut from, &mut out).await?;
        out.flush().await
    };
    tokio::pin!(up, down);
    let delivered = tokio::select! {
        delivered = &mut down => {
            // The far end has ended; our own end still has to reach it, unless nobody is there.
            if delivered.is_ok() {
                tokio::select! { () = up => {}, () = over.0.notified() => {} }
            }
            delivered
        }
        () = &mut up => down.await,
    };
    delivered.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(ours) => ours.clone(),
            None => Error::system("write", "standard output", error),
        }
    })
}

/// Told when the channel is closed.
#[derive(Default)]
struct Over(Notify);

impl Observer for Over {
    fn notify(&self, events: Events) {
        if events.bits() & Events::CLOSED.bits() != 0 {
            self.0.notify_one();
        }
    }
}
