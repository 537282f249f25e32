//! Bytes to text, in pieces that cut characters anywhere.

/// Keeps a character whose end is still to come.
#[derive(Default)]
pub(crate) struct Utf8 {
    kept: Vec<u8>,
}

impl Utf8 {
    /// All text up to here. What can never become a character is U+FFFD, as in every terminal.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.kept.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.kept);
        let mut text = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, tail) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = error.error_len() else {
                self.kept = tail.to_vec();
                return text;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &tail[length..];
        }
    }

    /// What is left at the end: a character that was cut.
    pub(crate) fn finish(&mut self) -> &'static str {
        if std::mem::take(&mut self.kept).is_empty() { "" } else { "\u{fffd}" }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(bytes: &[u8], size: usize) -> String {
        let mut utf8 = Utf8::default();
        let mut text: String = bytes.chunks(size).map(|piece| utf8.push(piece)).collect();
        text.push_str(utf8.finish());
        text
    }

    #[test]
    fn a_character_cut_anywhere_stays_whole() {
        let text = "aé€😀\u{10ffff}z";
        for size in 1..=text.len() {
            assert_eq!(through(text.as_bytes(), size), text, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_character_is_shown_as_such_and_holds_nothing_up() {
        assert_eq!(through(b"a\xffb", 1), "a\u{fffd}b");
        assert_eq!(Utf8::default().push(b"\xf0\x9f\x98"), "", "its end may come");
        assert_eq!(through(b"x\xf0\x9f\x98", 2), "x\u{fffd}");
        assert_eq!(through(b"\xf0\x9fx", 1), "\u{fffd}x");
    }

    proptest! {
        /// However bytes are cut, the text is that of all of them at once.
        #[test]
        fn cuts_change_nothing(bytes in prop::collection::vec(any::<u8>(), 0..60), size in 1_usize..9) {
            prop_assert_eq!(through(&bytes, size), String::from_utf8_lossy(&bytes));
        }
    }
}
