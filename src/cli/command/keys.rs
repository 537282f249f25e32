//! `alknet keygen` and `alknet fingerprint`.

use serde_json::{Value, json};

use super::peer::reach_unkeyed;
use crate::auth::{KeySource, Shown, make_key_pair, shown_keys};
use crate::cli::args::{Fingerprint, Keygen, Peer};
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::client::{ConnectOptions, open_session};
use crate::error::{Code, Error, Result};

pub(in crate::cli) fn keygen(options: &Keygen, report: &Report) -> Result<Exit> {
    let comment = options.comment.clone().unwrap_or_else(own_name);
    let made = make_key_pair(&options.path, &comment, options.force)?;
    let path = options.path.display().to_string();
    let text = format!("{path} and {path}.pub\n{}", line(&made));
    report.result(&value(&made, Some(&path)), &text);
    Ok(Exit::OK)
}

pub(in crate::cli) async fn fingerprint(options: &Fingerprint, report: &Report) -> Result<Exit> {
    if std::path::Path::new(&options.what).exists() || !options.what.contains(':') {
        let source = KeySource::Path(options.what.clone().into());
        for key in shown_keys(&source)? {
            report.result(&value(&key, None), &line(&key));
        }
        return Ok(Exit::OK);
    }
    let fingerprint = shown_by_server(&options.what).await?;
    report.result(&json!({ "fingerprint": fingerprint }), &fingerprint);
    Ok(Exit::OK)
}

/// Asks a server for its host key; nobody logs in.
async fn shown_by_server(server: &str) -> Result<String> {
    let peer = Peer::only(server);
    // A key that is never used: the check of the host key, which knows none, comes first.
    let identity = Some(crate::auth::throwaway_key()?);
    let (host_keys, known_hosts) = (Vec::new(), Some(Vec::new()));
    let options =
        ConnectOptions { identity, host_keys, known_hosts, ..reach_unkeyed(&peer).await?.0 };
    match open_session(&options).await {
        Err(error) if error.code() == Code::HostKeyUnknown => {
            Ok(error.shown_fingerprint().unwrap_or_default().to_owned())
        }
        Err(error) => Err(error),
        Ok(_) => Err(Error::new(Code::Protocol, "a session without a known host key")),
    }
}

fn value(key: &Shown, path: Option<&str>) -> Value {
    json!({
        "path": path,
        "fingerprint": key.fingerprint,
        "type": key.algorithm,
        "bits": key.bits,
        "comment": key.comment,
    })
}

/// As ssh-keygen -l prints it.
fn line(key: &Shown) -> String {
    let bits = key.bits.map(|bits| format!("{bits} ")).unwrap_or_default();
    format!("{bits}{} {} ({})", key.fingerprint, key.comment, key.algorithm)
}

fn own_name() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "localhost" } else { host };
    format!("{}@{host}", user.unwrap_or_else(|_| "alknet".into()))
}
