//! What a user and a runner say to each other, a JSON text for each.

use serde::{Deserialize, Serialize};

/// Bytes of keys or of a screen in one text. Escaped, they are six times as many at worst, and still a message of the tunnel.
pub(super) const PIECE: usize = 8 * 1024;

/// Lines and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) cols: u16,
}

impl Default for Size {
    /// That of the originals, for users who do not tell theirs.
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Said {
    /// From the user, first and whenever it changes.
    Resize { rows: u16, cols: u16 },
    /// From the user: keys.
    Input { data: String },
    /// From the user: it has enough to show for now.
    Pause,
    /// From the user: it takes more again.
    Resume,
    /// To the user; the first is empty and says that the terminal is there.
    Output { data: String },
    /// To the user, before a close: why.
    Error { data: String },
}

impl Said {
    /// `None` for what is none of them.
    pub(super) fn read(text: &str) -> Option<Self> {
        let said = serde_json::from_str(text).ok()?;
        match said {
            Self::Resize { rows, cols } if rows == 0 || cols == 0 => None,
            said => Some(said),
        }
    }

    pub(super) fn write(&self) -> String {
        // Strings and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<Size> for Said {
    fn from(Size { rows, cols }: Size) -> Self {
        Self::Resize { rows, cols }
    }
}

/// The text that says why there is no terminal.
pub(crate) fn fault(why: &str) -> String {
    Said::Error { data: why.to_owned() }.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::frame::MAX_MESSAGE;

    #[test]
    fn texts_are_those_of_the_originals() {
        for (text, said) in [
            (r#"{"type":"resize","rows":50,"cols":132}"#, Said::Resize { rows: 50, cols: 132 }),
            (r#"{"type":"input","data":"\u0003"}"#, Said::Input { data: "\u{3}".into() }),
            (r#"{"type":"pause"}"#, Said::Pause),
            (r#"{"type":"resume"}"#, Said::Resume),
            (r#"{"type":"output","data":""}"#, Said::Output { data: String::new() }),
            (
                r#"{"type":"error","data":"Container not found."}"#,
                Said::Error { data: "Container not found.".into() },
            ),
        ] {
            assert_eq!(Said::read(text).as_ref(), Some(&said));
            assert_eq!(said.write(), text);
        }
        // As Python writes it, and with what a later version may add.
        let loose = r#"{ "cols": 80, "type": "resize", "rows": 24, "extra": null }"#;
        assert_eq!(Said::read(loose), Some(Said::Resize { rows: 24, cols: 80 }));
        for none in
            ["", "ls", "{}", r#"{"type":"bell"}"#, r#"{"type":"resize","rows":0,"cols":80}"#]
        {
            assert_eq!(Said::read(none), None, "{none}");
        }
    }

    #[test]
    fn a_piece_of_the_worst_signs_is_a_text_that_is_taken() {
        let text = Said::Output { data: "\u{1b}".repeat(PIECE) }.write();
        assert!(text.len() < MAX_MESSAGE);
    }
}
