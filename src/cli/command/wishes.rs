//! `-o Name=value`: the options of ssh_config(5) that have a meaning here. What would be ignored is refused instead.

use std::path::PathBuf;

use crate::auth::Trust;
use crate::error::{Error, Result};

/// Those that are understood.
const KNOWN: [&str; 11] = [
    "BatchMode",
    "CertificateFile",
    "ConnectTimeout",
    "ExitOnForwardFailure",
    "IdentityFile",
    "Port",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "StrictHostKeyChecking",
    "User",
    "UserKnownHostsFile",
];

/// What was wished for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) certificate: Option<PathBuf>,
    pub(super) connect_timeout: Option<u32>,
    pub(super) exit_on_forward_failure: bool,
    pub(super) identity: Option<PathBuf>,
    pub(super) keepalive: Option<u32>,
    pub(super) keepalive_count: Option<u32>,
    pub(super) known_hosts: Option<PathBuf>,
    pub(super) port: Option<u16>,
    pub(super) trust: Option<Trust>,
    pub(super) user: Option<String>,
}

impl Wishes {
    /// Reads `Name=value` and `Name value`; names in any case, as ssh does. The first of two values wins.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a name or value without a meaning here.
    pub(super) fn parse(options: &[String]) -> Result<Self> {
        let mut wishes = Self::default();
        for option in options.iter().rev() {
            let (name, value) = option.split_once(['=', ' ']).ok_or_else(|| {
                Error::config(format!("-o {option}: give a name and a value, as in -o Port=22"))
            })?;
            wishes.take(option, &name.trim().to_ascii_lowercase(), value.trim())?;
        }
        Ok(wishes)
    }

    fn take(&mut self, option: &str, name: &str, value: &str) -> Result<()> {
        let bad = || Error::config(format!("-o {option}: that value has no meaning here"));
        match name {
            "batchmode" => drop(yes(value).ok_or_else(bad)?),
            "certificatefile" => self.certificate = Some(home(value)),
            "connecttimeout" => self.connect_timeout = Some(number(value).ok_or_else(bad)?),
            "exitonforwardfailure" => {
                self.exit_on_forward_failure = yes(value).ok_or_else(bad)?;
            }
            "identityfile" => self.identity = Some(home(value)),
            "port" => self.port = Some(value.parse().map_err(|_| bad())?),
            "serveralivecountmax" => self.keepalive_count = Some(number(value).ok_or_else(bad)?),
            "serveraliveinterval" => self.keepalive = Some(value.parse().map_err(|_| bad())?),
            "stricthostkeychecking" => self.trust = Some(trust(value).ok_or_else(bad)?),
            "user" => self.user = Some(value.to_owned()),
            "userknownhostsfile" => self.known_hosts = Some(home(value)),
            _ => return Err(unknown(option)),
        }
        Ok(())
    }
}

fn unknown(option: &str) -> Error {
    Error::config(format!("-o {option}: that option has no meaning here"))
        .hint(format!("these have: {}", KNOWN.join(", ")))
}

fn yes(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn number(value: &str) -> Option<u32> {
    value.parse().ok().filter(|n| *n > 0)
}

/// A server's key is always checked, so `no` has no counterpart.
fn trust(value: &str) -> Option<Trust> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "ask" => Some(Trust::Strict),
        "accept-new" => Some(Trust::FirstUse),
        _ => None,
    }
}

fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<Wishes> {
        Wishes::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_of_ssh_are_understood_and_the_first_wins() {
        let given = ["port=2222", "Port 3333", "stricthostkeychecking=accept-new", "User=me"];
        let wishes = parse(&given).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(wishes.port, Some(2222));
        assert_eq!(wishes.trust, Some(Trust::FirstUse));
        assert_eq!(wishes.user.as_deref(), Some("me"));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for option in ["Compression=yes", "StrictHostKeyChecking=no", "Port=99999", "Port"] {
            assert!(parse(&[option]).is_err(), "{option}");
        }
    }
}
