//! What a command comes to: data for programs, text for people, and whether it went well.

use serde_json::{Map, Value, json};

use super::Shape;
use crate::cli::exit::Exit;
use crate::cli::report::Report;
use crate::error::{Error, Result};

/// See the module.
#[derive(Default)]
pub(in crate::cli) struct Outcome {
    items: Vec<Value>,
    text: Vec<String>,
    error: Option<Error>,
    single: bool,
    exit: Option<Exit>,
}

impl Outcome {
    /// One thing.
    pub(super) fn one(success: bool, data: Value, text: String) -> Self {
        let exit = (!success).then_some(Exit::FAILED);
        Self { items: vec![data], text: vec![text], error: None, single: true, exit }
    }

    /// Nothing but a failure.
    pub(super) fn failed(error: Error) -> Self {
        let message = error.to_string();
        let data = json!({ "message": message });
        Self { error: Some(error), ..Self::one(false, data, message) }
    }

    pub(super) fn add(&mut self, data: Value, text: String) {
        self.items.push(data);
        self.text.push(text);
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.error = Some(error);
        self.exit = Some(Exit::FAILED);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One item is told as itself, several as a list.
    pub(super) fn single(mut self, single: bool) -> Self {
        self.single = single;
        self
    }

    pub(super) fn exit(mut self, exit: Exit) -> Self {
        self.exit = Some(exit);
        self
    }

    /// Its data.
    ///
    /// # Errors
    /// Its failure.
    pub(in crate::cli) fn into_value(self) -> Result<Value> {
        let data = self.data();
        self.error.map_or(Ok(data), Err)
    }

    fn data(&self) -> Value {
        match self.items.as_slice() {
            [only] if self.single => only.clone(),
            items => json!({ "items": items }),
        }
    }

    pub(super) fn print(&self, shape: Shape, report: &Report) -> Exit {
        let mut out = match shape {
            Shape::Json => serde_json::to_string_pretty(&self.envelope()).unwrap_or_default(),
            Shape::Markdown => self.markdown(),
            Shape::Text => {
                if let Some(error) = &self.error {
                    report.failed(error);
                } else {
                    report.raw(format!("{}\n", self.text.join("\n")).as_bytes());
                }
                String::new()
            }
        };
        if !out.is_empty() {
            out.push('\n');
            report.raw(out.as_bytes());
        }
        self.exit.unwrap_or(Exit::OK)
    }

    fn envelope(&self) -> Value {
        let mut envelope = Map::new();
        envelope.insert("success".into(), self.error.is_none().into());
        envelope.insert("content".into(), json!([{ "type": "json", "data": self.data() }]));
        if let Some(error) = &self.error {
            envelope.insert("error".into(), told(error));
        }
        Value::Object(envelope)
    }

    fn markdown(&self) -> String {
        let data = serde_json::to_string_pretty(&self.data()).unwrap_or_default();
        let mut text = String::new();
        if let Some(error) = &self.error {
            text.push_str(&format!("## Error: {}\n\n{error}\n\n", error.code().as_str()));
            if let Some(hint) = error.help() {
                text.push_str(&format!("{hint}\n\n"));
            }
        }
        text + "```json\n" + &data + "\n```"
    }
}

fn told(error: &Error) -> Value {
    let mut told = json!({ "code": error.code().as_str(), "message": error.to_string() });
    if let Some(hint) = error.help() {
        told["suggestion"] = hint.into();
    }
    told
}
