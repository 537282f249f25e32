//! `alknet tunnel forward`.

use serde_json::json;

use super::token;
use crate::cli::Control;
use crate::cli::args::{TunnelForward, TunnelHostPlace, TunnelProto};
use crate::cli::command::ready::ready;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::{ForwardOptions, LocalForwarder, Tunnel, TunnelPlace, TunnelStanding};
use crate::config::{Bind, PortForwardSpec};
use crate::error::{Error, Result};
use crate::target::{HostPort, Target};

/// Where the originals' host listens (seed systems: pieces and ports).
const PORT: u16 = 8000;

pub(super) async fn forward(
    host: &TunnelHostPlace,
    options: &TunnelForward,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let place = TunnelPlace {
        host: url(host)?.parse()?,
        task: task(&options.task)?,
        port: options.port,
        udp: options.proto == TunnelProto::Udp,
        token: token(options.token.token_file.as_deref())?,
        insecure: options.token.insecure,
    };
    let tunnel = tokio::select! {
        tunnel = Tunnel::open(place) => tunnel?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let spec = spec(options)?;
    let forward = LocalForwarder::start(&spec, &tunnel, &ForwardOptions::default()).await?;
    let at: Vec<String> = forward.addresses().iter().map(ToString::to_string).collect();
    let fields = json!({ "kind": "forward", "addresses": at });
    let sentence =
        format!("{} leads to port {} of task {}", at.join(" and "), options.port, options.task);
    report.event("listening", fields, &sentence);
    ready(options.ready_fd)?;
    tokio::select! {
        () = follow(&tunnel, report) => {}
        () = control.draining() => {}
    }
    forward.close().await;
    tunnel.close().await;
    Ok(Exit::OK)
}

fn url(host: &TunnelHostPlace) -> Result<String> {
    let named = host.host.clone().or_else(|| variable("KOHAKURIVER_HOST"));
    let name = named.unwrap_or_else(|| "localhost".to_owned());
    if name.contains("://") {
        return Ok(name);
    }
    let given = || variable("KOHAKURIVER_PORT").and_then(|port| port.parse().ok());
    let port = host.port.or_else(given).unwrap_or(PORT);
    let at = HostPort::parse(&name, Some(port))?;
    Ok(format!("ws://{at}"))
}

/// A task's number, as a host takes it.
fn task(text: &str) -> Result<String> {
    text.parse::<i64>()
        .map(|id| id.to_string())
        .map_err(|_| Error::config(format!("task {text:?}: a task's id is a number")))
}

fn spec(options: &TunnelForward) -> Result<PortForwardSpec> {
    let listen = Bind::Port {
        host: Some(options.local_host.clone()),
        port: options.local_port.unwrap_or(options.port),
    };
    let at = HostPort { host: "localhost".to_owned(), port: options.port };
    let target = match options.proto {
        TunnelProto::Tcp => Target::Tcp(at),
        TunnelProto::Udp => Target::Udp(at),
    };
    PortForwardSpec::new(listen, target)
}

/// Tells of every loss and return.
async fn follow(tunnel: &Tunnel, report: &Report) {
    let mut watch = tunnel.watch();
    let mut up = true;
    while watch.changed().await.is_ok() {
        let standing = watch.borrow_and_update().clone();
        match standing {
            TunnelStanding::Up(_) => {
                up = true;
                report.event("up", json!({}), "connected again");
            }
            TunnelStanding::Down(why) if up => {
                up = false;
                let fields = json!({ "code": why.code().as_str(), "message": why.to_string() });
                report.event("down", fields, &format!("connection lost: {why}; connecting again"));
            }
            TunnelStanding::Down(_) => {}
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
