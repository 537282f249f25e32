//! The command line, run inside Node: the same as the binary's, with signals brought by JavaScript.

use std::ffi::OsString;

use alknet::cli::{CommandLine, Control};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Doorbell;
use crate::pending::{Pending, PendingExit, PendingText};
use crate::runtime::expect;

/// One run of the command line.
#[napi]
pub struct NativeCli {
    control: Control,
}

#[napi]
impl NativeCli {
    /// `program`: the words that run this command line in a process of its own.
    #[napi(constructor)]
    pub fn new(program: Vec<String>) -> Self {
        Self { control: Control::of(program.into_iter().map(OsString::from)) }
    }

    /// Runs the words of `alknet forward`, and gives its result as JSON.
    #[napi]
    pub fn forwarders(&self, bell: &Doorbell, words: Vec<String>) -> Result<PendingText> {
        let control = self.control.clone();
        #[cfg(unix)]
        let running = alknet::cli::forwarders(words.into_iter().map(OsString::from), control);
        #[cfg(not(unix))]
        let running = async move {
            drop((words, control));
            let message = "forwarders in the background need a Unix system";
            Err(alknet::Error::new(alknet::Code::Config, message))
        };
        Pending::start(bell, running).map(PendingText)
    }

    /// Runs `words`, the first being the program's name.
    #[napi]
    pub fn run(&self, bell: &Doorbell, words: Vec<String>) -> Result<PendingExit> {
        let control = self.control.clone();
        let line = CommandLine::read(words.into_iter().map(OsString::from));
        expect(line.work());
        let running = async move { Ok(line.run(control).await.code()) };
        Pending::start(bell, running).map(PendingExit)
    }

    /// A signal to end came.
    #[napi]
    pub fn interrupt(&self) {
        self.control.interrupt();
    }

    /// A signal to read keys and settings again came.
    #[napi]
    pub fn reload(&self) {
        self.control.reload();
    }
}
