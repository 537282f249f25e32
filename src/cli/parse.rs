//! From words to what a command is told: the grammar, with what configuration files say in the place of built-in defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, FromArgMatches};

use super::args::{Arguments, asked, is_summary, summarised};
use super::config::{Layers, Origin, Unit};
use super::given::{Given, given};
use super::grammar;
use crate::error::{Error, Result};

/// A command line that was understood.
pub(super) struct Parsed {
    pub(super) arguments: Arguments,
    /// What was said of the command's options, wherever.
    pub(super) given: Given,
    pub(super) layers: Layers,
    /// The file that `--config` named.
    pub(super) named: Option<PathBuf>,
    /// The command line, its first word the program's name; none for a unit of `alknet up`.
    pub(super) words: Vec<OsString>,
}

/// Why a command line was not understood: for `--help` too, which is no mistake.
pub(super) enum Refusal {
    Usage(clap::Error),
    Config(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Config(error)
    }
}

/// Understands a command line.
pub(super) fn parse(words: &[OsString]) -> std::result::Result<Parsed, Refusal> {
    let (path, named) = intent(words);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    // A worker was told everything by who started it.
    let layers = match path.as_slice() {
        ["forward", "worker"] => Layers::default(),
        _ => Layers::read(named.as_deref(), &built())?,
    };
    let (grammar, origins) = layers.apply(grammar(), &path, None)?;
    let (arguments, given) = understood(grammar.clone(), words, &origins)
        .map_err(|refusal| told(refusal, grammar, words))?;
    Ok(Parsed { arguments, given, layers, named, words: words.to_vec() })
}

/// What is told of words that were no command: the short help where `-h` asked for it, and no advice that helps nobody.
fn told(refusal: Refusal, grammar: Command, words: &[OsString]) -> Refusal {
    let Refusal::Usage(mut error) = refusal else { return refusal };
    match error.kind() {
        ErrorKind::DisplayHelp if is_summary(words) => {
            let asked = asked(&grammar, words);
            let short = summarised(grammar, &asked).try_get_matches_from(words);
            error = short.err().unwrap_or(error);
        }
        // To take a misspelt option for a value, which no command has a use for.
        ErrorKind::UnknownArgument => drop(error.remove(ContextKind::Suggested)),
        _ => {}
    }
    Refusal::Usage(error)
}

/// What a unit of `alknet up` is told.
///
/// # Errors
/// `ERR_ALKNET_CONFIG`.
pub(super) fn parse_unit(layers: &Layers, unit: &Unit) -> Result<(Arguments, Given)> {
    let (grammar, origins) = layers.apply(grammar(), unit.words(), Some(unit))?;
    let mut words: Vec<OsString> = vec!["alknet".into()];
    words.extend(unit.words().iter().map(OsString::from));
    understood(grammar, &words, &origins).map_err(|refusal| match refusal {
        Refusal::Config(error) => error,
        Refusal::Usage(error) => Error::config(error.render().to_string().trim().to_owned()),
    })
}

/// The whole grammar, with what clap adds to it by itself.
pub(super) fn built() -> Command {
    let mut grammar = grammar();
    grammar.build();
    grammar
}

/// Which command is meant, and which file is named: read leniently, before the file can say anything.
fn intent(words: &[OsString]) -> (Vec<String>, Option<PathBuf>) {
    let Ok(matches) = grammar().ignore_errors(true).try_get_matches_from(words) else {
        return (Vec::new(), None);
    };
    let mut path = Vec::new();
    let (mut inner, mut named) = (&matches, None);
    loop {
        named = inner.try_get_one::<PathBuf>("config").ok().flatten().cloned().or(named);
        let Some((name, next)) = inner.subcommand() else { return (path, named) };
        path.push(name.to_owned());
        inner = next;
    }
}

fn understood(
    mut grammar: Command,
    words: &[OsString],
    origins: &BTreeMap<String, Origin>,
) -> std::result::Result<(Arguments, Given), Refusal> {
    let matches: ArgMatches = match grammar.clone().try_get_matches_from(words) {
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let mut all = words.to_vec();
            all.extend(missing(&error, origins));
            grammar.try_get_matches_from_mut(all)
        }
        // Once more, so that the grammar is the one that was built for them.
        _ => grammar.try_get_matches_from_mut(words),
    }
    .map_err(|e| blamed(e, origins))?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(Refusal::Usage)?;
    Ok((arguments, given(&grammar, &matches, origins)))
}

/// What files say of options that have to be said: clap takes no default for that.
fn missing(error: &clap::Error, origins: &BTreeMap<String, Origin>) -> Vec<OsString> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
        return Vec::new();
    };
    let mut words = Vec::new();
    for arg in missing {
        let name = arg.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
        let values = origins.get(name).map(|origin| origin.values.as_slice()).unwrap_or_default();
        words.extend(values.iter().map(|value| OsString::from(format!("--{name}={value}"))));
    }
    words
}

/// A value that a file gave is that file's mistake.
fn blamed(error: clap::Error, origins: &BTreeMap<String, Origin>) -> Refusal {
    let (Some(ContextValue::String(arg)), Some(ContextValue::String(value))) =
        (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return Refusal::Usage(error);
    };
    let name = arg.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
    match origins.get(name) {
        Some(Origin { path, key, .. }) => {
            let path = path.display();
            Refusal::Config(Error::config(format!("{path}: {key} = {value:?} cannot be: {error}")))
        }
        None => Refusal::Usage(error),
    }
}
