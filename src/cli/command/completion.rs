//! `alknet completion`: scripts for shells, and the manual page, from the same grammar.

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
    let failed = |e| Error::system("write", "the manual page", e);
    let mut grammar = grammar();
    grammar.build();
    clap_mangen::Man::new(grammar.clone()).render(out).map_err(failed)?;
    for command in grammar.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("alknet {}", command.get_name());
        let page = clap_mangen::Man::new(command.clone().display_name(name));
        page.render_name_section(out).map_err(failed)?;
        page.render_synopsis_section(out).map_err(failed)?;
        page.render_options_section(out).map_err(failed)?;
    }
    Ok(())
}
