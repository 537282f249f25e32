//! `alknet tunnel forward`.

use serde_json::json;

use super::place::{task, url};
use super::token;
use crate::auth::KeySource;
use crate::cli::Control;
use crate::cli::args::{TunnelForward, TunnelHostPlace, TunnelProto};
use crate::cli::command::ready::ready;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::{ForwardOptions, LocalForwarder, Tunnel, TunnelOptions, TunnelStanding};
use crate::config::{Bind, PortForwardSpec};
use crate::error::Result;
use crate::target::{HostPort, Target};

pub(super) async fn forward(
    host: &TunnelHostPlace,
    options: &TunnelForward,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let place = TunnelOptions {
        host: url(host)?.to_string(),
        task: task(&options.task)?,
        port: options.port,
        udp: options.proto == TunnelProto::Udp,
        token: token(options.token.token_file.as_deref())?,
        insecure: options.token.insecure,
        tls_ca: options.trusted.tls_ca.clone().map(KeySource::Path),
        ..TunnelOptions::default()
    };
    let tunnel = tokio::select! {
        tunnel = Tunnel::new(&place) => tunnel?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let spec = spec(options)?;
    let forward = LocalForwarder::start(&spec, &tunnel, &ForwardOptions::default()).await?;
    let at: Vec<String> = forward.addresses().iter().map(ToString::to_string).collect();
    let fields = json!({ "kind": "forward", "addresses": at });
    let sentence =
        format!("{} leads to port {} of task {}", at.join(" and "), options.port, options.task);
    report.event("listening", fields, &sentence);
    ready(options.ready.ready_fd)?;
    tokio::select! {
        () = follow(&tunnel, report) => {}
        () = control.draining() => {}
    }
    forward.close().await;
    tunnel.close().await;
    Ok(Exit::OK)
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
            TunnelStanding::Closed(_) => return,
        }
    }
}
