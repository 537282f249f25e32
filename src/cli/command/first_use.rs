//! A server that nobody knows yet: as ssh does, whoever sits at a terminal is asked.

use std::io::{IsTerminal, Write};

use super::wishes::Wishes;
use crate::auth::Trust;
use crate::cli::args::Peer;
use crate::client::ConnectOptions;
use crate::error::{Code, Error, Result};
use crate::scope::off_thread;

/// Whether somebody may be asked, and can be: nothing was said about unknown servers, and there is a terminal.
pub(super) fn may_ask(peer: &Peer, wishes: &Wishes) -> bool {
    let open = peer.trust.or(wishes.trust).is_none() && wishes.batch != Some(true);
    open && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks whether the key that an unknown server showed is its own. With a yes, `options` accept that key once and write it down.
///
/// # Errors
/// `error` itself, when it is about something else, or the answer is no.
pub(super) async fn ask(error: Error, options: &mut ConnectOptions) -> Result<()> {
    let shown = error.shown_fingerprint().map(str::to_owned);
    let (Code::HostKeyUnknown, None, Some(shown)) = (error.code(), error.hop(), shown) else {
        return Err(error);
    };
    let question = format!(
        "{error}\nIs that the server's key? Who runs it can tell. (yes, no, or the fingerprint itself) "
    );
    let answer = off_thread(move || answer(&question)).await?;
    if answer != "yes" && answer != shown {
        return Err(error);
    }
    options.trust = Trust::FirstUse;
    options.first_use_key = Some(shown);
    Ok(())
}

/// A line from the terminal; empty at its end.
fn answer(question: &str) -> String {
    let mut line = String::new();
    let _ = write!(std::io::stderr().lock(), "{question}");
    let _ = std::io::stdin().read_line(&mut line);
    line.trim().to_owned()
}
