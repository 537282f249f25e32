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
    #[arg(short = '4', hide = true)]
    only_v4: bool,
    #[arg(short = '6', hide = true)]
    only_v6: bool,
    #[arg(short = 'A', hide = true)]
    agent_forwarding: bool,
    #[arg(short = 'X', hide = true)]
    x11: bool,
    #[arg(short = 'Y', hide = true)]
    trusted_x11: bool,
    #[arg(short = 't', hide = true)]
    terminal: bool,
    #[arg(short = 'C', hide = true)]
    compression: bool,
    #[arg(short = 'f', hide = true)]
    background: bool,
    #[arg(short = 'g', hide = true)]
    gateway: bool,
    #[arg(short = 'M', hide = true)]
    master: bool,
    #[arg(short = 'b', hide = true, value_name = "ADDRESS")]
    bind: Option<String>,
    #[arg(short = 'E', hide = true, value_name = "PATH")]
    log: Option<String>,
    #[arg(short = 'F', id = "ssh_config", hide = true, value_name = "PATH")]
    config: Option<String>,
    #[arg(short = 'J', hide = true, value_name = "HOST")]
    jump: Option<String>,
    #[arg(short = 'S', hide = true, value_name = "PATH")]
    control: Option<String>,
    #[arg(short = 'c', hide = true, value_name = "CIPHERS")]
    ciphers: Option<String>,
    #[arg(short = 'm', hide = true, value_name = "MACS")]
    macs: Option<String>,
    /// Words after the server, which ssh would run there.
    #[arg(hide = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Reflexes {
    /// Refuses what has no meaning here, and says what has.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG`.
    pub(in crate::cli) fn check(&self) -> Result<()> {
        let family = "name the server by an address of that family";
        let nothing_runs = "no commands are run, so there is nothing to have it; \
            use ssh with ProxyCommand='alknet connect -W %h:%p …'";
        let table = [
            (self.only_v4, "-4", family),
            (self.only_v6, "-6", family),
            (self.agent_forwarding, "-A", nothing_runs),
            (self.x11, "-X", nothing_runs),
            (self.trusted_x11, "-Y", nothing_runs),
            (self.terminal, "-t", nothing_runs),
            (!self.command.is_empty(), "a command", nothing_runs),
            (self.compression, "-C", "streams are not compressed"),
            (self.background, "-f", "see alknet forward start, or run it under a service manager"),
            (self.gateway, "-g", "give the forward a bind address: -L '*:PORT:HOST:PORT'"),
            (self.master, "-M", "every forward of one connect shares its session already"),
            (
                self.control.is_some(),
                "-S",
                "every forward of one connect shares its session already",
            ),
            (
                self.bind.is_some(),
                "-b",
                "the system chooses the address that a connection comes from",
            ),
            (self.log.is_some(), "-E", "the log goes to --log-file PATH"),
            (
                self.config.is_some(),
                "-F",
                "ssh_config is not read; -o NAME=VALUE takes what has a meaning",
            ),
            (
                self.jump.is_some(),
                "-J",
                "forward to the far server first, connect jump -L 2222:far:22, and connect to localhost:2222",
            ),
            (self.ciphers.is_some(), "-c", "the fastest good cipher that both ends know is chosen"),
            (self.macs.is_some(), "-m", "ciphers here authenticate by themselves"),
        ];
        match table.into_iter().find(|(given, ..)| *given) {
            None => Ok(()),
            Some((_, name, help)) => {
                Err(Error::config(format!("{name}: that has no meaning here")).hint(help))
            }
        }
    }
}
