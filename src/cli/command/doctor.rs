//! `alknet doctor`: one attempt, told step by step.

use serde_json::{Value, json};

use super::peer::connect_options;
use crate::cli::args::Doctor;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::open_session;
use crate::error::{Error, Phase, Result};

/// The steps of an attempt, in their order, and what each shows.
const STEPS: [(Phase, &str); 8] = [
    (Phase::Config, "options and key can be used"),
    (Phase::Dns, "the server's name is known"),
    (Phase::Tcp, "the server's port answers"),
    (Phase::Tls, "its certificate, if it wants one, is to be trusted"),
    (Phase::Upgrade, "it opens a WebSocket, if one is wanted"),
    (Phase::Kex, "an SSH server speaks there"),
    (Phase::HostKey, "the server is who it should be"),
    (Phase::Auth, "the log-in is accepted"),
];

pub(in crate::cli) async fn doctor(options: &Doctor, report: &Report) -> Result<Exit> {
    let outcome = match connect_options(&options.peer).await {
        Ok(options) => open_session(&options).await,
        Err(error) => Err(error),
    };
    let failure = match &outcome {
        Ok(session) => {
            session.close().await;
            None
        }
        Err(error) => Some(error),
    };
    let steps = steps(failure);
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

/// Every step up to the one that failed.
fn steps(failure: Option<&Error>) -> Vec<Value> {
    let failed_at = failure.map(|error| {
        let phase = error.phase().unwrap_or(Phase::Auth);
        STEPS.iter().position(|(step, _)| *step == phase).unwrap_or(STEPS.len() - 1)
    });
    let told = STEPS.iter().enumerate().take(failed_at.map_or(STEPS.len(), |at| at + 1));
    told.map(|(at, (phase, shows))| {
        let why = failure.filter(|_| failed_at == Some(at));
        json!({
            "step": phase.as_str(),
            "ok": why.is_none(),
            "shows": shows,
            "code": why.map(|error| error.code().as_str()),
            "message": why.map(ToString::to_string),
            "hint": why.and_then(Error::help),
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
