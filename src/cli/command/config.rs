//! `alknet config`: what options come to, and what a file may say.

use clap::parser::ValueSource;
use clap::{Command, CommandFactory};
use serde_json::{Map, Value, json};

use crate::cli::args::{Arguments, Config, ConfigAction, ConfigShow};
use crate::cli::config::{Layers, meant, schema};
use crate::cli::exit::Exit;
use crate::cli::given::key;
use crate::cli::parse::built;
use crate::cli::report::Report;
use crate::error::{Error, Result};

pub(in crate::cli) fn config(options: &Config, layers: &Layers, report: &Report) -> Result<Exit> {
    match &options.action {
        ConfigAction::Show(show) => shown(show, layers, report)?,
        ConfigAction::Schema => {
            let text = serde_json::to_string_pretty(&schema(&built())).unwrap_or_default();
            report.raw(format!("{text}\n").as_bytes());
        }
    }
    Ok(Exit::OK)
}

fn shown(options: &ConfigShow, layers: &Layers, report: &Report) -> Result<()> {
    let mut paths = Vec::new();
    leaves(&built(), &mut Vec::new(), &mut paths);
    if !options.command.is_empty() {
        let known: Vec<String> = paths.iter().map(|path| path.join(" ")).collect();
        paths.retain(|path| path.starts_with(&options.command));
        if paths.is_empty() {
            let asked = options.command.join(" ");
            let error = Error::config(format!("there is no command {asked:?}"));
            return Err(match meant(&asked, &known) {
                Some(name) => error.hint(format!("did you mean {name:?}?")),
                None => error,
            });
        }
    }
    let (mut all, mut text) = (Map::new(), Vec::new());
    for path in paths {
        let settings = settings(&path, layers)?;
        text.push(format!("[{}]", path.join(".")));
        let mut told = Map::new();
        for Setting { key, value, origin } in settings {
            let comment = if options.origin { format!("  # {origin}") } else { String::new() };
            text.push(format!("{key} = {value}{comment}"));
            told.insert(key, json!({ "value": value, "origin": origin }));
        }
        text.push(String::new());
        all.insert(path.join(" "), Value::Object(told));
    }
    report.result(&Value::Object(all), text.join("\n").trim_end());
    Ok(())
}

/// Commands that run, with options.
fn leaves(command: &Command, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    let mut is_leaf = true;
    for inner in command.get_subcommands() {
        if inner.is_hide_set() || inner.get_name() == "help" {
            continue;
        }
        is_leaf = false;
        path.push(inner.get_name().to_owned());
        leaves(inner, path, into);
        path.pop();
    }
    if is_leaf {
        into.push(path.clone());
    }
}

struct Setting {
    key: String,
    /// As TOML and JSON both have it.
    value: Value,
    origin: String,
}

fn settings(path: &[String], layers: &Layers) -> Result<Vec<Setting>> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let (grammar, origins) = layers.apply(Arguments::command(), &names, None)?;
    let mut grammar = grammar.ignore_errors(true);
    let mut words = vec!["alknet"];
    words.extend(&names);
    let bad = |e: clap::Error| Error::config(e.render().to_string().trim().to_owned());
    let matches = grammar.try_get_matches_from_mut(words).map_err(bad)?;
    let (mut command, mut found) = (&grammar, &matches);
    for name in &names {
        let (Some(inner), Some((_, matches))) = (command.find_subcommand(name), found.subcommand())
        else {
            return Ok(Vec::new());
        };
        (command, found) = (inner, matches);
    }
    let mut settings = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let Some(key) = key(arg).filter(|key| !key.starts_with('-')) else { continue };
        let (Ok(Some(raw)), Some(source)) = (found.try_get_raw(id), found.value_source(id)) else {
            continue;
        };
        let values: Vec<String> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
        let value = match values.as_slice() {
            // It may have a password in it.
            _ if arg.is_hide_env_values_set() => "(not shown)".into(),
            [one] if !matches!(arg.get_action(), clap::ArgAction::Append) => plain(one),
            values => json!(values),
        };
        let origin = match (source, origins.get(&key), arg.get_env()) {
            (ValueSource::EnvVariable, _, Some(name)) => name.to_string_lossy().into_owned(),
            (_, Some(origin), _) => format!("{}: {}", origin.path.display(), origin.key),
            _ => "built-in".to_owned(),
        };
        settings.push(Setting { key, value, origin });
    }
    Ok(settings)
}

/// Numbers and truths as such.
fn plain(text: &str) -> Value {
    match (text, text.parse::<u64>()) {
        ("true", _) => true.into(),
        ("false", _) => false.into(),
        (_, Ok(number)) => number.into(),
        _ => text.into(),
    }
}
