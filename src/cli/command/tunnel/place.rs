//! Which host, and which task, as people and variables say it.

use crate::cli::args::TunnelHostPlace;
use crate::error::{Error, Result};
use crate::target::HostPort;
use crate::tunnel::Url;

/// The host's URL.
pub(super) fn url(host: &TunnelHostPlace) -> Result<Url> {
    let name = name(host);
    let given = || variable("KOHAKURIVER_PORT").and_then(|port| port.parse().ok());
    match host.port.or_else(given) {
        Some(port) if !name.contains("://") => {
            Url::of_host(&HostPort::parse(&name, Some(port))?.to_string())
        }
        _ => Url::of_host(&name),
    }
}

/// The host alone, without its port.
pub(super) fn host_name(host: &TunnelHostPlace) -> Result<String> {
    Ok(url(host)?.at.host)
}

fn name(host: &TunnelHostPlace) -> String {
    let named = host.host.clone().or_else(|| variable("KOHAKURIVER_HOST"));
    named.unwrap_or_else(|| "localhost".to_owned())
}

/// A task's number, as a host takes it.
pub(super) fn task(text: &str) -> Result<String> {
    text.parse::<i64>()
        .map(|id| id.to_string())
        .map_err(|_| Error::config(format!("task {text:?}: a task's id is a number")))
}

/// An environment variable that says something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
