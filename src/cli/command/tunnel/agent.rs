//! `alknet tunnel agent`, and the program called `tunnel-client`.

use std::time::Duration;

use serde_json::json;

use super::place::variable;
use super::{ca, token};
use crate::cli::Control;
use crate::cli::args::TunnelAgent;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Code, Result};
use crate::server::{AgentEvent, AgentOptions, run_agent};
use crate::tunnel::Manner;

pub(in crate::cli) async fn agent(
    options: &TunnelAgent,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let runner = options.runner_url.clone().or_else(|| variable("KOHAKURIVER_TUNNEL_URL"));
    let container = options.container_id.clone().or_else(|| variable("KOHAKURIVER_CONTAINER_ID"));
    let (Some(runner), Some(container)) = (runner, container) else {
        report.talk("error: --runner-url <URL> and --container-id <NAME> are needed");
        return Ok(Exit::USAGE);
    };
    let options = AgentOptions {
        runner: runner.parse()?,
        container,
        token: token(options.token.token_file.as_deref())?,
        reconnect_delay: Duration::from_secs(options.reconnect_delay),
        max_reconnect: options.max_reconnect,
        ports: options.ports.clone(),
        manner: Manner {
            insecure: options.token.insecure || options.drop_in,
            ca: ca(options.trusted.tls_ca.as_deref())?,
            name: None,
        },
        shell: shell(options),
    };
    let told = |event: AgentEvent<'_>| match event {
        AgentEvent::Connected => report.event("up", json!({}), "connected to the runner"),
        AgentEvent::Lost(why) | AgentEvent::Failed(why) => {
            let fields = json!({ "code": why.code().as_str(), "message": why.to_string() });
            let sentence = match event {
                AgentEvent::Lost(_) => format!("connection lost: {why}; connecting again"),
                _ => format!("cannot connect: {why}"),
            };
            report.event("down", fields, &sentence);
        }
    };
    tokio::select! {
        ended = run_agent(&options, told) => ended.map(|()| Exit::OK).or_else(|error| {
            let gave_up = options.max_reconnect > 0 && error.code() != Code::Config;
            report.failed(&error);
            Ok(if gave_up { Exit::FAILED } else { Exit::from(&error) })
        }),
        () = control.draining() => Ok(Exit::OK),
    }
}

/// Who leaves some ports alone does not mean everything else.
fn shell(options: &TunnelAgent) -> Option<Vec<String>> {
    match options.shell.as_deref() {
        Some("none") => None,
        Some(program) => Some(vec![program.to_owned()]),
        #[cfg(unix)]
        None if options.ports.is_empty() => crate::tunnel::usual_shell(),
        None => None,
    }
}
