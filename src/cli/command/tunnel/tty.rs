//! The terminal that a command runs in: raw while it is used, and as it was afterwards, however that comes.

use std::io::{IsTerminal, Write, stdin, stdout};

use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Error, Result};
use crate::tunnel::Size;

/// What a program may have switched on and its end not off: the mouse, marks around what is pasted, a hidden cursor, colours.
const PLAIN: &[u8] = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[0m";

/// A terminal that hands on every key. Dropped, by a panic too, it is as it was.
pub(super) struct Raw {
    before: Termios,
    raw: Termios,
}

impl Raw {
    /// Of standard input; `None` when that is no terminal.
    ///
    /// # Errors
    /// The terminal's own failure.
    pub(super) fn new() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        let terminal = Self { before, raw };
        terminal.set(&terminal.raw)?;
        Ok(Some(terminal))
    }

    /// Lets the user do something else until it comes back, as `^Z` does.
    ///
    /// # Errors
    /// The terminal's own failure.
    pub(super) fn suspend(&self) -> Result<()> {
        self.set(&self.before)?;
        // Everything of this process stands still here.
        let _ = kill_current_process_group(Signal::TSTP);
        self.set(&self.raw)
    }

    fn set(&self, how: &Termios) -> Result<()> {
        tcsetattr(stdin(), OptionalActions::Now, how).map_err(failed)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// After a program that could not tidy up.
pub(super) fn tidy() {
    let mut out = stdout().lock();
    if out.is_terminal() {
        let _ = out.write_all(PLAIN).and_then(|()| out.flush());
    }
}

/// How large the terminal is; `None` without one, or when it does not know.
pub(super) fn size() -> Option<Size> {
    let size = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())).ok()?;
    let (rows, cols) = (size.ws_row, size.ws_col);
    (rows > 0 && cols > 0).then_some(Size { rows, cols })
}

fn failed(e: rustix::io::Errno) -> Error {
    Error::system("set up", "the terminal", e.into())
}

/// Words for the user, beside what the program shows.
pub(super) fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
