//! The command line, run inside Node: the same as the binary's, with signals brought by JavaScript.

use std::ffi::OsString;

use alknet::cli::{Control, run};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::bell::Doorbell;
use crate::pending::{Pending, PendingExit};

/// One run of the command line.
#[napi]
pub struct NativeCli {
    control: Control,
}

#[napi]
impl NativeCli {
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "JavaScript calls it")]
    pub fn new() -> Self {
        Self { control: Control::default() }
    }

    /// Runs `words`, the first being the program's name.
    #[napi]
    pub fn run(&self, bell: &Doorbell, words: Vec<String>) -> Result<PendingExit> {
        let control = self.control.clone();
        let running =
            async move { Ok(run(words.into_iter().map(OsString::from), control).await.code()) };
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
