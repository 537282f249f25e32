//! A frame as the hub sees it: who it is for. What is in it is checked to be JSON and passed on as it came, byte for byte.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::codec::{FrameError, HEADER};
use crate::event::envelope::{check_depth, utf8};

/// The parts of an envelope, each as its JSON text.
pub(super) struct Head<'a> {
    kind: &'a str,
    id: &'a str,
    payload: &'a str,
}

impl<'a> Head<'a> {
    /// Reads a frame's body. Of a key that is there twice the last one counts; keys that an envelope has not are left out.
    ///
    /// # Errors
    /// Those of [`FrameError`] that are not fatal.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, FrameError> {
        let text = utf8(body)?;
        check_depth(text)?;
        let Parts { kind, id, payload } =
            serde_json::from_str(text).map_err(|error| match error.is_data() {
                true => FrameError::NotAnEnvelope("not an object"),
                false => FrameError::Json(error),
            })?;
        let text_of = |part: Option<&'a RawValue>, otherwise| match part.map(RawValue::get) {
            Some(text) if text.starts_with('"') => Ok(text),
            _ => Err(FrameError::NotAnEnvelope(otherwise)),
        };
        let payload = payload.ok_or(FrameError::NotAnEnvelope("without a payload"))?;
        Ok(Self {
            kind: text_of(kind, "without a type")?,
            id: text_of(id, "without an id")?,
            payload: payload.get(),
        })
    }

    /// Whether it is for alknet itself and never for listeners.
    pub(super) fn is_reserved(&self) -> Result<bool, FrameError> {
        Ok(unquoted(self.kind)?.starts_with("__"))
    }

    /// Writes the text by which listeners know it: `type`, or `type:id` when it has an id.
    pub(super) fn topic(&self, out: &mut String) -> Result<(), FrameError> {
        out.clear();
        out.push_str(&unquoted(self.kind)?);
        let id = unquoted(self.id)?;
        if !id.is_empty() {
            out.push(':');
            out.push_str(&id);
        }
        Ok(())
    }

    /// Appends it to `out` as a frame, with `from`, a JSON string, as who it is from.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`], with nothing appended.
    pub(super) fn write(
        &self,
        from: Option<&str>,
        max_frame: usize,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let from = from.map_or(["", ""], |from| [r#","from":"#, from]);
        let parts = [
            r#"{"type":"#,
            self.kind,
            r#","id":"#,
            self.id,
            r#","payload":"#,
            self.payload,
            from[0],
            from[1],
            "}",
        ];
        let length = parts.iter().map(|part| part.len()).sum();
        let announced = u32::try_from(length).ok().filter(|_| length <= max_frame);
        let Some(announced) = announced else {
            return Err(FrameError::TooLarge { length, limit: max_frame });
        };
        out.reserve(HEADER + length);
        out.put_u32(announced);
        parts.iter().for_each(|part| out.put_slice(part.as_bytes()));
        Ok(())
    }
}

/// A JSON string's value. Nearly none has an escape.
fn unquoted(text: &str) -> Result<Cow<'_, str>, FrameError> {
    match text.contains('\\') {
        false => Ok(Cow::Borrowed(&text[1..text.len() - 1])),
        true => serde_json::from_str(text).map(Cow::Owned).map_err(FrameError::Json),
    }
}

struct Parts<'a> {
    kind: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Type,
    Id,
    Payload,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an envelope")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Parts { kind: None, id: None, payload: None };
                while let Some(key) = map.next_key::<Key>()? {
                    let value = map.next_value::<&'de RawValue>()?;
                    match key {
                        Key::Type => parts.kind = Some(value),
                        Key::Id => parts.id = Some(value),
                        Key::Payload => parts.payload = Some(value),
                        Key::Other => {}
                    }
                }
                Ok(parts)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
