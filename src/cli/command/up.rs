//! `alknet up`: everything that the configuration file declares, in one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::mpsc;

use super::ready::ready;
use crate::cli::args::{Arguments, Up};
use crate::cli::config::{Layers, RUNNABLE, Unit};
use crate::cli::exit::Exit;
use crate::cli::given::Given;
use crate::cli::parse::{Parsed, built, parse_unit};
use crate::cli::report::Report;
use crate::cli::{Control, dispatch};
use crate::error::{Error, Result};
use crate::runtime::Work;
use crate::scope::Scope;

/// Ends of units that wait to be told of.
const ENDS: usize = 64;

/// What runs.
struct Running {
    /// What it was told; another word, and it is another unit.
    told: (String, Given),
    control: Control,
    /// Tells one from a former unit of its name.
    number: u64,
}

/// How a unit ended.
struct Ended {
    name: String,
    number: u64,
    exit: Exit,
}

struct Units<'a> {
    options: &'a Up,
    report: &'a Report,
    control: &'a Control,
    scope: Scope,
    running: BTreeMap<String, Running>,
    /// Units whose end is still to come, those that were replaced too.
    alive: usize,
    count: u64,
    ends: mpsc::Sender<Ended>,
    exit: Exit,
}

pub(in crate::cli) async fn up(
    options: &Up,
    layers: &Layers,
    named: Option<&Path>,
    report: &Report,
    control: &Control,
) -> Result<Exit> {
    let (ends, mut ended) = mpsc::channel(ENDS);
    let mut units = Units {
        options,
        report,
        control,
        scope: Scope::new(),
        running: BTreeMap::new(),
        alive: 0,
        count: 0,
        ends,
        exit: Exit::OK,
    };
    let told = units.read(layers)?;
    if told.is_empty() {
        return Err(Error::config("the configuration declares nothing to run").hint(format!(
            "write a table [up.NAME] with run = \"connect\", or one of {}; or enabled = true in a command's own table",
            RUNNABLE.join(", ")
        )));
    }
    units.change(told);
    ready(options.ready_fd)?;
    let mut draining = false;
    while units.alive > 0 {
        tokio::select! {
            Some(end) = ended.recv() => units.ended(&end),
            () = control.draining(), if !draining => {
                draining = true;
                units.drain();
            }
            () = control.reloaded(), if !draining => match units.reread(named) {
                Ok(told) => units.change(told),
                // What runs goes on as it was.
                Err(error) => { report.failed(&error); }
            },
        }
    }
    Ok(units.exit)
}

/// What all units together will carry.
pub(in crate::cli) fn work(options: &Up, layers: &Layers) -> Work {
    let chosen = |name: &String| options.units.is_empty() || options.units.contains(name);
    let is_plain = |unit: &Unit| match parse_unit(layers, unit) {
        #[cfg(unix)]
        Ok((Arguments { command: crate::cli::args::Command::Forward(forward), .. }, _)) => {
            super::forward::work(&forward) == Work::Plain
        }
        // What is wrong with it is told when it is run.
        _ => false,
    };
    let units = layers.units();
    let mut units = units.iter().filter(|(name, _)| chosen(name));
    if units.all(|(_, unit)| is_plain(unit)) { Work::Plain } else { Work::Sessions }
}

type Told = BTreeMap<String, (String, Arguments, Given)>;

impl Units<'_> {
    fn read(&self, layers: &Layers) -> Result<Told> {
        let declared = layers.units();
        if let Some(name) = self.options.units.iter().find(|name| !declared.contains_key(*name)) {
            return Err(Error::config(format!("no unit {name:?} is declared")));
        }
        let mut told = Told::new();
        for (name, unit) in declared {
            if self.options.units.is_empty() || self.options.units.contains(&name) {
                let (arguments, given) = parse_unit(layers, &unit)?;
                told.insert(name, (unit.command.clone(), arguments, given));
            }
        }
        Ok(told)
    }

    fn reread(&self, named: Option<&Path>) -> Result<Told> {
        self.read(&Layers::read(named, &built())?)
    }

    /// Makes what runs what is told, and says what changed. Units that stay read their keys again.
    fn change(&mut self, told: Told) {
        let gone: Vec<String> =
            self.running.keys().filter(|name| !told.contains_key(*name)).cloned().collect();
        for name in gone {
            self.stop(&name, "removed");
        }
        for (name, (command, arguments, given)) in told {
            let key = (command, given.clone());
            match self.running.get(&name) {
                Some(running) if running.told == key => {
                    running.control.reload();
                    continue;
                }
                Some(_) => self.stop(&name, "changed"),
                None => self.say("added", &name),
            }
            self.start(name, key, arguments, given);
        }
    }

    fn start(&mut self, name: String, told: (String, Given), arguments: Arguments, given: Given) {
        self.count += 1;
        self.alive += 1;
        let control = Control::of(self.control.program.iter().cloned());
        let report = self.report.of_unit(&name);
        let parsed =
            Parsed { arguments, given, layers: Layers::default(), named: None, words: Vec::new() };
        let (ends, number) = (self.ends.clone(), self.count);
        let running = run(parsed, report, control.clone());
        self.running.insert(name.clone(), Running { told, control, number });
        self.scope.spawn_to_end(async move {
            let exit = running.await;
            // Nobody is there to hear it when all is over.
            let _ = ends.send(Ended { name, number, exit }).await;
        });
    }

    fn stop(&mut self, name: &str, why: &str) {
        self.say(why, name);
        if let Some(running) = self.running.remove(name) {
            running.control.interrupt();
        }
    }

    fn drain(&self) {
        for running in self.running.values() {
            running.control.interrupt();
        }
    }

    fn ended(&mut self, end: &Ended) {
        self.alive -= 1;
        if self.running.get(&end.name).is_some_and(|running| running.number == end.number) {
            self.running.remove(&end.name);
        }
        if end.exit != Exit::OK {
            self.exit = end.exit;
        }
        let fields = json!({ "name": end.name, "exit": end.exit.code() });
        self.report.event("ended", fields, &format!("{} ended", end.name));
    }

    fn say(&self, what: &str, name: &str) {
        self.report.event(
            "unit",
            json!({ "change": what, "name": name }),
            &format!("{name}: {what}"),
        );
    }
}

impl Drop for Units<'_> {
    /// A second signal, or a caller that has gone: everything ends at once.
    fn drop(&mut self) {
        for running in self.running.values() {
            running.control.interrupt();
            running.control.interrupt();
        }
    }
}

/// A forwarder is part of this process here.
async fn foreground(parsed: Parsed, report: &Report, control: &Control) -> Result<Exit> {
    #[cfg(unix)]
    if let crate::cli::args::Command::Forward(forward) = &parsed.arguments.command {
        return super::forward::foreground(forward, &parsed.given, report, control).await;
    }
    dispatch(parsed, report, control).await
}

/// One unit, to its end. Boxed, for a command that runs commands would have no size.
fn run(parsed: Parsed, report: Report, control: Control) -> BoxFuture<'static, Exit> {
    let report = Arc::new(report);
    async move {
        let done = tokio::select! {
            done = foreground(parsed, &report, &control) => done,
            () = control.ended() => return Exit::INTERRUPTED,
        };
        done.unwrap_or_else(|error| report.failed(&error))
    }
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_plain_when_none_of_them_has_a_server() {
        let path = std::env::temp_dir().join(format!("alknet-up-{}.toml", std::process::id()));
        let text = "[up.a]\nrun = \"forward\"\n[up.b]\nrun = \"forward\"\nlisten-port = 1\n\
                    [up.far]\nrun = \"forward\"\nserver = \"me@far\"\n[up.s]\nrun = \"connect\"\n";
        std::fs::write(&path, text).expect("a file");
        let layers = Layers::read(Some(&path), &built());
        std::fs::remove_file(&path).expect("the file");
        let layers = layers.unwrap_or_else(|error| panic!("{error}"));
        for (units, expected) in [
            (&["a", "b"][..], Work::Plain),
            (&["a", "far"], Work::Sessions),
            (&["a", "s"], Work::Sessions),
        ] {
            let units = units.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(work(&Up { units, ready_fd: None }, &layers), expected);
        }
    }
}
