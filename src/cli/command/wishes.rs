//! What options of ssh_config(5) wish for, as `-o Name=value` or from a file: those that have a meaning here. On the command line, what would
//! be ignored is refused instead, unless it wishes for what is so anyway.

use std::path::PathBuf;

use super::unwished::{is_so_anyway, must_not_be_ignored, unknown};
use crate::auth::Trust;
use crate::cli::args::uncompressed;
use crate::config::{Bind, Family, PortForwardSpec};
use crate::error::{Error, Result};

/// What was wished for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// The socket of an agent; empty for none.
    pub(super) agent: Option<String>,
    pub(super) batch: Option<bool>,
    pub(super) certificate: Option<String>,
    pub(super) connect_timeout: Option<u32>,
    pub(super) dynamic: Vec<Bind>,
    pub(super) exit_on_forward_failure: Option<bool>,
    pub(super) family: Option<Family>,
    pub(super) global_known_hosts: Option<Vec<PathBuf>>,
    pub(super) host: Option<String>,
    pub(super) host_key_alias: Option<String>,
    pub(super) identities: Vec<String>,
    pub(super) identities_only: Option<bool>,
    pub(super) jump: Option<Vec<String>>,
    pub(super) keepalive: Option<u32>,
    pub(super) keepalive_count: Option<u32>,
    pub(super) known_hosts: Option<Vec<PathBuf>>,
    pub(super) local: Vec<PortForwardSpec>,
    pub(super) port: Option<u16>,
    pub(super) remote: Vec<PortForwardSpec>,
    pub(super) replace_socket: Option<bool>,
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
        for option in options {
            let (name, value) = option.split_once(['=', ' ']).ok_or_else(|| {
                Error::config(format!("-o {option}: give a name and a value, as in -o Port=22"))
            })?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            if is_so_anyway(&name, value) {
                continue;
            }
            match wishes.take(&name, value) {
                Taken::Yes => {}
                Taken::Bad(help) => {
                    let error =
                        Error::config(format!("-o {option}: that value has no meaning here"));
                    return Err(if help.is_empty() { error } else { error.hint(help) });
                }
                Taken::Unknown => return Err(unknown(option, &name)),
            }
        }
        Ok(wishes)
    }

    /// Takes a keyword of a file with all its values. False when it has no meaning here.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what must not be ignored.
    pub(super) fn take_from_file(&mut self, keyword: &str, values: &[String]) -> Result<bool> {
        must_not_be_ignored(keyword)?;
        let mut all = true;
        for value in values {
            // ssh prints the path of a LocalForward from a socket as if it were a DynamicForward.
            if keyword == "dynamicforward" && value.starts_with('/') {
                continue;
            }
            all &= matches!(self.take(keyword, value), Taken::Yes);
        }
        Ok(all)
    }

    /// What is wished here, else there.
    pub(super) fn or(self, other: Self) -> Self {
        let either = |mine: Vec<_>, theirs| if mine.is_empty() { theirs } else { mine };
        Self {
            agent: self.agent.or(other.agent),
            batch: self.batch.or(other.batch),
            certificate: self.certificate.or(other.certificate),
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            dynamic: self.dynamic.into_iter().chain(other.dynamic).collect(),
            exit_on_forward_failure: self.exit_on_forward_failure.or(other.exit_on_forward_failure),
            family: self.family.or(other.family),
            global_known_hosts: self.global_known_hosts.or(other.global_known_hosts),
            host: self.host.or(other.host),
            host_key_alias: self.host_key_alias.or(other.host_key_alias),
            identities: either(self.identities, other.identities),
            identities_only: self.identities_only.or(other.identities_only),
            jump: self.jump.or(other.jump),
            keepalive: self.keepalive.or(other.keepalive),
            keepalive_count: self.keepalive_count.or(other.keepalive_count),
            known_hosts: self.known_hosts.or(other.known_hosts),
            local: self.local.into_iter().chain(other.local).collect(),
            port: self.port.or(other.port),
            remote: self.remote.into_iter().chain(other.remote).collect(),
            replace_socket: self.replace_socket.or(other.replace_socket),
            trust: self.trust.or(other.trust),
            user: self.user.or(other.user),
        }
    }

    /// The files of known hosts, if any are wished for.
    pub(super) fn known_hosts(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.known_hosts.iter().chain(&self.global_known_hosts).flatten().cloned()
    }

    /// Takes one value. The first of two wins, where there can be but one.
    fn take(&mut self, name: &str, value: &str) -> Taken {
        let taken = match name {
            "addressfamily" => first(&mut self.family, family(value)),
            "batchmode" => first(&mut self.batch, yes(value)),
            "certificatefile" => first(&mut self.certificate, Some(value.to_owned())),
            "compression" => yes(value).inspect(|_| uncompressed()).is_some(),
            "connecttimeout" if value == "none" => true,
            "connecttimeout" => first(&mut self.connect_timeout, number(value)),
            "dynamicforward" => push(&mut self.dynamic, bare(value).parse().ok()),
            "exitonforwardfailure" => first(&mut self.exit_on_forward_failure, yes(value)),
            "globalknownhostsfile" => first(&mut self.global_known_hosts, Some(files(value))),
            "hostkeyalias" => first(&mut self.host_key_alias, Some(value.to_owned())),
            "hostname" => first(&mut self.host, Some(value.to_owned())),
            "identitiesonly" => first(&mut self.identities_only, yes(value)),
            "identityagent" => first(&mut self.agent, agent(value)),
            "identityfile" => value == "none" || push(&mut self.identities, Some(value.to_owned())),
            "localforward" => push(&mut self.local, spec(value)),
            "port" => first(&mut self.port, value.parse().ok().filter(|port| *port != 0)),
            "proxyjump" => first(&mut self.jump, Some(hops(value))),
            "remoteforward" => push(&mut self.remote, spec(value)),
            "serveralivecountmax" => first(&mut self.keepalive_count, number(value)),
            "serveraliveinterval" => first(&mut self.keepalive, value.parse().ok()),
            "streamlocalbindunlink" => first(&mut self.replace_socket, yes(value)),
            "stricthostkeychecking" => return trusting(first(&mut self.trust, trust(value))),
            "user" => first(&mut self.user, Some(value.to_owned())),
            "userknownhostsfile" => first(&mut self.known_hosts, Some(files(value))),
            _ => return Taken::Unknown,
        };
        if taken { Taken::Yes } else { Taken::Bad("") }
    }
}

/// What became of a value; of one without a meaning, what helps.
enum Taken {
    Yes,
    Bad(&'static str),
    Unknown,
}

/// Keeps the first value. False when there is none.
fn first<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let is_one = value.is_some();
    if slot.is_none() {
        *slot = value;
    }
    is_one
}

fn push<T>(list: &mut Vec<T>, value: Option<T>) -> bool {
    let before = list.len();
    list.extend(value);
    list.len() > before
}

fn yes(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn family(value: &str) -> Option<Family> {
    match value.to_ascii_lowercase().as_str() {
        "any" => Some(Family::Any),
        "inet" => Some(Family::V4),
        "inet6" => Some(Family::V6),
        _ => None,
    }
}

fn number(value: &str) -> Option<u32> {
    value.parse().ok().filter(|n| *n > 0)
}

/// A server's key is always checked, so `no` has no counterpart.
fn trust(value: &str) -> Option<Trust> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "ask" | "true" => Some(Trust::Strict),
        "accept-new" => Some(Trust::FirstUse),
        _ => None,
    }
}

fn trusting(taken: bool) -> Taken {
    match taken {
        true => Taken::Yes,
        false => Taken::Bad(
            "a server's key is always checked: name it with --host-key SHA256:…, or have it written down once with \
             -o StrictHostKeyChecking=accept-new",
        ),
    }
}

/// `none` is no agent, and `SSH_AUTH_SOCK` that which is asked anyway.
fn agent(value: &str) -> Option<String> {
    match value {
        "none" => Some(String::new()),
        "SSH_AUTH_SOCK" => std::env::var("SSH_AUTH_SOCK").ok(),
        path => Some(home(path).display().to_string()),
    }
}

fn hops(value: &str) -> Vec<String> {
    let hops = value.split(',').map(str::trim).filter(|hop| !hop.is_empty());
    if value.eq_ignore_ascii_case("none") { Vec::new() } else { hops.map(str::to_owned).collect() }
}

fn files(value: &str) -> Vec<PathBuf> {
    value.split_whitespace().map(home).collect()
}

/// `LISTEN TARGET`, as ssh_config(5) has it and as ssh prints it.
fn spec(value: &str) -> Option<PortForwardSpec> {
    let (listen, target) = value.split_once(char::is_whitespace)?;
    format!("{}:{}", bare(listen), bare(target.trim())).parse().ok()
}

/// Without the brackets that ssh puts around every host.
fn bare(place: &str) -> String {
    match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if !host.contains(':') => format!("{host}{rest}"),
        _ => place.to_owned(),
    }
}

/// A path with `~` and the tokens of ssh_config(5).
///
/// # Errors
/// `ERR_ALKNET_CONFIG` for a token that is not known.
pub(super) fn path(text: &str, server: &Server<'_>) -> Result<PathBuf> {
    let mut whole = String::new();
    let mut rest = text.chars();
    while let Some(sign) = rest.next() {
        match (sign, if sign == '%' { rest.next() } else { None }) {
            ('%', Some('%')) => whole.push('%'),
            ('%', Some('h')) => whole.push_str(server.host),
            ('%', Some('n')) => whole.push_str(server.named),
            ('%', Some('p')) => whole.push_str(&server.port.to_string()),
            ('%', Some('r')) => whole.push_str(server.user),
            ('%', Some('u')) => whole.push_str(&super::peer::login_name()),
            ('%', Some('d')) => whole.push_str(&home("~/").display().to_string()),
            ('%', _) => {
                let known = "%% %d %h %n %p %r %u are understood";
                return Err(Error::config(format!("{text}: a token is not known")).hint(known));
            }
            (sign, _) => whole.push(sign),
        }
    }
    Ok(home(&whole))
}

/// What tokens stand for.
pub(super) struct Server<'a> {
    pub(super) host: &'a str,
    pub(super) named: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
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
        let given = ["ProxyJump=a,me@b:2", "LocalForward=8080 [db]:80", "Compression=No"];
        let wishes = parse(&given).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(wishes.jump.as_deref(), Some(&["a".to_owned(), "me@b:2".to_owned()][..]));
        assert_eq!(wishes.local.len(), 1);
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for option in ["Compression=maybe", "StrictHostKeyChecking=no", "Port=99999", "Port"] {
            assert!(parse(&[option]).is_err(), "{option}");
        }
        let error = parse(&["ProxyCommand=nc %h %p"]).err();
        assert!(error.is_some_and(|e| e.help().is_some_and(|help| help.contains("--jump"))));
    }

    #[test]
    fn tokens_of_a_path_stand_for_the_server() {
        let server = Server { host: "db.example", named: "db", port: 22, user: "me" };
        let shown = |text| path(text, &server).map(|path| path.display().to_string()).ok();
        assert_eq!(shown("/k/%n_%r@%h:%p%%").as_deref(), Some("/k/db_me@db.example:22%"));
        assert_eq!(shown("/k/%C"), None);
        assert_eq!(shown("/k/%"), None);
    }
}
