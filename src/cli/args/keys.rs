//! `alknet keygen`, `fingerprint`, `doctor` and `completion`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Peer;

/// How a private key is read, for every command that has one.
#[derive(Args, Default)]
pub(in crate::cli) struct KeyFiles {
    /// A file with the key's passphrase [default: asked for on the terminal]
    #[arg(long, value_name = "PATH", env = "ALKNET_PASSPHRASE_FILE")]
    pub(in crate::cli) passphrase_file: Option<PathBuf>,
    /// Take key files whatever their owner and mode, as containers need it
    #[arg(long, env = "ALKNET_INSECURE_PERMISSIONS")]
    pub(in crate::cli) insecure_permissions: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Keygen {
    /// Where the private key goes; the public one goes beside it, with .pub
    pub(in crate::cli) path: PathBuf,
    /// A word about the key, in the .pub file [default: user@host]
    #[arg(short = 'C', long)]
    pub(in crate::cli) comment: Option<String>,
    /// Replace a key that is there
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Fingerprint {
    /// A key file (private, public, authorized_keys), or HOST:PORT of a server
    #[arg(value_name = "PATH|HOST:PORT")]
    pub(in crate::cli) what: String,
}

#[derive(Args)]
pub(in crate::cli) struct Doctor {
    #[command(flatten)]
    pub(in crate::cli) peer: Peer,
}

#[derive(Args)]
pub(in crate::cli) struct Completion {
    /// What to print
    #[arg(value_enum)]
    pub(in crate::cli) kind: CompletionKind,
}

#[derive(Clone, Copy, ValueEnum)]
pub(in crate::cli) enum CompletionKind {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
    Man,
}
