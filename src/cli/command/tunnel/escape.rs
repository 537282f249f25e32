//! What a user types to leave a terminal rather than for the program in it: as ssh(1) has it, `~` and a sign at the start of a line.

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the program.
    Keys(Vec<u8>),
    /// `~.`
    Leave,
    /// `~^Z`
    Suspend,
    /// `~?`
    Help,
}

/// Finds escapes, wherever what was typed is cut.
pub(super) struct Escapes {
    sign: Option<u8>,
    line_begins: bool,
    /// The sign came and has no meaning yet.
    pending: bool,
}

impl Escapes {
    /// With this sign for `~`, or none.
    pub(super) fn new(sign: Option<u8>) -> Self {
        Self { sign, line_begins: true, pending: false }
    }

    /// What the next bytes come to.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut all = Vec::new();
        let mut keys = Vec::with_capacity(bytes.len());
        for byte in bytes {
            let meant = match byte {
                _ if !self.pending => None,
                b'.' => Some(Typed::Leave),
                0x1a => Some(Typed::Suspend),
                b'?' => Some(Typed::Help),
                _ => None,
            };
            if let Some(meant) = meant {
                self.pending = false;
                self.line_begins = true;
                if !keys.is_empty() {
                    all.push(Typed::Keys(std::mem::take(&mut keys)));
                }
                all.push(meant);
                continue;
            }
            if !self.pending && self.line_begins && Some(*byte) == self.sign {
                self.pending = true;
                continue;
            }
            // Twice is once; before any other sign it was meant as it is.
            if std::mem::take(&mut self.pending) && Some(*byte) != self.sign {
                keys.extend(self.sign);
            }
            keys.push(*byte);
            self.line_begins = matches!(byte, b'\r' | b'\n');
        }
        if !keys.is_empty() {
            all.push(Typed::Keys(keys));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, and escapes as words in brackets.
    fn shown(sign: Option<u8>, pieces: &[&str]) -> String {
        let mut escapes = Escapes::new(sign);
        let typed = pieces.iter().flat_map(|piece| escapes.read(piece.as_bytes()));
        typed
            .map(|typed| match typed {
                Typed::Keys(keys) => String::from_utf8(keys).expect("text"),
                other => format!("[{other:?}]"),
            })
            .collect()
    }

    #[test]
    fn escapes_are_those_of_ssh_and_mean_something_at_the_start_of_a_line_alone() {
        for (typed, becomes) in [
            ("~.", "[Leave]"),
            ("ls\r~.", "ls\r[Leave]"),
            ("ls ~.", "ls ~."),
            ("~~.", "~."),
            ("~~", "~"),
            ("~?~.", "[Help][Leave]"),
            ("a\r~\u{1a}b", "a\r[Suspend]b"),
            ("~/bin\r", "~/bin\r"),
            ("~\r~.", "~\r[Leave]"),
            ("cd ~\r", "cd ~\r"),
            ("\u{3}~.", "\u{3}~."),
        ] {
            assert_eq!(shown(Some(b'~'), &[typed]), becomes, "{typed:?}");
            let pieces: Vec<String> = typed.chars().map(String::from).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            assert_eq!(shown(Some(b'~'), &pieces), becomes, "{typed:?}, key by key");
        }
        assert_eq!(shown(None, &["~.\r~."]), "~.\r~.");
        assert_eq!(shown(Some(b'%'), &["~.", "\r%."]), "~.\r[Leave]");
    }
}
