//! How help looks: which options stand together, and which of them `-h` shows. An option that has no place here stands under "Options".

use clap::{Arg, ArgAction, Command};

/// Commands that reach a server.
const CLIENTS: &[&str] = &["connect", "bus tail", "bus publish", "doctor", "forward start"];

/// Of which commands, under which heading, which options. Headings come in the order in which options are declared.
const GROUPS: &[(&[&str], &str, &[&str])] = &[
    (
        CLIENTS,
        "Server",
        &[
            "server",
            "port",
            "transport",
            "jump",
            "proxy",
            "only_v4",
            "only_v6",
            "connect_timeout",
            "keepalive",
            "ssh_config",
            "options",
        ],
    ),
    (
        CLIENTS,
        "Log-in",
        &["user", "identity", "certificate", "passphrase_file", "insecure_permissions"],
    ),
    (
        CLIENTS,
        "Trust",
        &["host_keys", "known_hosts", "trust", "tls_ca", "tls_server_name", "tls_min", "insecure"],
    ),
    (CLIENTS, "Iroh", &["peer", "iroh_address", "iroh_relay"]),
    (
        &["connect"],
        "Forwards",
        &[
            "forward",
            "remote_forward",
            "socks5",
            "no_socks5",
            "stdio",
            "udp_idle",
            "exit_on_forward_failure",
        ],
    ),
    (&["connect"], "Behaviour", &["once", "background", "ready_fd"]),
    (
        &["serve"],
        "Keys",
        &[
            "key",
            "passphrase_file",
            "insecure_permissions",
            "authorized_keys",
            "cert_authority",
            "revoked_keys",
            "host_certificate",
        ],
    ),
    (&["serve"], "Listening", &["listen", "transport", "ready_fd"]),
    (
        &["serve"],
        "TLS and WebSockets",
        &["tls_cert", "tls_key", "tls_min", "stealth", "ws_host", "ws_origin"],
    ),
    (
        &["serve"],
        "Certificates by ACME",
        &["acme_domain", "acme_directory", "acme_ca", "acme_cache", "acme_contact"],
    ),
    (&["serve"], "Iroh", &["iroh_key", "iroh_relay", "tls_ca"]),
    (&["serve"], "Limits", &["max_auth_attempts", "max_connections_per_ip"]),
];

/// What `-h` shows of commands with many options.
const USUAL: &[(&[&str], &[&str])] = &[
    (
        &["connect"],
        &[
            "port",
            "transport",
            "jump",
            "ssh_config",
            "options",
            "user",
            "identity",
            "host_keys",
            "trust",
            "forward",
            "remote_forward",
            "socks5",
            "no_socks5",
            "stdio",
            "once",
            "background",
        ],
    ),
    (
        &["serve"],
        &[
            "key",
            "authorized_keys",
            "listen",
            "transport",
            "no_forwarding",
            "allow_remote_forward",
            "public_only",
            "bus",
        ],
    ),
    (
        &["bus tail", "bus publish", "doctor", "forward start"],
        &[
            "port",
            "transport",
            "jump",
            "user",
            "identity",
            "host_keys",
            "trust",
            "listen_port",
            "listen_host",
            "target_port",
            "target_host",
            "name",
            "replace",
            "install",
            "format",
            "count",
            "once",
            "id",
        ],
    ),
];

/// The grammar with its options in groups, help and version among them.
pub(in crate::cli) fn laid_out(grammar: Command) -> Command {
    each(grammar, "", &|command, path| {
        let command = command
            .disable_help_flag(true)
            .disable_version_flag(true)
            .arg(flag("help", 'h', ArgAction::Help).help(help(path)))
            .arg(flag("version", 'V', ArgAction::Version).help("Print the version"));
        command.mut_args(|arg| {
            let heading = GROUPS.iter().find(|(commands, _, options)| {
                commands.contains(&path) && options.contains(&arg.get_id().as_str())
            });
            let arg = arg.hide_env_values(true);
            match heading {
                Some((_, heading, _)) => arg.help_heading(*heading),
                None => arg,
            }
        })
    })
}

/// What `-h` shows beside that of what every command has.
const USUAL_ANYWHERE: &[&str] = &["json", "verbose", "quiet", "log_file"];

/// The grammar as `-h` of the command `asked` for tells of it: of one with many options those that are used most, and no variables.
pub(in crate::cli) fn summarised(grammar: Command, asked: &str) -> Command {
    let Some(usual) = usual(asked) else { return each(grammar, "", &|command, _| plain(command)) };
    let grammar = grammar.mut_args(|arg| {
        let hidden = !USUAL_ANYWHERE.contains(&arg.get_id().as_str());
        arg.hide(hidden)
    });
    each(grammar, "", &|command, path| {
        let command = plain(command);
        if path != asked {
            return command;
        }
        let note = format!("These are the options used most: alknet {path} --help shows all.");
        let examples = command.get_after_help().map(|text| format!("{text}\n\n"));
        let command = command.mut_args(|arg| {
            let shown = arg.is_positional()
                || arg.get_id() == "help"
                || usual.contains(&arg.get_id().as_str());
            let hidden = arg.is_hide_set() || !shown;
            arg.hide(hidden)
        });
        command.after_help(examples.unwrap_or_default() + &note)
    })
}

fn plain(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env(true))
}

/// The command that these words are about, as words after the program's name.
pub(in crate::cli) fn asked(grammar: &Command, words: &[std::ffi::OsString]) -> String {
    let (mut command, mut path) = (grammar, Vec::new());
    for word in words.iter().skip(1) {
        if let Some(inner) = command.find_subcommand(word) {
            path.push(inner.get_name());
            command = inner;
        }
    }
    path.join(" ")
}

/// Whether these words, which asked for help, asked for a summary.
pub(in crate::cli) fn is_summary(words: &[std::ffi::OsString]) -> bool {
    !words.iter().any(|word| word == "--help") && words.get(1).is_none_or(|word| word != "help")
}

fn help(path: &str) -> &'static str {
    match usual(path) {
        Some(_) => "Print help: -h the options used most, --help all",
        None => "Print help",
    }
}

fn usual(path: &str) -> Option<&'static [&'static str]> {
    USUAL.iter().find(|(commands, _)| commands.contains(&path)).map(|(_, options)| *options)
}

fn flag(name: &'static str, short: char, action: ArgAction) -> Arg {
    Arg::new(name).short(short).long(name).action(action).help_heading("General")
}

/// Changes a command and those below it, each told by its words after the program's name.
fn each(command: Command, path: &str, change: &impl Fn(Command, &str) -> Command) -> Command {
    let command = command.mut_subcommands(|inner| {
        let name = inner.get_name();
        let path = if path.is_empty() { name.to_owned() } else { format!("{path} {name}") };
        each(inner, &path, change)
    });
    change(command, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::built;

    fn command<'a>(grammar: &'a Command, path: &str) -> &'a Command {
        path.split(' ').fold(grammar, |inner, name| {
            inner.find_subcommand(name).expect("a command of the table")
        })
    }

    #[test]
    fn every_option_of_a_command_in_groups_has_its_place_and_every_name_is_an_option() {
        let grammar = built();
        for path in ["connect", "serve", "doctor"] {
            for arg in command(&grammar, path).get_arguments() {
                let placed = arg.is_hide_set() || arg.is_positional();
                assert!(placed || arg.get_help_heading().is_some(), "{path}: {}", arg.get_id());
            }
        }
        let every = |paths: &[&str], options: &[&str]| {
            for option in options {
                let known = paths.iter().any(|path| {
                    command(&grammar, path).get_arguments().any(|arg| arg.get_id() == option)
                });
                assert!(known, "{option} is no option of {paths:?}");
            }
        };
        GROUPS.iter().for_each(|(paths, _, options)| every(paths, options));
        USUAL.iter().for_each(|(paths, options)| every(paths, options));
    }

    #[test]
    fn what_h_shows_is_at_most_two_thirds_of_what_help_shows() {
        for (path, _) in USUAL.iter().flat_map(|(paths, of)| paths.iter().map(move |p| (p, of))) {
            let lines = |grammar: Command| {
                let mut grammar = grammar.term_width(80);
                grammar.build();
                command(&grammar, path).clone().render_help().to_string().lines().count()
            };
            let (all, few) =
                (lines(crate::cli::grammar()), lines(summarised(crate::cli::grammar(), path)));
            assert!(few * 3 <= all * 2, "{path}: {few} of {all}");
        }
    }
}
