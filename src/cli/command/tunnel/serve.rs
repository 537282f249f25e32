//! `alknet tunnel runner` and `alknet tunnel host`.

use std::path::PathBuf;

use serde_json::json;

use super::{ca, token};
use crate::cli::Control;
use crate::cli::args::{TunnelHost, TunnelListen, TunnelRunner};
use crate::cli::command::ready::ready;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::config::Bind;
use crate::error::{Error, Result};
use crate::server::{HostOptions, RunnerOptions, TunnelOptions, TunnelServer};

pub(super) async fn runner(
    options: &TunnelRunner,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    #[cfg(unix)]
    let words = options.terminal_command.as_deref().unwrap_or_default();
    #[cfg(not(unix))]
    let words = "";
    let runner = RunnerOptions {
        nats: options.registry.clone(),
        advertise: options.advertise.as_ref().map(|url| url.parse()).transpose()?,
        node: options.node.clone(),
        command: words.split_whitespace().map(str::to_owned).collect(),
    };
    let listening = listening(&options.listen, &options.common);
    let server = TunnelServer::runner(&listening, &runner).await?;
    run(&server, "runner", options.common.ready.ready_fd, report, control).await
}

pub(super) async fn host(options: &TunnelHost, report: &Report, control: &Control) -> Result<Exit> {
    let runners = options.runners.iter().map(|url| url.parse()).collect::<Result<_>>()?;
    let (registry, nats) = registries(&options.registry)?;
    let host = HostOptions {
        ssh_listen: match options.ssh_listen.as_str() {
            "none" => None,
            at => Some(at.parse()?),
        },
        registry,
        nats,
        runners,
        runner_token: token(options.token_file.as_deref())?,
        insecure: options.common.insecure,
        tls_ca: ca(options.trusted.tls_ca.as_deref())?,
    };
    let server = TunnelServer::host(&listening(&options.listen, &options.common), host).await?;
    run(&server, "host", options.common.ready.ready_fd, report, control).await
}

/// The file, and the addresses of NATS.
fn registries(all: &[String]) -> Result<(Option<PathBuf>, Vec<String>)> {
    let (nats, files): (Vec<&String>, Vec<&String>) =
        all.iter().partition(|one| one.contains("://"));
    match files[..] {
        [] => Ok((None, nats.into_iter().cloned().collect())),
        [file] => Ok((Some(file.into()), nats.into_iter().cloned().collect())),
        _ => Err(Error::config("--registry: one file, and addresses of NATS")),
    }
}

fn listening(listen: &Bind, common: &TunnelListen) -> TunnelOptions {
    TunnelOptions {
        listen: listen.clone(),
        token_file: common.tokens.clone(),
        insecure: common.insecure,
        tls_cert: common.certificate.tls_cert.clone(),
        tls_key: common.certificate.tls_key.clone(),
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
