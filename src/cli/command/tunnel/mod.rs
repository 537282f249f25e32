//! `alknet tunnel …`.

mod agent;
#[cfg(unix)]
mod escape;
mod forward;
mod inject;
mod place;
mod serve;
mod ssh;
#[cfg(unix)]
mod terminal;
#[cfg(unix)]
mod tty;

#[cfg(feature = "ws")]
pub(in crate::cli) use agent::agent;

use std::path::Path;

use crate::cli::Control;
use crate::cli::args::{Tunnel, TunnelCommand, TunnelVps, VpsCommand};
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Error, Phase, Result};

/// The variable with the token to show: a file is better, as other programs of a user may see variables.
const TOKEN: &str = "ALKNET_TUNNEL_TOKEN";

pub(in crate::cli) async fn tunnel(
    options: &Tunnel,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    match &options.command {
        TunnelCommand::Agent(agent) => agent::agent(agent, report, control).await,
        TunnelCommand::Runner(runner) => serve::runner(runner, report, control).await,
        TunnelCommand::Host(host) => serve::host(host, report, control).await,
        TunnelCommand::Forward(forward) => {
            forward::forward(&options.host, forward, report, control).await
        }
        #[cfg(unix)]
        TunnelCommand::Connect(connect) => {
            terminal::connect(&options.host, connect, report, control).await
        }
        TunnelCommand::Ssh(ssh)
        | TunnelCommand::Vps(TunnelVps { command: VpsCommand::Connect(ssh) }) => {
            ssh::ssh(&options.host, ssh, report, control).await
        }
        TunnelCommand::SshConfig(config) => ssh::ssh_config(&options.host, config, report),
        TunnelCommand::Inject(inject) => inject::inject(inject, report),
    }
}

/// The token that is shown to the other end.
fn token(file: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = file else {
        return Ok(std::env::var(TOKEN).ok().filter(|token| !token.is_empty()));
    };
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::system("open", &shown, e).at(Phase::Config))?;
    let token = text.trim();
    if token.is_empty() || token.contains(|sign: char| !sign.is_ascii_graphic()) {
        return Err(Error::config(format!("{shown}: not one word, as a token is")));
    }
    Ok(Some(token.to_owned()))
}

/// The authorities in a file.
fn ca(file: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let read = |path: &Path| {
        let shown = path.display().to_string();
        std::fs::read(path).map_err(|e| Error::system("open", &shown, e).at(Phase::Config))
    };
    file.map(read).transpose()
}
