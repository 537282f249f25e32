//! Options that fingers know from ssh(1): those that change nothing here are taken, the others refused with what helps.

use clap::Args;

use crate::error::{Error, Result};

/// See the module. None is in the help.
#[derive(Args)]
pub(in crate::cli) struct Reflexes {
    #[arg(short = 'N', hide = true)]
    _no_command: bool,
    #[arg(short = 'n', hide = true)]
    _no_stdin: bool,
    #[arg(short = 'T', hide = true)]
    _no_terminal: bool,
    #[arg(short = 'a', hide = true)]
    _no_agent_forwarding: bool,
    #[arg(short = 'x', hide = true)]
    _no_x11: bool,
    #[arg(short = 'k', hide = true)]
    _no_gssapi_delegation: bool,
    #[arg(short = 'e', hide = true, value_name = "CHAR")]
    _escape: Option<String>,
    #[arg(short = 'A', hide = true)]
    agent_forwarding: bool,
    #[arg(short = 'X', hide = true)]
    x11: bool,
    #[arg(short = 'Y', hide = true)]
    trusted_x11: bool,
    #[arg(short = 't', hide = true, action = clap::ArgAction::Count)]
    terminal: u8,
    #[arg(short = 'C', hide = true)]
    compression: bool,
    /// Go to the background once everything listens
    #[arg(short = 'f')]
    background: bool,
    #[arg(short = 'g', hide = true)]
    gateway: bool,
    #[arg(short = 'M', hide = true)]
    master: bool,
    #[arg(short = 'b', hide = true, value_name = "ADDRESS")]
    bind: Option<String>,
    #[arg(short = 'S', hide = true, value_name = "PATH")]
    control: Option<String>,
    #[arg(short = 'O', hide = true, value_name = "COMMAND")]
    control_command: Option<String>,
    #[arg(short = 'B', hide = true, value_name = "INTERFACE")]
    bind_interface: Option<String>,
    #[arg(short = 'G', hide = true)]
    print_config: bool,
    #[arg(short = 'I', hide = true, value_name = "PKCS11")]
    pkcs11: Option<String>,
    #[arg(short = 'K', hide = true)]
    gssapi: bool,
    #[arg(short = 'P', id = "ssh_tag", hide = true, value_name = "TAG")]
    tag: Option<String>,
    #[arg(short = 'Q', hide = true, value_name = "WHAT")]
    query: Option<String>,
    #[arg(short = 's', hide = true)]
    subsystem: bool,
    #[arg(short = 'w', hide = true, value_name = "TUN")]
    tunnel_device: Option<String>,
    #[arg(short = 'y', hide = true)]
    syslog: bool,
    #[arg(short = 'c', hide = true, value_name = "CIPHERS")]
    ciphers: Option<String>,
    #[arg(short = 'm', hide = true, value_name = "MACS")]
    macs: Option<String>,
    /// Words after the server, which ssh would run there.
    #[arg(hide = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Reflexes {
    /// Whether it goes to the background.
    pub(in crate::cli) fn background(&self) -> bool {
        self.background
    }

    /// Refuses what has no meaning here, and says what has.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(in crate::cli) fn check(&self) -> Result<()> {
        if self.compression {
            uncompressed();
        }
        let wished = self.switches().into_iter().chain(self.values());
        match wished.into_iter().find(|(given, ..)| *given) {
            None => Ok(()),
            Some((_, name, help)) => {
                Err(Error::config(format!("{name}: that has no meaning here")).hint(help))
            }
        }
    }

    fn switches(&self) -> Vec<Reflex> {
        vec![
            (self.agent_forwarding, "-A", NOTHING_RUNS),
            (self.x11, "-X", NOTHING_RUNS),
            (self.trusted_x11, "-Y", NOTHING_RUNS),
            (self.terminal > 0, "-t", NOTHING_RUNS),
            (self.subsystem, "-s", NOTHING_RUNS),
            #[cfg(not(unix))]
            (self.background, "-f", "run it under a service manager"),
            (self.gateway, "-g", "give the forward a bind address: -L '*:PORT:HOST:PORT'"),
            (self.gssapi, "-K", "log-in is by key or certificate"),
            (self.master, "-M", SHARED),
            (self.print_config, "-G", "alknet config show tells what options come to"),
            (self.syslog, "-y", "the log goes to standard error, or to --log-file PATH"),
        ]
    }

    fn values(&self) -> Vec<Reflex> {
        let address = "the system chooses the address that a connection comes from";
        vec![
            (!self.command.is_empty(), "a command", NOTHING_RUNS),
            (self.control.is_some(), "-S", SHARED),
            (self.control_command.is_some(), "-O", SHARED),
            (self.bind.is_some(), "-b", address),
            (self.bind_interface.is_some(), "-B", address),
            (self.pkcs11.is_some(), "-I", "give the token to an ssh-agent: ssh-add -s PKCS11"),
            (self.tag.is_some(), "-P", "-F FILE takes what an ssh_config says of a host"),
            (self.query.is_some(), "-Q", "docs/defaults.md names the algorithms"),
            (
                self.tunnel_device.is_some(),
                "-w",
                "ports are forwarded, and no packets: see -D and -L",
            ),
            (self.ciphers.is_some(), "-c", "the fastest good cipher that both ends know is chosen"),
            (self.macs.is_some(), "-m", "ciphers here authenticate by themselves"),
        ]
    }
}

/// Says that a wish for compression is none here. As ssh does where the server has none, it goes on without.
pub(in crate::cli) fn uncompressed() {
    tracing::warn!("streams are not compressed");
}

/// Whether it was given, its name, and what helps.
type Reflex = (bool, &'static str, &'static str);

const NOTHING_RUNS: &str = "no commands are run, so there is nothing to have it; \
    use ssh with ProxyCommand='alknet connect -W %h:%p …'";

const SHARED: &str = "every forward of one connect shares its session already";
