//! What was said of a command's options, apart from what is built in: by their long names, so that it can be kept and said again.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::config::Origin;

/// Values by long name; an option that has only a short one by that, with its dash.
pub(super) type Given = BTreeMap<String, Vec<String>>;

/// What was given to the command that `matches` chose; `origins` says which defaults are a file's.
pub(super) fn given(
    grammar: &Command,
    matches: &ArgMatches,
    origins: &BTreeMap<String, Origin>,
) -> Given {
    let (mut command, mut matches) = (grammar, matches);
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        (command, matches) = (found, inner);
    }
    let given = |arg| {
        let key = key(arg)?;
        let from_file = origins.contains_key(&key);
        Some((key, values(arg, matches, from_file)?))
    };
    command.get_arguments().filter_map(given).collect()
}

/// The words that say `given` again to the command of these words.
pub(super) fn words(grammar: &Command, path: &[&str], given: &Given) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["alknet".into()];
    let mut command = grammar;
    for name in path {
        words.push(name.into());
        let Some(found) = command.find_subcommand(name) else { return words };
        command = found;
    }
    for (key, values) in given {
        let arg = command.get_arguments().find(|arg| self::key(arg).as_ref() == Some(key));
        let takes_none = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue));
        for value in values {
            match (takes_none, key.starts_with('-')) {
                (true, _) => words.extend((value == "true").then(|| format!("--{key}").into())),
                (false, true) => words.extend([key.into(), value.into()]),
                (false, false) => words.push(format!("--{key}={value}").into()),
            }
        }
    }
    words
}

/// What an option is called in files and states.
pub(super) fn key(arg: &Arg) -> Option<String> {
    let short = || arg.get_short().map(|short| format!("-{short}"));
    arg.get_long().map(str::to_owned).or_else(short)
}

fn values(arg: &Arg, matches: &ArgMatches, from_file: bool) -> Option<Vec<String>> {
    let id = arg.get_id().as_str();
    let source = matches.try_get_raw(id).ok().flatten().and(matches.value_source(id))?;
    if source == ValueSource::DefaultValue && !from_file {
        return None;
    }
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Some(vec![matches.get_flag(id).to_string()]);
    }
    if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        return None;
    }
    let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let text = |value: &OsStr| match std::path::absolute(Path::new(value)) {
        Ok(path) if is_path => path.to_string_lossy().into_owned(),
        _ => value.to_string_lossy().into_owned(),
    };
    Some(matches.get_raw(id)?.map(text).collect())
}
