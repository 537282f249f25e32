//! Envelopes: what is in an event's frame, and the control messages among them. The hazard: all of it is the peer's word.

use std::str;

use serde_json::{Map, Value};

use super::codec::FrameError;

/// Levels of a frame's JSON, the envelope included.
pub const MAX_DEPTH: usize = 64;
/// Bytes of a topic that may be subscribed to.
pub const MAX_TOPIC: usize = 256;
/// Topics that one end may be subscribed to.
pub const MAX_SUBSCRIPTIONS: usize = 1024;

/// What travels for one event: `{"type", "id", "payload"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// What happened. Kinds that start with `__` are alknet's own. In JSON it is `type`.
    pub kind: String,
    /// What it belongs to: a request id, a topic id, or empty.
    pub id: String,
    /// Any JSON.
    pub payload: Value,
}

/// What a control message asks for or confirms; in each case the topics it names, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Send me events of these topics.
    Subscribe(Vec<String>),
    /// Send me events of these topics no longer.
    Unsubscribe(Vec<String>),
    /// Events of these topics are sent from now on.
    Subscribed(Vec<String>),
}

impl Envelope {
    /// Reads a frame's body. Keys that an envelope has not are left out; of a key that is there twice the last one counts.
    ///
    /// # Errors
    /// Those of [`FrameError`] that are not fatal.
    pub fn read(body: &[u8]) -> Result<Self, FrameError> {
        let text = utf8(body)?;
        check_depth(text)?;
        let value = serde_json::from_str(text).map_err(FrameError::Json)?;
        let Value::Object(mut object) = value else {
            return Err(FrameError::NotAnEnvelope("not an object"));
        };
        Ok(Self {
            kind: take_text(&mut object, "type", "without a type")?,
            id: take_text(&mut object, "id", "without an id")?,
            payload: object
                .remove("payload")
                .ok_or(FrameError::NotAnEnvelope("without a payload"))?,
        })
    }

    /// The body of a frame, all three keys in it.
    ///
    /// # Errors
    /// [`FrameError::TooDeep`] when the payload is.
    pub fn write(&self) -> Result<String, FrameError> {
        let (kind, id) = (Value::from(self.kind.as_str()), Value::from(self.id.as_str()));
        let text = format!(r#"{{"type":{kind},"id":{id},"payload":{}}}"#, self.payload);
        check_depth(&text)?;
        Ok(text)
    }

    /// The text by which listeners know it: `type`, or `type:id` when it has an id.
    pub fn topic(&self) -> String {
        if self.id.is_empty() { self.kind.clone() } else { format!("{}:{}", self.kind, self.id) }
    }

    /// Whether it is for alknet itself and never for listeners.
    pub fn is_reserved(&self) -> bool {
        self.kind.starts_with("__")
    }

    /// The control message this is; nothing for events and for messages of later versions.
    ///
    /// # Errors
    /// [`FrameError::NotAnEnvelope`] when it names no topic.
    pub fn control(&self) -> Result<Option<Control>, FrameError> {
        let control: fn(Vec<String>) -> Control = match self.kind.as_str() {
            "__subscribe" => Control::Subscribe,
            "__unsubscribe" => Control::Unsubscribe,
            "__subscribed" => Control::Subscribed,
            _ => return Ok(None),
        };
        match self.topics() {
            topics if topics.is_empty() => {
                Err(FrameError::NotAnEnvelope("a control message without a topic"))
            }
            topics => Ok(Some(control(topics))),
        }
    }

    /// The topics a control message names, in any of the shapes peers use.
    fn topics(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(topic) = text(&self.payload).filter(|topic| !topic.is_empty()) {
            return vec![topic];
        }
        if let Some(topic) = self.payload.get("topic").and_then(text) {
            return vec![topic];
        }
        if let Some(topics) = self.payload.get("topics").and_then(Value::as_array) {
            return topics.iter().filter_map(text).collect();
        }
        if self.id.is_empty() { Vec::new() } else { vec![self.id.clone()] }
    }
}

/// A frame's body as text.
pub(super) fn utf8(body: &[u8]) -> Result<&str, FrameError> {
    str::from_utf8(body).map_err(FrameError::Utf8)
}

fn take_text(
    object: &mut Map<String, Value>,
    key: &str,
    otherwise: &'static str,
) -> Result<String, FrameError> {
    match object.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(FrameError::NotAnEnvelope(otherwise)),
    }
}

/// Counts brackets outside of strings: exact for JSON, and harmless for what is none.
pub(super) fn check_depth(text: &str) -> Result<(), FrameError> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' if depth == MAX_DEPTH => {
                return Err(FrameError::TooDeep { limit: MAX_DEPTH });
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn skip_string(bytes: &mut str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::codec::tests::unhex;
    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        good: Vec<Good>,
        bad: Vec<Bad>,
        control: Vec<ControlCase>,
    }

    #[derive(Deserialize)]
    struct Good {
        name: String,
        body: String,
        r#type: String,
        id: String,
        payload: Value,
        topic: String,
    }

    #[derive(Deserialize)]
    struct Bad {
        name: String,
        body: String,
    }

    #[derive(Deserialize)]
    struct ControlCase {
        name: String,
        body: String,
        kind: String,
        topics: Vec<String>,
    }

    fn vectors() -> Vectors {
        serde_json::from_str(include_str!("../../__test__/vectors/envelopes.json")).unwrap()
    }

    #[test]
    fn good_bodies_are_read_and_written_without_loss() {
        for case in vectors().good {
            let envelope = Envelope::read(&unhex(&case.body)).unwrap();
            let expected = Envelope { kind: case.r#type, id: case.id, payload: case.payload };
            assert_eq!(envelope, expected, "{}", case.name);
            assert_eq!(envelope.topic(), case.topic, "{}", case.name);
            let written = envelope.write().unwrap();
            assert_eq!(Envelope::read(written.as_bytes()).unwrap(), envelope, "{}", case.name);
        }
    }

    #[test]
    fn bad_bodies_concern_one_frame_only() {
        for case in vectors().bad {
            let error = Envelope::read(&unhex(&case.body)).expect_err(&case.name);
            assert!(!error.is_fatal(), "{}", case.name);
        }
    }

    #[test]
    fn control_messages_are_read_generously() {
        for case in vectors().control {
            let envelope = Envelope::read(&unhex(&case.body)).unwrap();
            assert!(envelope.is_reserved(), "{}", case.name);
            let control = envelope.control();
            match case.kind.as_str() {
                "subscribe" => assert_eq!(control.unwrap(), Some(Control::Subscribe(case.topics))),
                "unsubscribe" => {
                    assert_eq!(control.unwrap(), Some(Control::Unsubscribe(case.topics)));
                }
                "subscribed" => {
                    assert_eq!(control.unwrap(), Some(Control::Subscribed(case.topics)));
                }
                "unknown" => assert_eq!(control.unwrap(), None, "{}", case.name),
                _ => assert!(control.is_err(), "{}", case.name),
            }
        }
    }

    #[test]
    fn what_is_too_deep_to_be_read_is_not_written() {
        let nest = |levels| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let envelope =
            |levels| Envelope { kind: "a".into(), id: String::new(), payload: nest(levels) };
        assert!(envelope(MAX_DEPTH - 1).write().is_ok());
        assert!(matches!(envelope(MAX_DEPTH).write(), Err(FrameError::TooDeep { .. })));
    }
}
