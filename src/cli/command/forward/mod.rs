//! `alknet forward`: forwarders in the background.

mod foreground;
mod install;
mod logs;
mod outcome;
mod start;
mod status;
mod worker;

use serde_json::json;

pub(super) use foreground::foreground;
pub(super) use outcome::Outcome;

use crate::cli::Control;
use crate::cli::args::{Form, Format, Forward, ForwardAction, ForwardPick, Pick};
use crate::cli::exit::Exit;
use crate::cli::given::Given;
use crate::cli::report::Report;
use crate::error::{Code, Error, Result};
use crate::manage::{Forwarders, Place};
use crate::runtime::Work;

/// The port of the seed's forwarder, when nothing else is said.
const USUAL_PORT: u16 = 3845;

pub(in crate::cli) async fn forward(
    options: &Forward,
    given: &Given,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let form = match &options.action {
        ForwardAction::Worker(_) => return worker::worker(control).await,
        ForwardAction::Status(status) if status.watch => {
            return status::watch(status, report, control).await;
        }
        ForwardAction::Logs(logs) => return logs::print(logs, report, control).await,
        ForwardAction::Start(start) => &start.form,
        ForwardAction::Status(status) => &status.form,
        ForwardAction::Stop(stop) => &stop.picked.form,
        ForwardAction::Kill(pick) => &pick.form,
        ForwardAction::Restart(restart) => &restart.form,
    };
    let outcome = tokio::select! {
        outcome = outcome(options, given, control) => outcome,
        () = control.draining() => return Ok(Exit::INTERRUPTED),
    };
    let outcome = match outcome {
        Err(error) if error.code() == Code::Config && error.phase().is_none() => {
            // The command line itself; as other programs of this kind have it.
            report.failed(&error);
            return Ok(Exit::FAILED);
        }
        Err(error) => Outcome::failed(error),
        Ok(outcome) => outcome,
    };
    Ok(outcome.print(shape(form, report), report))
}

/// What this process, or one that does the same, will carry.
pub(in crate::cli) fn work(options: &Forward) -> Work {
    let is_plain = match &options.action {
        ForwardAction::Worker(worker) => worker.plain,
        ForwardAction::Start(start) => start::server(start).is_none(),
        _ => false,
    };
    if is_plain { Work::Plain } else { Work::Sessions }
}

/// What a command comes to, unprinted.
///
/// # Errors
/// Why it failed, where there is but one thing that could.
pub(in crate::cli) async fn outcome(
    options: &Forward,
    given: &Given,
    control: &Control,
) -> Result<Outcome> {
    let forwarders = Forwarders { place: Place::of_user()? };
    match &options.action {
        ForwardAction::Start(options) => start::start(&forwarders, options, given, control).await,
        ForwardAction::Status(options) => Ok(status::status(&forwarders, options).await),
        ForwardAction::Stop(options) => {
            let force = options.force;
            end(&forwarders, &options.picked, End::Stop { force }).await
        }
        ForwardAction::Kill(options) => end(&forwarders, options, End::Kill).await,
        ForwardAction::Logs(options) => logs::logs(&forwarders, options),
        ForwardAction::Restart(options) => start::restart(&forwarders, options, control).await,
        ForwardAction::Worker(_) => Err(Error::config("a worker has no outcome")),
    }
}

/// How results look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Json,
    Markdown,
}

fn shape(form: &Form, report: &Report) -> Shape {
    use std::io::IsTerminal;
    match form.format {
        Some(Format::Markdown) => Shape::Markdown,
        Some(Format::Json) => Shape::Json,
        None if report.is_json() || !std::io::stdout().is_terminal() => Shape::Json,
        None => Shape::Text,
    }
}

/// The word that picks a forwarder, if one was said.
fn word(pick: &Pick) -> Option<String> {
    let named = pick.which.clone().or_else(|| pick.name.clone());
    named.or_else(|| pick.listen_port.map(|port| port.to_string()))
}

/// The one forwarder that is meant.
fn one(forwarders: &Forwarders, pick: &Pick) -> Result<String> {
    let all = forwarders.all();
    let found = match (word(pick), all.as_slice()) {
        (Some(word), _) => forwarders.named(&word),
        (None, [only]) => vec![only.clone()],
        (None, _) => return Err(Error::config("say which: a port or a name").unphased()),
    };
    match found.as_slice() {
        [id] => Ok(id.clone()),
        [] => {
            Err(Error::new(Code::ForwarderNotFound, "there is no forwarder of that port or name")
                .hint("alknet forward status shows those that there are"))
        }
        _ => Err(Error::config("several listen on that port: say its name").unphased()),
    }
}

#[derive(Clone, Copy)]
enum End {
    Stop { force: bool },
    Kill,
}

async fn end(forwarders: &Forwarders, picked: &ForwardPick, how: End) -> Result<Outcome> {
    let usual = USUAL_PORT.to_string();
    let (word, ids) = match word(&picked.pick) {
        Some(word) => (word.clone(), forwarders.named(&word)),
        None if picked.all => (usual, forwarders.all()),
        None => {
            let message = "say which: a port, a name, or --all";
            return Err(Error::config(message).unphased());
        }
    };
    if ids.is_empty() {
        let message = format!("No forwarder state found for port {word}");
        return Ok(Outcome::one(true, told(&word, None, true, &message), message));
    }
    let mut outcome = Outcome::default();
    for id in &ids {
        let done = match how {
            End::Stop { force } => forwarders.stop(id, force).await,
            End::Kill => forwarders.kill(id).await,
        };
        let port = id.parse::<u16>().ok();
        match done {
            Ok(Some(pid)) => {
                let what = if matches!(how, End::Kill) { "killed" } else { "stopped" };
                let message = format!("Forwarder {what} (was PID {pid})");
                outcome.add(told(id, port, true, &message), message);
            }
            Ok(None) => {
                let message = "Forwarder was not running; its state is cleaned up".to_owned();
                outcome.add(told(id, port, true, &message), message);
            }
            Err(error) => {
                outcome.add(told(id, port, false, &error.to_string()), error.to_string());
                outcome.fail(error);
            }
        }
    }
    Ok(outcome.single(!picked.all))
}

fn told(id: &str, port: Option<u16>, success: bool, message: &str) -> serde_json::Value {
    let port = port.or_else(|| id.parse().ok());
    let mut told = json!({ "port": port, "success": success, "message": message });
    if port.is_none() {
        told["name"] = id.into();
    }
    told
}
