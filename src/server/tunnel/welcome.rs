//! Who loses a token loses what was opened with it.

use std::future::Future;
use std::pin::pin;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Told whenever tokens have been read again.
pub(super) type Reloads = watch::Receiver<()>;

/// Runs `serving` to its end, and ends it early, by `end`, when tokens have been read again that it is not `admitted` with. `reloads` is
/// from before it was let in.
pub(super) async fn while_welcome(
    mut reloads: Reloads,
    admitted: impl Fn() -> bool,
    end: CancellationToken,
    serving: impl Future<Output = ()>,
) {
    let unwelcome = async {
        while reloads.changed().await.is_ok() {
            if !admitted() {
                return;
            }
        }
        std::future::pending().await
    };
    let mut serving = pin!(serving);
    tokio::select! {
        () = &mut serving => return,
        () = unwelcome => {}
    }
    tracing::info!("a connection ends whose token is taken no more");
    end.cancel();
    serving.await;
}
