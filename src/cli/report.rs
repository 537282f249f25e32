//! What a command says: results on stdout, talk on stderr; with `--json` one object per line on stdout.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value};

use super::args::Output;
use super::exit::Exit;
use super::wording::in_own_words;
use crate::error::{Code, Error};

/// How often it is looked whether anybody still reads.
const LOOK: Duration = Duration::from_millis(250);

/// Where a command's words go.
pub(super) struct Report {
    json: bool,
    quiet: bool,
    /// Of which of several it speaks.
    unit: Option<String>,
}

impl Report {
    pub(super) fn new(output: &Output) -> Self {
        Self { json: output.json, quiet: output.quiet, unit: None }
    }

    /// For what is wrong before anybody said how it should look.
    pub(super) fn plain(json: bool) -> Self {
        Self { json, quiet: false, unit: None }
    }

    /// The same, for one of several that speak at once.
    pub(super) fn of_unit(&self, name: &str) -> Self {
        Self { unit: Some(name.to_owned()), ..*self }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Something happened: `{"event":"listening",…}` with `--json`, else a sentence for people.
    pub(super) fn event(&self, name: &str, fields: Value, sentence: &str) {
        if self.json {
            let mut event = Map::new();
            event.insert("event".into(), name.into());
            event.extend(self.unit.as_ref().map(|unit| ("unit".to_owned(), unit.as_str().into())));
            if let Value::Object(fields) = fields {
                event.extend(fields);
            }
            self.line(&written(&Value::Object(event)));
        } else {
            self.talk(sentence);
        }
    }

    /// An event for programs, of which the log tells people.
    pub(super) fn quiet_event(&self, name: &str, fields: Value) {
        if self.json {
            self.event(name, fields, "");
        }
    }

    /// A result: an object with `--json`, else its text.
    pub(super) fn result(&self, value: &Value, text: &str) {
        self.line(&if self.json { written(value) } else { text.to_owned() });
    }

    /// Bytes that are the result, as they are.
    pub(super) fn raw(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // Whoever reads has gone: there is nobody to tell.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Ready once nobody can read what is said any more: `| head` has seen enough, or the terminal is gone. The end of what does nothing
    /// but show, also while there is nothing new. Cancel-safe.
    pub(super) async fn unheard(&self) -> Exit {
        while !has_no_reader(&std::io::stdout()) {
            tokio::time::sleep(LOOK).await;
        }
        Exit::UNHEARD
    }

    /// A sentence for people, on stderr; silent with `--quiet`.
    pub(super) fn talk(&self, sentence: &str) {
        match &self.unit {
            _ if self.quiet => {}
            Some(unit) => say(&harmless(&format!("{unit}: {sentence}"))),
            None => say(&harmless(sentence)),
        }
    }

    /// A failure: the code, what happened, what to do.
    pub(super) fn failed(&self, error: &Error) -> Exit {
        let exit = Exit::from(error);
        let hint = error.help().map(in_own_words);
        if self.json {
            let mut said = serde_json::json!({
                "event": "error",
                "code": error.code().as_str(),
                "message": error.to_string(),
                "hint": hint,
                "exit": exit.code(),
            });
            if let Some(unit) = &self.unit {
                said["unit"] = unit.as_str().into();
            }
            self.line(&written(&said));
        } else {
            // The names of the system are in their messages.
            let code = match error.code() {
                Code::System(_) => String::new(),
                code => format!(" [{}]", code.as_str()),
            };
            let unit = self.unit.as_ref().map(|unit| format!("{unit}: ")).unwrap_or_default();
            let what = harmless(&format!("{unit}{error}{code}"));
            say(&format!("{} {what}", paint("error:")));
            if let Some(hint) = hint {
                say(&harmless(&format!("  {hint}")));
            }
        }
        exit
    }

    fn line(&self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        self.raw(&bytes);
    }
}

#[cfg(unix)]
fn has_no_reader(out: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    // Asked for nothing, some systems answer nothing.
    let mut asked = [PollFd::new(out, PollFlags::OUT)];
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().intersects(gone)
}

#[cfg(not(unix))]
fn has_no_reader(_out: &std::io::Stdout) -> bool {
    false
}

/// What a peer may have said, without what a terminal obeys: control characters are written out, but for lines and tabs.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\n' | '\t' => shown.push(sign),
            sign if sign.is_control() => shown.extend(sign.escape_default()),
            sign => shown.push(sign),
        }
    }
    shown
}

/// As JSON, in which those from DEL on need not be escaped, and are.
fn written(value: &Value) -> String {
    let mut text = value.to_string();
    if text.contains(char::is_control) {
        let escaped = |sign: char| match sign.is_control() {
            true => format!("\\u{:04x}", u32::from(sign)),
            false => sign.to_string(),
        };
        text = text.chars().map(escaped).collect();
    }
    text
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Bold red on a terminal that wants colours (NO_COLOR, no-color.org).
fn paint(word: &str) -> String {
    match wants_colour(&std::io::stderr()) {
        true => format!("\u{1b}[1;31m{word}\u{1b}[0m"),
        false => word.to_owned(),
    }
}

/// A terminal that wants colours (NO_COLOR, no-color.org).
pub(super) fn wants_colour(out: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !plain && out.is_terminal()
}
