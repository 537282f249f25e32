//! Options of ssh_config(5) that say nothing new here, or cannot be had: and what helps then.

use crate::error::{Error, Result};

/// Those that are understood.
const KNOWN: [&str; 23] = [
    "AddressFamily",
    "BatchMode",
    "CertificateFile",
    "Compression",
    "ConnectTimeout",
    "DynamicForward",
    "ExitOnForwardFailure",
    "GlobalKnownHostsFile",
    "HostKeyAlias",
    "HostName",
    "IdentitiesOnly",
    "IdentityAgent",
    "IdentityFile",
    "LocalForward",
    "Port",
    "ProxyJump",
    "RemoteForward",
    "ServerAliveCountMax",
    "ServerAliveInterval",
    "StrictHostKeyChecking",
    "User",
    "UserKnownHostsFile",
    "StreamLocalBindUnlink",
];

/// What is so whatever is wished: these say nothing new.
const SO_ANYWAY: [(&str, &[&str]); 24] = [
    ("addkeystoagent", &["no"]),
    ("canonicalizehostname", &["no"]),
    ("challengeresponseauthentication", &["no"]),
    ("checkhostip", &["no"]),
    ("clearallforwardings", &["no"]),
    ("compression", &["no"]),
    ("controlmaster", &["no"]),
    ("controlpath", &["none"]),
    ("controlpersist", &["no"]),
    ("forwardagent", &["no"]),
    ("forwardx11", &["no"]),
    ("gatewayports", &["no"]),
    ("gssapiauthentication", &["no"]),
    ("hashknownhosts", &["yes"]),
    ("hostbasedauthentication", &["no"]),
    ("kbdinteractiveauthentication", &["no"]),
    ("passwordauthentication", &["no"]),
    ("permitlocalcommand", &["no"]),
    ("preferredauthentications", &["publickey"]),
    ("proxycommand", &["none"]),
    ("pubkeyauthentication", &["yes"]),
    ("requesttty", &["no", "auto"]),
    ("sessiontype", &["none"]),
    ("updatehostkeys", &["no"]),
];

/// What cannot be had here, and what can instead. In a file it is an error, too: without it, bytes would go another way than it says, or to
/// whom it forbids.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "proxycommand",
        "--jump goes through servers and --proxy through proxies; and connect -W is a ProxyCommand itself",
    ),
    ("revokedhostkeys", "mark them @revoked in a known_hosts file"),
];

/// What helps who wished for one of these on the command line.
const HELP: [(&str, &str); 10] = [
    ("bindaddress", "the system chooses the address that a connection comes from"),
    ("ciphers", "the fastest good cipher that both ends know is chosen"),
    ("controlmaster", SHARED),
    ("controlpath", SHARED),
    ("controlpersist", SHARED),
    (
        "forwardagent",
        "an agent is asked here and never offered to a server; --jump goes through servers",
    ),
    ("gatewayports", "give the forward a bind address: -L '*:PORT:HOST:PORT'"),
    ("loglevel", "see -q, -v and --log-level"),
    ("tcpkeepalive", "ServerAliveInterval asks the server itself"),
    ("tunnel", "ports are forwarded, and no packets: see -D and -L"),
];

const SHARED: &str = "every forward of one connect shares its session already";

/// Whether that is so without being wished for.
pub(super) fn is_so_anyway(name: &str, value: &str) -> bool {
    let (_, values) = match SO_ANYWAY.iter().find(|(known, _)| *known == name) {
        Some(known) => known,
        None => return false,
    };
    values.iter().any(|so| so.eq_ignore_ascii_case(value))
}

/// # Errors
/// `ERR_ALKNET_CONFIG` for a keyword of a file without which bytes would go another way than it says.
pub(super) fn must_not_be_ignored(keyword: &str) -> Result<()> {
    match ELSEWHERE.iter().find(|(name, _)| *name == keyword) {
        None => Ok(()),
        Some((name, help)) => {
            let message = format!("the ssh_config has {name} for this server");
            Err(Error::config(message).hint(*help))
        }
    }
}

/// The refusal of an option that means nothing here.
pub(super) fn unknown(option: &str, name: &str) -> Error {
    let message = format!("-o {option}: that option has no meaning here");
    match ELSEWHERE.iter().chain(&HELP).find(|(known, _)| *known == name) {
        Some((_, help)) => Error::config(message).hint(*help),
        None => Error::config(message).hint(format!("these have: {}", KNOWN.join(", "))),
    }
}
