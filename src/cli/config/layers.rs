//! Reading configuration files, and what an option is in them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use toml::{Table, Value};

use super::{ABOUT, RUNNABLE, commands, options, runs};
use crate::cli::given::key;
use crate::error::{Error, Phase, Result};

/// Longest configuration file.
const LONGEST: u64 = 1024 * 1024;

/// Configuration files, the strongest first.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Layers {
    files: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    path: PathBuf,
    table: Table,
}

/// Where in which file a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Origin {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) key: String,
    /// What it says there, as the words of a command line would.
    pub(in crate::cli) values: Vec<String>,
}

/// Something that `alknet up` runs.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Unit {
    /// One of [`RUNNABLE`].
    pub(in crate::cli) command: String,
    /// Where its values stand first.
    place: Vec<String>,
}

impl Unit {
    /// The words of its command.
    pub(in crate::cli) fn words(&self) -> &'static [&'static str] {
        runs(&self.command).unwrap_or_default()
    }
}

impl Layers {
    /// Reads the file that was named, and the user's own where there is one.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what is no TOML or says what no option is called; the named file's own failure.
    pub(in crate::cli) fn read(named: Option<&Path>, grammar: &Command) -> Result<Self> {
        let mut files = Vec::new();
        if let Some(path) = named {
            let text = text(path)?.ok_or_else(|| {
                let missing = std::io::ErrorKind::NotFound.into();
                Error::system("open", &path.display().to_string(), missing).at(Phase::Config)
            })?;
            files.push(parsed(path, &text, grammar)?);
        }
        if let Some(path) = user_file()
            && let Some(text) = text(&path)?
        {
            files.push(parsed(&path, &text, grammar)?);
        }
        Ok(Self { files })
    }

    /// Gives every option of the command at `path` what the files say, in the place of its built-in default. A unit's own table comes
    /// first. Returns where what was found, by key.
    ///
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for a value of the wrong kind.
    pub(in crate::cli) fn apply(
        &self,
        grammar: Command,
        path: &[&str],
        unit: Option<&Unit>,
    ) -> Result<(Command, BTreeMap<String, Origin>)> {
        let mut places: Vec<Vec<String>> = unit.iter().map(|unit| unit.place.clone()).collect();
        for depth in (0..=path.len()).rev() {
            places.push(path[..depth].iter().map(|name| (*name).to_owned()).collect());
        }
        let mut origins = BTreeMap::new();
        let grammar = self.applied(grammar, path, &places, &mut origins)?;
        Ok((grammar, origins))
    }

    fn applied(
        &self,
        mut command: Command,
        path: &[&str],
        places: &[Vec<String>],
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<Command> {
        let mut found = Vec::new();
        for arg in options(&command) {
            let Some(key) = key(arg).filter(|_| !picks(&command, arg)) else { continue };
            if let Some((mut origin, value)) = self.find(&key, places) {
                let many = matches!(arg.get_action(), ArgAction::Append);
                origin.values = texts(value, many, &origin)?;
                found.push((arg.get_id().clone(), origin.values.clone()));
                origins.insert(key, origin);
            }
        }
        for (id, texts) in found {
            command = command.mut_arg(id, |arg| {
                arg.required(false).default_values(texts.into_iter().map(OsString::from))
            });
        }
        let Some((first, rest)) = path.split_first() else { return Ok(command) };
        let mut failure = None;
        let command = command.mut_subcommand(*first, |inner| {
            let name = inner.get_name().to_owned();
            self.applied(inner, rest, places, origins).unwrap_or_else(|e| {
                failure = Some(e);
                Command::new(name)
            })
        });
        failure.map_or(Ok(command), Err)
    }

    fn find(&self, key: &str, places: &[Vec<String>]) -> Option<(Origin, &Value)> {
        for layer in &self.files {
            for place in places {
                let mut table = Some(&layer.table);
                for name in place {
                    table = table.and_then(|table| table.get(name)).and_then(Value::as_table);
                }
                let value = table.and_then(|table| table.get(key));
                if let Some(value) = value.filter(|value| !value.is_table()) {
                    let mut whole = place.clone();
                    whole.push(key.to_owned());
                    let (path, key) = (layer.path.clone(), whole.join("."));
                    return Some((Origin { path, key, values: Vec::new() }, value));
                }
            }
        }
        None
    }

    /// What `alknet up` runs, by name: the tables of `[up]`, and those of commands with `enabled = true`. Of a unit that two files
    /// declare, the stronger decides.
    pub(in crate::cli) fn units(&self) -> BTreeMap<String, Unit> {
        let mut units = BTreeMap::new();
        for layer in self.files.iter().rev() {
            for command in RUNNABLE {
                let Some(table) = layer.table.get(*command).and_then(Value::as_table) else {
                    continue;
                };
                declare(&mut units, command, table, command, vec![(*command).to_owned()], false);
            }
            let up = layer.table.get("up").and_then(Value::as_table);
            for (name, table) in up.into_iter().flatten() {
                let Some(table) = table.as_table() else { continue };
                let command = table.get("run").and_then(Value::as_str).unwrap_or_default();
                declare(
                    &mut units,
                    name,
                    table,
                    command,
                    vec!["up".to_owned(), name.clone()],
                    true,
                );
            }
        }
        if let Some(on) = switched() {
            if on {
                let unit = Unit { command: "forward".into(), place: vec!["forward".into()] };
                units.entry("forward".into()).or_insert(unit);
            } else {
                units.remove("forward");
            }
        }
        units
    }
}

/// Whether an option says which forwarder is meant, as those of `Pick` do: nobody means one by what a file says of new ones.
fn picks(command: &Command, arg: &Arg) -> bool {
    let mut groups = command.get_groups().filter(|group| group.get_id() == "Pick");
    groups.any(|group| group.get_args().any(|id| id == arg.get_id()))
}

/// `ALKNET_FORWARDER_ENABLED`, when it is set.
fn switched() -> Option<bool> {
    let value = std::env::var("ALKNET_FORWARDER_ENABLED").ok()?;
    match value.as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn declare(
    units: &mut BTreeMap<String, Unit>,
    name: &str,
    table: &Table,
    command: &str,
    place: Vec<String>,
    by_default: bool,
) {
    let enabled = table.get("enabled").and_then(Value::as_bool);
    if enabled.unwrap_or(by_default) {
        units.insert(name.to_owned(), Unit { command: command.to_owned(), place });
    } else if enabled == Some(false) {
        units.remove(name);
    }
}

/// `$ALKNET_HOME/config.toml`, else `$XDG_CONFIG_HOME/alknet/config.toml`, else `~/.config/alknet/config.toml`.
fn user_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = variable("ALKNET_HOME").or_else(|| {
        let config = variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let config = config.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
        Some(config.join("alknet"))
    });
    Some(folder?.join("config.toml"))
}

/// `None` when there is no such file.
fn text(path: &Path) -> Result<Option<String>> {
    use std::io::Read;
    let failed = |e| Error::system("open", &path.display().to_string(), e).at(Phase::Config);
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

fn parsed(path: &Path, text: &str, grammar: &Command) -> Result<Layer> {
    let bad = |why: String| Error::config(format!("{}: {why}", path.display()));
    let table: Table = text.parse().map_err(|e: toml::de::Error| bad(e.to_string()))?;
    for (key, value) in &table {
        match (key.as_str(), value) {
            ("up", Value::Table(units)) => check_units(units, grammar).map_err(bad)?,
            (name, Value::Table(table)) => match find(grammar, name) {
                Some(command) => check(table, command, name).map_err(bad)?,
                None => return Err(bad(unknown(name, "", &keys(grammar)))),
            },
            (key, _) if keys(grammar).iter().any(|known| known == key) => {}
            (key, _) => return Err(bad(unknown(key, "", &keys(grammar)))),
        }
    }
    Ok(Layer { path: path.to_owned(), table })
}

fn check_units(units: &Table, grammar: &Command) -> Result<(), String> {
    for (name, unit) in units {
        let Value::Table(table) = unit else {
            return Err(format!("up.{name} is no table: write [up.{name}]"));
        };
        let run = table.get("run").and_then(Value::as_str).unwrap_or_default();
        let Some(path) = runs(run) else {
            return Err(format!("[up.{name}] needs run = {RUNNABLE:?}, one of these"));
        };
        let command = path.iter().try_fold(grammar, |command, name| find(command, name));
        check(table, command.unwrap_or(grammar), &format!("up.{name}"))?;
    }
    Ok(())
}

/// Every key of a command's table has to be an option of it, of one below it, or such a command.
fn check(table: &Table, command: &Command, place: &str) -> Result<(), String> {
    let keys = keys(command);
    for (key, value) in table {
        match (value, find(command, key)) {
            (Value::Table(inner), Some(below)) => check(inner, below, &format!("{place}.{key}"))?,
            (Value::Table(_), None) => return Err(unknown(key, place, &keys)),
            _ if keys.iter().any(|known| known == key) => {}
            (Value::Boolean(_), _) if key == ABOUT[0] => {}
            (Value::String(_), _) if key == ABOUT[1] && place.starts_with("up.") => {}
            _ => return Err(unknown(key, place, &keys)),
        }
    }
    Ok(())
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Command> {
    commands(command).find(|inner| inner.get_name() == name)
}

/// Every option of a command and of those below it.
pub(super) fn keys(command: &Command) -> Vec<String> {
    let mut keys: Vec<String> = options(command).filter_map(key).collect();
    for inner in commands(command) {
        keys.extend(self::keys(inner));
    }
    keys.sort();
    keys.dedup();
    keys
}

fn unknown(key: &str, place: &str, known: &[String]) -> String {
    let hint = meant(key, known);
    let hint = hint.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
    let place = if place.is_empty() { String::new() } else { format!(" in [{place}]") };
    format!("unknown key {key:?}{place}{hint}")
}

/// Which of these names was probably meant.
pub(in crate::cli) fn meant<'a>(word: &str, known: &'a [String]) -> Option<&'a String> {
    let likeness = |name: &&String| strsim::jaro_winkler(&plain(word), &plain(name));
    let near = known.iter().filter(|name| likeness(name) > 0.85);
    near.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn texts(value: &Value, many: bool, origin: &Origin) -> Result<Vec<String>> {
    let bad = |why| Error::config(format!("{}: {} {why}", origin.path.display(), origin.key));
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(on) => Ok(on.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err(bad("is neither text, a number, true nor false")),
    };
    match value {
        Value::Array(values) if many => values.iter().map(one).collect(),
        Value::Array(_) => Err(bad("takes one value, not a list")),
        value => Ok(vec![one(value)?]),
    }
}
