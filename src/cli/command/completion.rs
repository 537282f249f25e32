//! `alknet completion`: scripts for shells, and the manual page, from the same grammar.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::cli::args::{Completion, CompletionKind};
use crate::cli::exit::Exit;
use crate::cli::grammar;
use crate::cli::report::Report;
use crate::error::{Error, Result};

pub(in crate::cli) fn completion(options: &Completion, report: &Report) -> Result<Exit> {
    let mut out = Vec::new();
    let shell = match options.kind {
        CompletionKind::Bash => Some(Shell::Bash),
        CompletionKind::Elvish => Some(Shell::Elvish),
        CompletionKind::Fish => Some(Shell::Fish),
        CompletionKind::Powershell => Some(Shell::PowerShell),
        CompletionKind::Zsh => Some(Shell::Zsh),
        CompletionKind::Man => None,
    };
    match shell {
        Some(shell) => generate(shell, &mut grammar(), "alknet", &mut out),
        None => manual(&mut out)?,
    }
    report.raw(&out);
    Ok(Exit::OK)
}

/// One page with every command, as man(1) shows it.
fn manual(out: &mut Vec<u8>) -> Result<()> {
    let mut grammar = grammar();
    grammar.build();
    clap_mangen::Man::new(grammar.clone()).render(out).map_err(unwritten)?;
    described(&grammar, "alknet", out)
}

/// The commands below one, without the options that every command has.
fn described(command: &Command, above: &str, out: &mut Vec<u8>) -> Result<()> {
    let seen = |inner: &&Command| inner.get_name() != "help" && !inner.is_hide_set();
    for inner in command.get_subcommands().filter(seen) {
        let name = format!("{above} {}", inner.get_name());
        let own = inner.clone().mut_args(|arg| {
            let everywhere =
                arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version");
            let hidden = arg.is_hide_set() || everywhere;
            arg.hide(hidden)
        });
        let page = clap_mangen::Man::new(own.display_name(&name));
        page.render_name_section(out).map_err(unwritten)?;
        page.render_synopsis_section(out).map_err(unwritten)?;
        if inner.get_arguments().any(|arg| !arg.is_global_set()) {
            page.render_options_section(out).map_err(unwritten)?;
        }
        if inner.get_after_help().is_some() {
            page.render_extra_section(out).map_err(unwritten)?;
        }
        described(inner, &name, out)?;
    }
    Ok(())
}

fn unwritten(e: std::io::Error) -> Error {
    Error::system("write", "the manual page", e)
}
