//! `alknet forward status`: how forwarders stand, once or live.

mod table;

use std::time::Duration;

use serde_json::{Value, json};

use super::outcome::Outcome;
use super::start::{described, merge};
use super::{Shape, USUAL_PORT, shape, word};
use crate::cli::Control;
use crate::cli::args::ForwardStatus;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::Result;
use crate::manage::{Condition, Forwarders, Place, Standing};
use table::table;

/// How long a target may take to answer that is dialled for `--check`.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// How often a live view is made anew.
const WATCH: Duration = Duration::from_secs(1);

/// Home, and clear what follows.
const ANEW: &str = "\u{1b}[H\u{1b}[J";

pub(super) async fn status(forwarders: &Forwarders, options: &ForwardStatus) -> Outcome {
    let word = word(&options.pick);
    let dial = options.check.then_some(CHECK_LIMIT);
    let mut ids = match &word {
        Some(word) => forwarders.named(word),
        None => forwarders.all(),
    };
    if ids.is_empty() {
        ids.push(word.clone().unwrap_or_else(|| USUAL_PORT.to_string()));
    }
    let mut found = Vec::new();
    for id in &ids {
        let standing = match id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        {
            true => forwarders.standing(id, dial).await,
            // No file of ours has such a name.
            false => Standing::none(id),
        };
        // One whose worker is on its way out has nothing more to say; of a name nobody knows it is said that it is stopped.
        if standing.condition != Condition::Stopped || ids.len() == 1 {
            found.push(standing);
        }
    }
    let mut outcome = Outcome::default().single(word.is_some());
    let rows = table(&found);
    for (standing, row) in found.iter().zip(rows.iter().skip(1)) {
        let row = if outcome.is_empty() { format!("{}\n{row}", rows[0]) } else { row.clone() };
        outcome.add(item(forwarders, standing), row);
    }
    let code = found.iter().map(|standing| exit(standing.condition)).max().unwrap_or(3);
    if options.exit_code { outcome.exit(Exit::of_service(code)) } else { outcome }
}

/// As the Linux Standard Base has it for services; of several the worst.
fn exit(condition: Condition) -> u8 {
    match condition {
        Condition::Running => 0,
        Condition::Dead => 1,
        Condition::Stopped => 3,
    }
}

pub(super) async fn watch(
    options: &ForwardStatus,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let forwarders = Forwarders { place: Place::of_user()? };
    let shape = shape(&options.form, report);
    loop {
        let outcome = status(&forwarders, options).await;
        if shape == Shape::Text {
            report.raw(ANEW.as_bytes());
        }
        let exit = outcome.print(shape, report);
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = control.draining() => return Ok(exit),
            unheard = report.unheard() => return Ok(unheard),
        }
    }
}

fn item(forwarders: &Forwarders, standing: &Standing) -> Value {
    let port = standing.id.parse::<u16>().ok();
    let mut item = json!({
        "status": called(standing.condition),
        "id": standing.id,
        "listen_host": "127.0.0.1",
        "listen_port": port,
        "target_host": "127.0.0.1",
        "target_port": 3456,
        "log_file": forwarders.place.log(&standing.id),
        "state_file": forwarders.place.state(&standing.id),
    });
    if let Some(record) = &standing.record {
        merge(&mut item, described(forwarders, record));
    }
    if let Value::Object(fields) = &mut item {
        fields.remove("pid");
        if standing.condition != Condition::Running {
            fields.remove("started_at");
        }
    }
    if let Some(pid) = standing.pid {
        item["pid"] = pid.into();
    }
    if let Some(live) = &standing.live {
        item["uptime"] = uptime(live.uptime_seconds).into();
        item["uptime_seconds"] = live.uptime_seconds.into();
        item["connections"] =
            json!({ "active": live.active, "accepted": live.accepted, "refused": live.refused });
        item["bytes"] = json!({ "up": live.bytes_up, "down": live.bytes_down });
        item["last_error"] = json!(live.last_error);
        item["last_error_at"] = json!(live.last_error_at);
        item["target_reachable"] = json!(live.target_reachable);
    }
    if let Some(fault) = &standing.fault {
        item["fault"] = fault.as_str().into();
    }
    item
}

/// What a condition is called, in JSON and in the table.
fn called(condition: Condition) -> &'static str {
    match condition {
        Condition::Running => "running",
        Condition::Dead => "stale",
        Condition::Stopped => "stopped",
    }
}

fn uptime(seconds: u64) -> String {
    format!("{}h {}m {}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
