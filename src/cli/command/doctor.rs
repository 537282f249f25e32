//! `alknet doctor`: one attempt, told step by step.

use serde_json::{Value, json};

use super::peer::connect_options;
use crate::cli::args::Doctor;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::cli::wording::in_own_words;
use crate::client::open_session;
use crate::error::{Error, Phase, Result};

/// The steps of an attempt, in their order, and what each shows.
const STEPS: [(Phase, &str); 8] = [
    (Phase::Config, "options and key can be used"),
    (Phase::Dns, "the server's name is known"),
    (Phase::Tcp, "the server's port answers"),
    (Phase::Tls, "its certificate is to be trusted"),
    (Phase::Upgrade, "it opens a WebSocket"),
    (Phase::Kex, "an SSH server speaks there"),
    (Phase::HostKey, "the server is who it should be"),
    (Phase::Auth, "the log-in is accepted"),
];

pub(in crate::cli) async fn doctor(options: &Doctor, report: &Report) -> Result<Exit> {
    let mut transports = Vec::new();
    let outcome = match connect_options(&options.peer).await {
        Ok(options) => {
            let named = options.server.split_once("://").map(|(name, _)| name.to_owned());
            transports = options.transport.iter().map(ToString::to_string).chain(named).collect();
            open_session(&options).await
        }
        Err(error) => Err(error),
    };
    let failure = match &outcome {
        Ok(session) => {
            session.close().await;
            None
        }
        Err(error) => Some(error),
    };
    let steps = steps(failure, &transports);
    let exit = failure.map_or(Exit::OK, Exit::from);
    let value = json!({
        "ok": failure.is_none(),
        "steps": steps,
        "server": outcome.as_ref().ok().map(|session| session.info().peer.clone()),
        "exit": exit.code(),
    });
    report.result(&value, &text(&steps));
    Ok(exit)
}

/// Every step up to the one that failed, of those that these transports take.
fn steps(failure: Option<&Error>, transports: &[String]) -> Vec<Value> {
    let by = |names: &[&str]| transports.iter().any(|name| names.contains(&name.as_str()));
    let phase = failure.map(|error| error.phase().unwrap_or(Phase::Auth));
    let taken = |step: Phase| match step {
        _ if phase == Some(step) => true,
        Phase::Tls => by(&["tls", "wss"]),
        Phase::Upgrade => by(&["ws", "wss"]),
        _ => true,
    };
    let steps: Vec<_> = STEPS.iter().filter(|(step, _)| taken(*step)).collect();
    let failed_at = phase
        .map(|phase| steps.iter().position(|(step, _)| *step == phase).unwrap_or(steps.len() - 1));
    let told = steps.iter().enumerate().take(failed_at.map_or(steps.len(), |at| at + 1));
    told.map(|(at, (phase, shows))| {
        let why = failure.filter(|_| failed_at == Some(at));
        json!({
            "step": phase.as_str(),
            "ok": why.is_none(),
            "shows": shows,
            "code": why.map(|error| error.code().as_str()),
            "message": why.map(ToString::to_string),
            "hint": why.and_then(Error::help).map(in_own_words),
        })
    })
    .collect()
}

fn text(steps: &[Value]) -> String {
    let mut lines = Vec::new();
    for step in steps {
        let ok = step["ok"] == true;
        lines.push(format!(
            "{} {:8} {}",
            if ok { "ok  " } else { "FAIL" },
            step["step"].as_str().unwrap_or_default(),
            step["shows"].as_str().unwrap_or_default()
        ));
        for detail in ["message", "hint"] {
            lines.extend(step[detail].as_str().map(|text| format!("              {text}")));
        }
    }
    lines.join("\n")
}
