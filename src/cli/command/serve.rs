//! `alknet serve`.

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::passphrase::passphrase;
use super::peer::proxy;
use super::ready::ready;
use crate::auth::{KeySource, Limits};
use crate::cli::Control;
use crate::cli::args::Serve;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::config::{AcmeOptions, RelayStatus};
use crate::error::Result;
use crate::server::{BusOptions, ForwardPolicy, ServeOptions, Server, serve as start};

/// How long a drain waits for streams to end by themselves.
const DRAIN: Duration = Duration::from_secs(2);

pub(in crate::cli) async fn serve(
    options: &Serve,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let wanted = serve_options(options).await?;
    let server = tokio::select! {
        started = Box::pin(start(&wanted)) => started?,
        () = control.draining() => return Ok(Exit::OK),
    };
    let mut relay = server.relay_changes();
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    report.event(
        "listening",
        json!({
            "addresses": addresses,
            "endpointId": server.endpoint_id(),
            "hostKeyFingerprint": server.host_key_fingerprint(),
            "connectionString": server.connection_string(),
        }),
        &format!(
            "listening on {}, host key {}",
            addresses.join(" and "),
            server.host_key_fingerprint()
        ),
    );
    tell_endpoint(&server, report);
    tell_relay(&server, report);
    if let Some(address) = server.metrics_address() {
        let fields = json!({ "kind": "metrics", "addresses": [address.to_string()] });
        report.event("listening", fields, &format!("metrics at http://{address}/metrics"));
    }
    for warning in server.warnings() {
        report.event("warning", json!({ "message": warning }), &warning);
    }
    ready(options.ready.ready_fd)?;
    loop {
        tokio::select! {
            () = control.draining() => break,
            () = control.reloaded() => reload(&server, report).await,
            () = changed(&mut relay) => tell_relay(&server, report),
        }
    }
    server.drain(DRAIN).await;
    report.event("closed", json!({}), "closed");
    Ok(Exit::OK)
}

fn limits(options: &Serve) -> Limits {
    Limits {
        max_auth_attempts: options.max_auth_attempts,
        max_connections_per_source: match options.max_connections_per_ip {
            0 => usize::MAX,
            limit => limit,
        },
        ..Limits::default()
    }
}

async fn serve_options(options: &Serve) -> Result<ServeOptions> {
    let key = KeySource::Path(options.key.clone());
    let passphrase = passphrase(
        &key,
        options.files.passphrase_file.as_deref(),
        options.files.insecure_permissions,
        true,
    )
    .await?;
    Ok(ServeOptions {
        listen: options.listen.clone(),
        transport: options.transport.clone(),
        iroh_key: options.iroh_key.clone(),
        iroh_relay: options.iroh_relay.clone(),
        tls_ca: options.tls_ca.clone().map(KeySource::Path),
        tls_cert: options.certificate.tls_cert.clone().map(KeySource::Path),
        tls_key: options.certificate.tls_key.clone().map(KeySource::Path),
        acme: acme(options),
        acme_ca: options.acme_ca.clone().map(KeySource::Path),
        tls_min: options.tls_min,
        stealth: options.stealth,
        ws_hosts: options.ws_host.clone(),
        ws_origins: options.ws_origin.clone(),
        host_key: Some(key),
        host_key_passphrase: passphrase,
        insecure_permissions: options.files.insecure_permissions,
        authorized_keys: options.authorized_keys.clone().map(KeySource::Path),
        cert_authority: options.cert_authority.clone().map(KeySource::Path),
        revoked_keys: options.revoked_keys.clone().map(KeySource::Path),
        host_certificate: options.host_certificate.clone().map(KeySource::Path),
        limits: limits(options),
        forwarding: policy(options),
        proxy: proxy(options.proxy.as_deref())?,
        // Nobody here would take them.
        control: false,
        bus: options.bus.as_deref().map(|wanted| bus(wanted, &options.bus_durable)),
        metrics: options.metrics.clone(),
        ..ServeOptions::default()
    })
}

fn tell_endpoint(server: &Server, report: &Report) {
    if let Some(id) = server.endpoint_id() {
        report.event("endpoint", json!({ "endpointId": id }), &format!("iroh endpoint ID: {id}"));
    }
}

/// The log tells people.
fn tell_relay(server: &Server, report: &Report) {
    let Some(status) = server.relay() else { return };
    let error = status
        .error
        .map(|error| json!({ "code": error.code().as_str(), "message": error.to_string() }));
    let RelayStatus { url, connected, rebuilt, .. } = status;
    let fields = json!({ "url": url, "connected": connected, "rebuilt": rebuilt, "error": error });
    report.quiet_event("relay", fields);
}

/// Ready when what is watched has changed.
async fn changed(relay: &mut Option<watch::Receiver<RelayStatus>>) {
    if let Some(relay) = relay
        && relay.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn acme(options: &Serve) -> Option<AcmeOptions> {
    (!options.acme_domain.is_empty()).then(|| AcmeOptions {
        domains: options.acme_domain.clone(),
        directory: options.acme_directory.clone(),
        cache: options.acme_cache.clone(),
        contact: options.acme_contact.clone(),
    })
}

fn policy(options: &Serve) -> Option<ForwardPolicy> {
    (!options.no_forwarding).then(|| ForwardPolicy {
        unix: options.allow_sockets,
        link_local: options.allow_link_local,
        public_only: options.public_only,
        remote: options.allow_remote_forward,
        gateway_ports: options.gateway_ports,
        ..ForwardPolicy::default()
    })
}

/// `local`, or addresses of NATS with commas between.
fn bus(wanted: &str, durable: &[String]) -> BusOptions {
    let mut options = BusOptions { durable: durable.to_vec(), ..BusOptions::default() };
    if wanted != "local" {
        options.nats = wanted.split(',').map(|address| address.trim().to_owned()).collect();
    }
    options
}

async fn reload(server: &Server, report: &Report) {
    match server.reload().await {
        Ok(()) => report.event("reloaded", json!({}), "read the authorized keys again"),
        Err(error) => {
            report.failed(&error);
        }
    }
}
