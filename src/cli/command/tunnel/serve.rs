//! `alknet tunnel runner` and `alknet tunnel host`.

use serde_json::json;

use super::token;
use crate::cli::Control;
use crate::cli::args::{TunnelHost, TunnelListen, TunnelRunner};
use crate::cli::command::ready::ready;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::config::Bind;
use crate::error::Result;
use crate::server::{HostOptions, TunnelOptions, TunnelServer};

pub(super) async fn runner(
    options: &TunnelRunner,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let server = TunnelServer::runner(&listening(&options.listen, &options.common)).await?;
    run(&server, "runner", options.common.ready_fd, report, control).await
}

pub(super) async fn host(options: &TunnelHost, report: &Report, control: &Control) -> Result<Exit> {
    let runners = options.runners.iter().map(|url| url.parse()).collect::<Result<_>>()?;
    let host = HostOptions {
        ssh_listen: match options.ssh_listen.as_str() {
            "none" => None,
            at => Some(at.parse()?),
        },
        registry: options.registry.clone(),
        runners,
        runner_token: token(options.token_file.as_deref())?,
        insecure: options.common.insecure,
    };
    let server = TunnelServer::host(&listening(&options.listen, &options.common), host).await?;
    run(&server, "host", options.common.ready_fd, report, control).await
}

fn listening(listen: &Bind, common: &TunnelListen) -> TunnelOptions {
    TunnelOptions {
        listen: listen.clone(),
        token_file: common.tokens.clone(),
        insecure: common.insecure,
    }
}

async fn run(
    server: &TunnelServer,
    kind: &str,
    descriptor: Option<i32>,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let at: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    let fields = json!({ "kind": kind, "addresses": at });
    report.event("listening", fields, &format!("{kind} listening on {}", at.join(" and ")));
    if !server.ssh_addresses().is_empty() {
        let at: Vec<String> = server.ssh_addresses().iter().map(ToString::to_string).collect();
        let fields = json!({ "kind": "ssh-proxy", "addresses": at });
        report.event("listening", fields, &format!("SSH proxy listening on {}", at.join(" and ")));
    }
    ready(descriptor)?;
    loop {
        tokio::select! {
            () = control.draining() => break,
            () = control.reloaded() => match server.reload() {
                Ok(()) => report.event("reloaded", json!({}), "read the files again"),
                Err(error) => drop(report.failed(&error)),
            },
        }
    }
    server.close().await;
    report.event("closed", json!({}), "closed");
    Ok(Exit::OK)
}
