//! What a forwarder is for, and what there is to say of one that runs: the state file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::place::{Place, is_id};
use crate::config::{Bind, PortForwardSpec};
use crate::error::{Error, Result};
use crate::private;
use crate::target::{HostPort, Target};

/// Version of the state file. A reader refuses a later one.
const SCHEMA: u32 = 1;

/// What somebody wants a forwarder to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wanted {
    /// What it is called instead of its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Where it listens.
    pub(crate) listen_host: String,
    /// 0 takes a free one.
    pub(crate) listen_port: u16,
    /// Where that leads.
    pub(crate) target_host: String,
    /// See `target_host`.
    pub(crate) target_port: u16,
    /// Through this server; straight from this machine without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// The other options, by their long names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// What it is known by: its name, else its port; `None` when that is not known yet.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a name that can be none.
    pub(crate) fn id(&self) -> Result<Option<String>> {
        match &self.name {
            Some(name) if is_id(name) && name.parse::<u32>().is_err() => Ok(Some(name.clone())),
            Some(name) => Err(Error::config(format!("name {name:?}: cannot be a name"))
                .hint("letters, digits, - and _, 64 at most, and not a number")),
            None => Ok((self.listen_port != 0).then(|| self.listen_port.to_string())),
        }
    }

    /// As a forward.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what is no host or port.
    pub(crate) fn spec(&self) -> Result<PortForwardSpec> {
        let host = |text: &str, port| -> Result<HostPort> {
            let plain = text.trim_start_matches('[').trim_end_matches(']');
            HostPort::parse(&HostPort { host: plain.to_owned(), port }.to_string(), None)
        };
        let listen = match self.listen_host.as_str() {
            "*" => "*".to_owned(),
            named => host(named, self.listen_port)?.host,
        };
        if self.target_port == 0 {
            return Err(Error::config("target port 0: nobody can be reached there"));
        }
        let target = host(&self.target_host, self.target_port)?.to_string().parse::<Target>()?;
        PortForwardSpec::new(Bind::Port { host: Some(listen), port: self.listen_port }, target)
    }

    /// Whether it lets others than this machine in.
    pub(crate) fn is_open(&self) -> bool {
        let host = self.listen_host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !loopback && !host.eq_ignore_ascii_case("localhost")
    }
}

/// `host:port -> host:port`
impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { listen_host, listen_port, target_host, target_port, .. } = self;
        write!(f, "{listen_host}:{listen_port} -> {target_host}:{target_port}")
    }
}

/// A forwarder that was started. Written by its worker, once it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// For people; nothing is ever signalled because of it.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) listen_host: String,
    /// The real port.
    pub(crate) listen_port: u16,
    /// Where that leads.
    pub(crate) target_host: String,
    /// See `target_host`.
    pub(crate) target_port: u16,
    /// RFC 3339, UTC, milliseconds.
    pub(crate) started_at: String,
    /// Of the program.
    pub(crate) version: String,
    /// Of this file.
    pub(crate) schema: u32,
    /// What it is known by.
    pub(crate) id: String,
    /// What was asked for.
    pub(crate) wanted: Wanted,
}

impl Record {
    /// That of this process.
    pub(super) fn new(id: &str, wanted: &Wanted, port: u16) -> Self {
        Self {
            pid: std::process::id(),
            listen_host: wanted.listen_host.clone(),
            listen_port: port,
            target_host: wanted.target_host.clone(),
            target_port: wanted.target_port,
            started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            id: id.to_owned(),
            wanted: wanted.clone(),
        }
    }

    /// Reads a state file; `None` when there is none.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for one that cannot be read as a state.
    pub(super) fn read(place: &Place, id: &str) -> Result<Option<Self>> {
        let path = place.state(id);
        let Some(bytes) = private::read(&path)? else { return Ok(None) };
        let bad = |why: String| Error::config(format!("{}: {why}", path.display()));
        let record: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if record.schema > SCHEMA {
            return Err(bad(format!("a later alknet wrote it (schema {})", record.schema)));
        }
        if record.id != id {
            return Err(bad(format!("it is the state of {:?}", record.id)));
        }
        Ok(Some(record))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// `ENOSPC` and the like.
    pub(super) fn write(&self, place: &Place) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::config(format!("a state that cannot be written: {e}")))?;
        text.push('\n');
        private::replace(&place.state(&self.id), text.as_bytes())
    }
}
