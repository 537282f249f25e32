//! The configuration file as JSON Schema, for editors and checks. Made from the grammar, so that it cannot lack an option.

use std::any::TypeId;

use clap::{Arg, ArgAction, Command};
use serde_json::{Map, Value, json};

use super::{RUNNABLE, commands, options, runs};
use crate::cli::given::key;

/// The schema of a file for this grammar.
pub(in crate::cli) fn schema(grammar: &Command) -> Value {
    let mut root = table(grammar, true);
    let properties = &mut root["properties"];
    for command in commands(grammar) {
        let inner = table(command, false);
        if let Some(options) = properties.get(command.get_name()).cloned() {
            // An option and a command of one name: a value is the one, a table the other.
            properties[command.get_name()] = json!({ "anyOf": [options, inner] });
        } else if inner["properties"].as_object().is_some_and(|found| !found.is_empty()) {
            properties[command.get_name()] = inner;
        }
    }
    properties["up"] = units(grammar);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "alknet configuration file".into();
    root
}

/// A command's table: its options, those of the commands below it, and these as tables.
fn table(command: &Command, is_root: bool) -> Value {
    let mut properties = Map::new();
    gather(command, &mut properties);
    if !is_root {
        for inner in commands(command) {
            let below = table(inner, false);
            if below["properties"].as_object().is_some_and(|found| !found.is_empty()) {
                properties.entry(inner.get_name()).or_insert(below);
            }
        }
        if RUNNABLE.contains(&command.get_name()) {
            properties.insert("enabled".into(), enabled(false));
        }
    }
    let mut table = json!({ "type": "object", "additionalProperties": false });
    if let Some(about) = command.get_about() {
        table["description"] = about.to_string().into();
    }
    table["properties"] = Value::Object(properties);
    table
}

fn units(grammar: &Command) -> Value {
    let unit = |name: &&str| {
        let path = runs(name).unwrap_or_default();
        let find = |command, name: &&str| {
            commands(command).find(|inner: &&Command| inner.get_name() == *name)
        };
        let command = path.iter().try_fold(grammar, find).unwrap_or(grammar);
        let mut unit = table(command, false);
        unit["properties"]["enabled"] = enabled(true);
        unit["properties"]["run"] = json!({ "const": name });
        unit["required"] = json!(["run"]);
        unit
    };
    json!({
        "type": "object",
        "description": "What `alknet up` runs, each by a name of its own",
        "additionalProperties": { "oneOf": RUNNABLE.iter().map(unit).collect::<Vec<_>>() },
    })
}

fn enabled(by_default: bool) -> Value {
    json!({ "type": "boolean", "default": by_default, "description": "Whether `alknet up` runs it" })
}

fn gather(command: &Command, into: &mut Map<String, Value>) {
    for arg in options(command) {
        if let Some(key) = key(arg) {
            into.entry(key).or_insert_with(|| described(arg));
        }
    }
    for inner in commands(command) {
        gather(inner, into);
    }
}

fn described(arg: &Arg) -> Value {
    let mut value = kind(arg);
    if matches!(arg.get_action(), ArgAction::Append) {
        value = json!({ "anyOf": [value.clone(), { "type": "array", "items": value }] });
    }
    if let Some(help) = arg.get_help() {
        value["description"] = help.to_string().into();
    }
    value
}

fn kind(arg: &Arg) -> Value {
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|choice| choice.get_name().to_owned()).collect();
    let parser = arg.get_value_parser().type_id();
    let is = |id: TypeId| parser == id;
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => json!({ "type": "boolean" }),
        ArgAction::Count => json!({ "type": "integer", "minimum": 0 }),
        _ if is(TypeId::of::<u16>()) => {
            json!({ "type": "integer", "minimum": 0, "maximum": 65535 })
        }
        _ if is(TypeId::of::<u32>()) || is(TypeId::of::<u64>()) || is(TypeId::of::<usize>()) => {
            json!({ "type": "integer", "minimum": 0 })
        }
        _ if is(TypeId::of::<i32>()) => json!({ "type": "integer" }),
        _ if !choices.is_empty() => json!({ "enum": choices }),
        _ => json!({ "type": "string" }),
    }
}
