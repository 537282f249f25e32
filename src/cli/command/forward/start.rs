//! `alknet forward start` and `restart`.

use clap::FromArgMatches;
use serde_json::{Value, json};

use super::install::{install, uninstall};
use super::one;
use super::outcome::Outcome;
use crate::cli::Control;
use crate::cli::args::{Arguments, Command, ForwardAction, ForwardRestart, ForwardStart};
use crate::cli::command::peer::connect_options;
use crate::cli::given::{Given, words};
use crate::cli::grammar;
use crate::error::{Code, Error, Result};
use crate::manage::{Forwarders, Launch, Record, Start, Wanted};

/// Options that a forwarder is told of by name.
const SAID: [&str; 10] = [
    "listen-host",
    "listen-port",
    "target-host",
    "target-port",
    "name",
    "replace",
    "format",
    "server",
    "install",
    "uninstall",
];

/// Those of the others that mean something without a server.
const PLAIN: [&str; 4] = ["drain", "max-connections", "connect-timeout", "idle-timeout"];

pub(super) async fn start(
    forwarders: &Forwarders,
    options: &ForwardStart,
    given: &Given,
    control: &Control,
) -> Result<Outcome> {
    let wanted = wanted(options, given);
    if options.install {
        return install(&wanted, &control.program()).await;
    }
    if options.uninstall {
        return uninstall(&wanted).await;
    }
    started(forwarders, &wanted, options, options.replace, control).await
}

pub(super) async fn restart(
    forwarders: &Forwarders,
    options: &ForwardRestart,
    control: &Control,
) -> Result<Outcome> {
    let id = one(forwarders, &options.pick)?;
    let standing = forwarders.standing(&id, None).await;
    let record = standing.record.ok_or_else(|| {
        Error::new(Code::ForwarderNotFound, format!("nothing says what forwarder {id} was for"))
            .hint("alknet forward stop, and start it anew")
    })?;
    let options = rebuilt(&record.wanted)?;
    forwarders.stop(&id, false).await?;
    started(forwarders, &record.wanted, &options, true, control).await
}

async fn started(
    forwarders: &Forwarders,
    wanted: &Wanted,
    options: &ForwardStart,
    replace: bool,
    control: &Control,
) -> Result<Outcome> {
    // What is wrong with the key is best said where somebody can be asked for its passphrase.
    let passphrase = match &wanted.server {
        Some(_) => connect_options(&options.peer).await?.passphrase.and_then(|word| word.text()),
        None => None,
    };
    let launch = Launch { program: control.program(), passphrase };
    let (record, message) = match forwarders.start(wanted, &launch, replace).await? {
        Start::Started(record) => {
            let Record { pid, listen_host, listen_port, target_host, target_port, .. } = &record;
            let message = format!(
                "Forwarder started (PID {pid}, {listen_host}:{listen_port} -> {target_host}:{target_port})"
            );
            (record, message)
        }
        Start::Ran(record) => {
            let Record { pid, listen_port, target_host, target_port, .. } = &record;
            let message = format!(
                "Forwarder already running (PID {pid}, {listen_port} -> {target_host}:{target_port})"
            );
            (record, message)
        }
    };
    let mut data = json!({ "message": message });
    merge(&mut data, described(forwarders, &record));
    let mut text = message;
    if wanted.is_open() {
        let warning = "other machines can use this forwarder: it listens beyond this one";
        data["warning"] = warning.into();
        text = format!("{text}\nwarning: {warning}");
    }
    Ok(Outcome::one(true, data, text))
}

/// A forwarder's particulars.
pub(super) fn described(forwarders: &Forwarders, record: &Record) -> Value {
    let mut data = json!({
        "id": record.id,
        "pid": record.pid,
        "listen_host": record.listen_host,
        "listen_port": record.listen_port,
        "target_host": record.target_host,
        "target_port": record.target_port,
        "started_at": record.started_at,
        "log_file": forwarders.place.log(&record.id),
        "state_file": forwarders.place.state(&record.id),
    });
    if let Some(name) = &record.wanted.name {
        data["name"] = name.as_str().into();
    }
    if let Some(server) = &record.wanted.server {
        data["server"] = server.as_str().into();
    }
    data
}

pub(super) fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// The server that it goes through, if it does.
pub(super) fn server(options: &ForwardStart) -> Option<&String> {
    options.peer.place.as_ref().or(options.peer.server.as_ref())
}

pub(super) fn wanted(options: &ForwardStart, given: &Given) -> Wanted {
    let server = server(options).cloned();
    let mut others = given.clone();
    others.retain(|key, _| {
        !SAID.contains(&key.as_str()) && (server.is_some() || PLAIN.contains(&key.as_str()))
    });
    Wanted {
        name: options.name.clone(),
        listen_host: options.listen_host.clone(),
        listen_port: options.listen_port,
        target_host: options.target_host.clone(),
        target_port: options.target_port,
        server,
        options: others,
    }
}

/// What was said of a forwarder, to be said again.
pub(super) fn said(wanted: &Wanted) -> Given {
    let mut given = wanted.options.clone();
    let mut say = |key: &str, value: String| given.insert(key.to_owned(), vec![value]);
    say("listen-host", wanted.listen_host.clone());
    say("listen-port", wanted.listen_port.to_string());
    say("target-host", wanted.target_host.clone());
    say("target-port", wanted.target_port.to_string());
    if let Some(name) = &wanted.name {
        say("name", name.clone());
    }
    if let Some(server) = &wanted.server {
        say("server", server.clone());
    }
    given
}

/// The options that a forwarder was started with.
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for what this version does not understand.
pub(super) fn rebuilt(wanted: &Wanted) -> Result<ForwardStart> {
    let given = said(wanted);
    let mut grammar = grammar();
    grammar.build();
    let said = words(&grammar, &["forward", "start"], &given);
    let bad = |e: clap::Error| Error::config(e.render().to_string().trim().to_owned());
    let matches = grammar.try_get_matches_from_mut(said).map_err(bad)?;
    match Arguments::from_arg_matches(&matches).map_err(bad)?.command {
        Command::Forward(forward) => match forward.action {
            ForwardAction::Start(start) => Ok(*start),
            _ => Err(Error::config("these words are no start")),
        },
        _ => Err(Error::config("these words are no forward")),
    }
}
